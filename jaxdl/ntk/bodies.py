"""Following parameters into the bodies of ``scan`` and ``cond``."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxdl import jaxpr
from jaxdl.ntk import rules
from jaxdl.ntk.tape import (
    Tape,
    Use,
    Weight,
    plain,
    then,
    value_of,
    whole,
)
from jaxdl.types import Array

Follow = Callable[[jaxpr.Equations, Sequence[Any], Tape], list[Array]]


def follow_scan(
    equation: Any, values: list[Any], tape: Tape, follow: Follow
) -> list[Any]:
    """A scan: a weight may be a constant, the same in all steps, or a row a step."""
    parts = jaxpr.scan(equation)
    n_fixed = parts.n_consts + parts.n_carry
    values = list(values)
    for i in range(parts.n_consts, n_fixed):
        values[i] = plain(values[i], tape, "it starts the carry of a scan")
    outer = {i: value for i, value in enumerate(values) if isinstance(value, Weight)}
    arrays = [value_of(value) for value in values]
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
            bias_stacked=use.bias is not None and use.bias >= n_fixed,
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
            tape.refuse(outer[repeat.use.bias], "it is added, another one in each step")
        tape.record(use, h)
    return [*carry, *rows]


def _scale(h, use, outer):
    """Factors from inside a body, times the numbers before its weights outside."""
    scale = outer[use.leaf].scale
    if use.bias is None:
        return h if scale is None else rules.multiply(h, scale)
    bias_scale = outer[use.bias].scale
    if scale is None and bias_scale is None:
        return h
    h, last = jnp.split(h, [h.shape[2] - 1], axis=2)
    h = h if scale is None else h * scale
    last = last if bias_scale is None else last * bias_scale
    return jnp.concatenate([h, last], axis=2)


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
        alike = bias is not None and self.stacked == self.bias_stacked
        return outer[bias].leaf if alike else None

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


def follow_cond(
    equation: Any, values: list[Any], tape: Tape, follow: Follow
) -> list[Any]:
    """A cond: the uses of all branches, with zeros for those not taken."""
    choice, *values = values
    choice = plain(choice, tape, "it chooses a branch")
    outer = {i: value for i, value in enumerate(values) if isinstance(value, Weight)}
    arrays = [value_of(value) for value in values]

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
        weight = outer[use.leaf]
        bias = None if use.bias is None else outer[use.bias].leaf
        outside = use._replace(
            leaf=weight.leaf, view=then(weight.view, use.view), bias=bias
        )
        tape.record(outside, _scale(h, use, outer))
    return outputs


def _first(rows):
    """The shapes of one step's rows."""
    return [jax.ShapeDtypeStruct(row.shape[1:], row.dtype) for row in rows]
