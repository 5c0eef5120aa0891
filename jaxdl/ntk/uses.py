"""Following parameters through a function to where they meet data.

A parameter may be reshaped, transposed, sliced, cast or multiplied by a number, passed
into ``jit``, ``checkpoint``, ``scan`` or ``cond``: it is still the same weight, looked
at in another way. The equation where it then meets data is a *use*. For each, `follow`
records the factor h of `jaxdl.ntk.rules` and adds a *tap* to the output, a zero whose
gradient is the other factor.
"""

import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxdl import jaxpr
from jaxdl.ntk import rules
from jaxdl.ntk.bodies import follow_cond, follow_scan
from jaxdl.ntk.tape import (
    Sum,
    Tape,
    Use,
    Weight,
    plain,
    shapes_of,
    then,
    value_of,
)
from jaxdl.ntk.views import looked_at
from jaxdl.types import Array

NATURAL = "it scales or shifts"
"""Why a leaf is refused whose own gradient is all that there is to have."""

_BODIES = {"scan": follow_scan, "cond": follow_cond}


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
            return _BODIES[name](equation, values, tape, follow)
        if (looked := looked_at(equation, values)) is not None:
            return looked
        return [_used(equation, values, tape)] if len(equation.outvars) == 1 else (
            _refused(equation, values, tape)
        )  # fmt: skip

    outputs = jaxpr.evaluate(equations, args, perform)
    tape.read(outputs)
    for sum_ in tape.sums.values():
        if sum_.bias is not None and not sum_.read_once():
            tape.refused.setdefault(sum_.bias, "it is added to what is used again")
    return [plain(value, tape, "it is an output") for value in outputs]


def _refused(equation, values, tape):
    name, (y, *_) = equation.primitive.name, equation.outvars

    def refused(value):
        natural = name in {"add", "sub", "add_any"} or (
            name in {"mul", "div"}
            and (np.ndim(value_of(value)) < 2 or _spread(value, y))
        )
        return plain(value, tape, NATURAL if natural else f"no rule for {name}")

    return jaxpr.bind(equation, [refused(value) for value in values])


def _spread(value, y):
    """If a value is repeated along some axis of what it is multiplied with."""
    return np.size(value_of(value)) < y.aval.size


def _used(equation, values, tape):
    """The output of an equation where a weight meets data."""
    places = [i for i, value in enumerate(values) if isinstance(value, Weight)]
    form = rules.match(equation, places[0]) if len(places) == 1 else None
    if form is None:
        return _refused(equation, values, tape)[0]
    weight = values[places[0]]
    data = [value for value in values if not isinstance(value, Weight)]
    if form.perform is None:
        (y,) = jaxpr.bind(equation, [value_of(value) for value in values])
    else:
        y = form.perform(data[0], weight.value)
    h = form.factor(*data)
    if weight.scale is not None:
        h = rules.multiply(h, weight.scale)
    use = Use(
        weight.leaf, form.rule, form.groups, form.rows, form.inputs, form.outputs,
        view=then(weight.view, form.arrange), factor=shapes_of(h), dtype=y.dtype,
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

    h = tape.factors[host.use]
    scale = 1.0 if other.scale is None else other.scale
    one = jnp.full((*h.shape[:2], 1), scale, h.dtype)
    h = jnp.concatenate([h, one], axis=2)
    tape.factors[host.use] = h
    tape.uses[host.use] = use._replace(bias=other.leaf, factor=shapes_of(h))
    host.bias = other.leaf
    return jaxpr.bind(equation, [value_of(value) for value in values])


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
