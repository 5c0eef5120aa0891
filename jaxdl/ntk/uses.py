"""Following parameters through a function to where they meet data.

A parameter may be reshaped, transposed, sliced, cast or multiplied by a number, passed
into ``jit``, ``checkpoint``, ``scan`` or ``cond``: it is still the same weight, looked
at in another way. The equation where it then meets data is a *use*. For each, `follow`
records the factor h of `jaxdl.ntk.rules` and adds a *tap* to the output, a zero whose
gradient is the other factor.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxdl import jaxpr
from jaxdl.ntk import rules
from jaxdl.types import Array

View = Callable[[np.ndarray], np.ndarray]


class Bias(NamedTuple):
    """A parameter added to the output of a use, the same in all rows."""

    leaf: int
    view: View  # like the leaf -> (groups, outputs); moves entries only


class Use(NamedTuple):
    """One use of one parameter; lengths are those of one example.

    With a bias, h has one more input, which is constant: W and b are one weight.
    """

    leaf: int
    rule: str
    groups: int
    rows: int
    inputs: int
    outputs: int
    view: View  # like the leaf -> (groups, inputs, outputs); moves entries only
    factor: Any  # shapes and dtypes of h, of (groups, rows, ...)
    dtype: Any  # of the tap, which is (groups, rows, outputs)
    bias: Bias | None = None


@dataclass(frozen=True)
class Weight:
    """A value that is a rearranged part of one leaf, times a number."""

    value: Array
    leaf: int
    view: View
    scale: Array | None = None


@dataclass
class Sum:
    """A value that has the gradient of a use's output, if all are read only once."""

    value: Array
    use: int  # its number on the tape
    form: rules.Form
    before: "Sum | None" = None
    reads: int = 0
    bias: int | None = None  # the leaf added to it

    def read_once(self) -> bool:
        """If this and all before are read by one equation each."""
        return self.reads == 1 and (self.before is None or self.before.read_once())


@dataclass
class Tape:
    """What is found on the way; with ``taps``, what is added on the way."""

    taps: list[Array] | None = None  # one for each use, in the order of uses
    uses: list[Use] = field(default_factory=list)
    factors: list[Any] = field(default_factory=list)
    refused: dict[int, str] = field(default_factory=dict)  # leaf -> why
    sums: dict[int, "Sum"] = field(default_factory=dict)  # by the id of their value

    def refuse(self, weight: Weight, reason: str) -> None:
        """Note that a leaf has a use without a rule."""
        self.refused.setdefault(weight.leaf, reason)

    def read(self, values: Sequence[Any]) -> None:
        """Count who reads the sums."""
        for value in values:
            if id(value) in self.sums:
                self.sums[id(value)].reads += 1

    def record(self, use: Use, factor: Any) -> Array | None:
        """Keep a use; returns its tap, if there are taps."""
        self.uses.append(use._replace(factor=_form(factor)))
        self.factors.append(factor)
        return None if self.taps is None else self.taps[len(self.uses) - 1]


def follow(equations: jaxpr.Equations, args: Sequence[Any], tape: Tape) -> list[Array]:
    """Run a function with some of its arguments followed.

    Args:
        equations: The function.
        args: A value for each input; a `Weight` is followed.
        tape: Filled in: uses, factors, and the leaves that are refused. With
            ``taps``, each is added to the output of its use.

    Returns:
        The outputs, arrays.
    """

    def perform(equation, values):
        name, function = equation.primitive.name, jaxpr.callee(equation)
        followed = any(isinstance(value, Weight) for value in values)
        if function is not None and (followed or tape.sums):
            return jaxpr.evaluate(function, values, perform)
        tape.read(values)
        if name in {"add", "add_any"} and (added := _added(equation, values, tape)):
            return added
        if not followed:
            return jaxpr.bind(equation, values)
        if name in _BODIES:
            return _BODIES[name](equation, values, tape)
        if (looked := _looked_at(equation, values)) is not None:
            return looked
        return [_used(equation, values, tape)] if len(equation.outvars) == 1 else (
            _refused(equation, values, tape)
        )  # fmt: skip

    outputs = jaxpr.evaluate(equations, args, perform)
    tape.read(outputs)
    for sum_ in tape.sums.values():
        if sum_.bias is not None and not sum_.read_once():
            tape.refused.setdefault(sum_.bias, "it is added to what is used again")
    return [_plain(value, tape, "it is an output") for value in outputs]


def whole(value: Array, leaf: int) -> Weight:
    """A leaf as it is."""
    return Weight(value, leaf, lambda entries: entries)


def _plain(value, tape, reason):
    """The array of a value that cannot be followed further."""
    if isinstance(value, Weight):
        tape.refuse(value, reason)
        return value.value
    return value


def _refused(equation, values, tape):
    reason = f"no rule for {equation.primitive.name}"
    return jaxpr.bind(equation, [_plain(value, tape, reason) for value in values])


def _used(equation, values, tape):
    """The output of an equation where a weight meets data."""
    places = [i for i, value in enumerate(values) if isinstance(value, Weight)]
    form = rules.match(equation, places[0]) if len(places) == 1 else None
    if form is None:
        return _refused(equation, values, tape)[0]
    weight = values[places[0]]
    data = [value for value in values if not isinstance(value, Weight)]
    if form.perform is None:
        (y,) = jaxpr.bind(equation, [_value(value) for value in values])
    else:
        y = form.perform(data[0], weight.value)
    h = form.factor(*data)
    if weight.scale is not None:
        h = rules.multiply(h, weight.scale)
    use = Use(
        weight.leaf, form.rule, form.groups, form.rows, form.inputs, form.outputs,
        view=_then(weight.view, form.arrange), factor=_form(h), dtype=y.dtype,
    )  # fmt: skip
    tap = tape.record(use, h)
    y = y if tap is None else y + form.spread(tap)
    if form.rule != "lookup":
        tape.sums[id(y)] = Sum(y, len(tape.uses) - 1, form)
    return y


def _added(equation, values, tape):
    """The output where a bias, or another sum, is added to a sum; or None."""
    places = [i for i, value in enumerate(values) if id(value) in tape.sums]
    if not places:
        return None
    host, other = tape.sums[id(values[places[0]])], values[1 - places[0]]
    if not isinstance(other, Weight):
        if np.shape(other) != host.value.shape:
            return None
        (y,) = jaxpr.bind(equation, values)
        tape.sums[id(y)] = Sum(y, host.use, host.form, host)
        return [y]
    use = tape.uses[host.use]
    if use.bias is not None or not _is_bias(host.form, other.value.shape, host.value):
        return None

    def view(entries):
        spread = np.broadcast_to(other.view(entries), host.value.shape)
        return host.form.collect(spread)[:, 0]

    h = tape.factors[host.use]
    scale = 1.0 if other.scale is None else other.scale
    one = jnp.full((*h.shape[:2], 1), scale, h.dtype)
    h = jnp.concatenate([h, one], axis=2)
    tape.factors[host.use] = h
    tape.uses[host.use] = use._replace(bias=Bias(other.leaf, view), factor=_form(h))
    host.bias = other.leaf
    return jaxpr.bind(equation, [_value(value) for value in values])


def _is_bias(form, shape, y):
    """If an array of ``shape`` is added to each row alike, and fills all outputs."""
    if len(shape) != y.ndim or math.prod(shape) != form.groups * form.outputs:
        return False
    if any(n not in (1, m) for n, m in zip(shape, y.shape, strict=True)):
        return False
    entries = np.arange(math.prod(shape), dtype=np.int32).reshape(shape)
    spread = form.collect(np.broadcast_to(entries, y.shape))
    one_row = spread[:, :1]
    return bool((spread == one_row).all()) and np.unique(one_row).size == entries.size


def _value(value):
    return value.value if isinstance(value, Weight) else value


def _form(factor):
    """Shapes and dtypes of a factor."""
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), factor)


def _then(first: View, second: View) -> View:
    return lambda entries: second(first(entries))


# -- Looking at a weight in another way ---------------------------------------------


def _looked_at(equation, values):
    """The outputs where an equation only rearranges or scales a weight, or None."""
    name, params = equation.primitive.name, equation.params
    if name == "stop_gradient":
        return jaxpr.bind(equation, [value.value for value in values])
    if name in {"mul", "div", "neg"}:
        return _scaled(equation, values)
    if name == "split":
        cuts = np.cumsum([int(size) for size in params["sizes"]])[:-1]
        weight, axis = values[0], params["axis"]
        parts = jaxpr.bind(equation, [weight.value])
        return [
            replace(
                weight,
                value=part,
                view=_then(weight.view, lambda e, i=i: np.split(e, cuts, axis)[i]),
            )
            for i, part in enumerate(parts)
        ]
    if name == "unstack":
        weight, axis = values[0], params["axis"]
        return [
            replace(
                weight,
                value=part,
                view=_then(weight.view, lambda e, i=i: np.take(e, i, axis)),
            )
            for i, part in enumerate(jaxpr.bind(equation, [weight.value]))
        ]
    view = _view(name, equation)
    if view is None:
        return None
    weight = values[0]
    (value,) = jaxpr.bind(equation, [weight.value])
    return [replace(weight, value=value, view=_then(weight.view, view))]


def _view(name, equation) -> View | None:
    """What an equation of one weight does to the entries, if it only moves them."""
    params, shape = equation.params, equation.outvars[0].aval.shape
    before = equation.invars[0].aval
    if name in {"convert_element_type", "reduce_precision", "copy"}:
        real = jnp.issubdtype(equation.outvars[0].aval.dtype, jnp.floating)
        return (lambda entries: entries) if real else None
    if name == "reshape" and params.get("dimensions") is None:
        return lambda entries: entries.reshape(shape)
    if name in {"squeeze", "expand_dims"} or (
        name == "broadcast_in_dim"
        and len(equation.invars) == 1
        and before.size == equation.outvars[0].aval.size
    ):
        return lambda entries: entries.reshape(shape)
    if name == "transpose":
        return lambda entries: entries.transpose(params["permutation"])
    if name == "rev":
        return lambda entries: np.flip(entries, params["dimensions"])
    if name == "slice":
        start, limit = params["start_indices"], params["limit_indices"]
        strides = params["strides"] or (1,) * len(start)
        cut = tuple(map(slice, start, limit, strides))
        return lambda entries: entries[cut]
    return None


def _scaled(equation, values):
    """A weight times, or divided by, a number; or None."""
    name = equation.primitive.name
    weights = [value for value in values if isinstance(value, Weight)]
    if name == "div" and not isinstance(values[0], Weight):
        return None
    others = [value for value in values if not isinstance(value, Weight)]
    if len(weights) != 1 or any(jnp.ndim(other) > 0 for other in others):
        return None
    (weight,), other = weights, (others[0] if others else -1.0)
    if weight.value.ndim == 0 and others:
        return None
    (value,) = jaxpr.bind(equation, [_value(value) for value in values])
    factor = 1 / jnp.asarray(other) if name == "div" else jnp.asarray(other)
    if weight.scale is not None:
        factor = factor * weight.scale
    return [replace(weight, value=value, scale=factor)]


# -- Bodies -------------------------------------------------------------------------


def _follow_scan(equation, values, tape):
    """A scan: a weight may be a constant, the same in all steps, or a row a step."""
    parts = jaxpr.scan(equation)
    n_fixed = parts.n_consts + parts.n_carry
    values = list(values)
    for i in range(parts.n_consts, n_fixed):
        values[i] = _plain(values[i], tape, "it starts the carry of a scan")
    outer = {i: value for i, value in enumerate(values) if isinstance(value, Weight)}
    arrays = [_value(value) for value in values]
    consts, carry = arrays[: parts.n_consts], arrays[parts.n_consts : n_fixed]

    def step(consts, carry, rows, inner):
        args = [*consts, *carry, *rows]
        for i in outer:
            args[i] = whole(args[i], i)
        outputs = follow(parts.body, args, inner)
        return outputs[: parts.n_carry], (outputs[parts.n_carry :], inner.factors)

    found = Tape()
    jax.eval_shape(
        lambda c, s, r: step(c, s, r, found), consts, carry, _first(arrays[n_fixed:])
    )
    for i, reason in found.refused.items():
        tape.refuse(outer[i], reason)
    repeats = [
        _Repeat(
            use,
            parts.length,
            stacked=use.leaf >= n_fixed,
            bias_stacked=use.bias is not None and use.bias.leaf >= n_fixed,
        )
        for use in found.uses
    ]
    start = len(tape.uses)
    taps = [
        repeat.enter(tap)
        for repeat, tap in zip(
            repeats, tape.taps[start : start + len(repeats)], strict=True
        )
    ] if tape.taps is not None else None  # fmt: skip

    def body(carry, rows_and_taps):
        rows, taps = rows_and_taps
        return step(consts, carry, rows, Tape(taps))

    carry, (rows, factors) = lax.scan(
        body, carry, (arrays[n_fixed:], taps), parts.length, parts.reverse
    )
    for repeat, h in zip(repeats, factors, strict=True):
        h = _scale(jax.tree.map(repeat.leave, h), repeat.use, outer)
        use = repeat.outside(outer)
        if repeat.use.bias is not None and use.bias is None:
            tape.refuse(
                outer[repeat.use.bias.leaf], "it is added, another one in each step"
            )
        tape.record(use, h)
    return [*carry, *rows]


def _scale(h, use, outer):
    """Factors from inside a body, times the numbers before its weights outside."""
    scale = outer[use.leaf].scale
    if use.bias is None:
        return h if scale is None else rules.multiply(h, scale)
    ones = [1.0 if s is None else s for s in (scale, outer[use.bias.leaf].scale)]
    if all(isinstance(one, float) for one in ones):
        return h
    h, last = jnp.split(h, [h.shape[2] - 1], axis=2)
    return jnp.concatenate([h * ones[0], last * ones[1]], axis=2)


class _Repeat(NamedTuple):
    """A use inside a scan, and what it is outside: more rows, or more groups."""

    use: Use
    length: int
    stacked: bool  # the weight is a row of something outside: a group a step
    bias_stacked: bool

    def outside(self, outer: dict[int, Weight]) -> Use:
        """The use as one of a weight outside; without a bias that does not fit."""
        use, weight = self.use, outer[self.use.leaf]
        groups, rows = use.groups, use.rows
        if self.stacked:
            groups *= self.length
        else:
            rows *= self.length

        def view(entries):
            entries = weight.view(entries)
            if self.stacked:
                return np.concatenate([use.view(row) for row in entries])
            return use.view(entries)

        return use._replace(
            leaf=weight.leaf, groups=groups, rows=rows, view=view,
            bias=self._bias(outer),
        )  # fmt: skip

    def _bias(self, outer):
        bias = self.use.bias
        if bias is None or self.stacked != self.bias_stacked:
            return None
        weight = outer[bias.leaf]

        def view(entries):
            entries = weight.view(entries)
            if self.stacked:
                return np.concatenate([bias.view(row) for row in entries])
            return bias.view(entries)

        return Bias(weight.leaf, view)

    def enter(self, tap: Array) -> Array:
        """The tap outside, a part of it for each step."""
        use = self.use
        if self.stacked:
            return tap.reshape(self.length, *self._shape(tap))
        split = tap.reshape(use.groups, self.length, use.rows, *tap.shape[2:])
        return jnp.moveaxis(split, 1, 0)

    def leave(self, h: Array) -> Array:
        """Factors of all steps, as of a use outside."""
        use = self.use
        if self.stacked:
            return h.reshape(self.length * use.groups, *h.shape[2:])
        moved = jnp.moveaxis(h, 0, 1)
        return moved.reshape(use.groups, self.length * use.rows, *h.shape[3:])

    def _shape(self, tap):
        return (self.use.groups, self.use.rows, *tap.shape[2:])


def _follow_cond(equation, values, tape):
    """A cond: the uses of all branches, with zeros for those not taken."""
    choice, *values = values
    choice = _plain(choice, tape, "it chooses a branch")
    outer = {i: value for i, value in enumerate(values) if isinstance(value, Weight)}
    arrays = [_value(value) for value in values]

    def run(branch, args, inner):
        args = [whole(a, i) if i in outer else a for i, a in enumerate(args)]
        outputs = follow(branch, args, inner)
        return outputs, inner.factors

    branches = jaxpr.branches(equation)
    found = []
    for branch in branches:
        inner = Tape()
        jax.eval_shape(lambda args, b=branch, t=inner: run(b, args, t), arrays)
        for i, reason in inner.refused.items():
            tape.refuse(outer[i], reason)
        found.append(inner.uses)
    uses = [use for part in found for use in part]
    start = len(tape.uses)
    taps = None if tape.taps is None else tape.taps[start : start + len(uses)]

    def alternative(branch, first, n):
        def taken(args, taps):
            mine = None if taps is None else taps[first : first + n]
            outputs, factors = run(branch, args, Tape(mine))
            everything = [
                jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), use.factor)
                for use in uses
            ]
            everything[first : first + n] = factors
            return outputs, everything

        return taken

    ends = np.cumsum([len(part) for part in found])
    outputs, factors = lax.switch(
        choice,
        [
            alternative(branch, int(end) - len(part), len(part))
            for branch, end, part in zip(branches, ends, found, strict=True)
        ],
        arrays,
        taps,
    )
    for use, h in zip(uses, factors, strict=True):
        weight, bias = outer[use.leaf], use.bias
        if bias is not None:
            over = outer[bias.leaf]
            bias = Bias(over.leaf, _then(over.view, bias.view))
        outside = use._replace(
            leaf=weight.leaf, view=_then(weight.view, use.view), bias=bias
        )
        tape.record(outside, _scale(h, use, outer))
    return outputs


def _first(rows):
    """The shapes of one step's rows."""
    return [jax.ShapeDtypeStruct(row.shape[1:], row.dtype) for row in rows]


_BODIES: dict[str, Callable[[Any, list[Any], Tape], Sequence[Any]]] = {
    "scan": _follow_scan,
    "cond": _follow_cond,
}
