"""One representative of all parameters that a symmetry makes equal."""

from collections.abc import Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxdl.landscape.elements import Element, Move, act, compose, identity_element
from jaxdl.landscape.symmetry import Axis, Group, Symmetry, check_fits, leaf_names
from jaxdl.types import Array, Params, Scalar


def canonical_form(
    symmetry: Symmetry, params: Params, *, tolerance: Scalar | None = None
) -> Params:
    """Parameters of the same function, the same for all that a symmetry makes equal.

    ``act(symmetry, canonical_element(symmetry, params), params)``, so that
    ``canonical_form(act(g, params)) = canonical_form(params)`` for each element g, up
    to rounding. Two networks are equal modulo the symmetry if their forms are.

    Args:
        symmetry: What is declared.
        params: Tree of floating-point arrays that it fits.
        tolerance: As in `canonical_element`.

    Returns:
        A tree like ``params``.
    """
    element = canonical_element(symmetry, params, tolerance=tolerance)
    return act(symmetry, element, params)


def canonical_element(
    symmetry: Symmetry, params: Params, *, tolerance: Scalar | None = None
) -> Element:
    """The element that brings parameters into their canonical form.

    Scales first, by `balancing_element`. Then group by group, in the order declared: of
    the weights at a unit a generic linear combination is made positive by the unit's
    sign, and units are put in its ascending order. Weights out come second and decide
    where weights in agree. Along axes whose group has not had its turn weights are
    summed up, where that group has signs their squares, which nothing that is still to
    be done can change.

    Parameters on which part of the symmetry does nothing have no unique element, but a
    unique form all the same, with exceptions: a unit without weights in or without
    weights out keeps an arbitrary place among such; signs stay as they are where all
    weights lie on signed axes whose groups have not had their turn.

    Args:
        symmetry: What is declared.
        params: Tree of floating-point arrays that it fits.
        tolerance: Units whose weights in differ by less, relative to the largest, are
            ordered by their weights out, ``>= 0``; ``eps ** 0.75`` of the dtype where
            None.

    Returns:
        One move a group; works under ``jit`` and ``vmap``.
    """
    check_fits(symmetry, params)
    element = balancing_element(symmetry, params)
    done: set[str] = set()
    for name, group in symmetry.by_name.items():
        leaves = leaf_names(act(symmetry, element, params))
        move = _ordering(symmetry, name, group, leaves, done, tolerance)
        dtype = jnp.result_type(*leaves.values())
        step = identity_element(symmetry, dtype) | {name: move}
        element = compose(symmetry, step, element)
        done.add(name)
    return element


def balancing_element(
    symmetry: Symmetry, params: Params, *, max_sweeps: int = 1000
) -> Element:
    """The scales that make the squared norm of the weights least.

    At the least norm, weights into each unit have the norm of the weights out of it,
    the conserved quantity of `rescaling_form` is zero, and no other scales do as well:
    the squared norm is strictly convex in the logarithms of the scales. It is found by
    setting one layer after the other. Where a unit has weights on one side only, as
    before batch normalization, they get norm one. Statistics, and powers besides 1 and
    -1, are moved along and not counted.

    Args:
        symmetry: What is declared.
        params: Tree of floating-point arrays that it fits.
        max_sweeps: At most so many rounds over the layers; they end when no factor
            changes by more than rounding does.

    Returns:
        An element without permutations and signs.

    References:
        Stock, Graham, Gribonval, Jegou (2019), Equi-normalization of neural networks.
        https://arxiv.org/abs/1902.10416
    """
    check_fits(symmetry, params)
    leaves = leaf_names(params)
    dtype = jnp.result_type(*leaves.values())
    still = identity_element(symmetry, dtype)
    scaled = [name for name, group in symmetry.by_name.items() if group.scales]
    if not scaled:
        return still
    eps = 32 * jnp.finfo(dtype).eps

    def sweep(state):
        factors, _, sweeps = state
        largest = jnp.zeros((), dtype)
        for name in scaled:
            element = {
                g: still[g]._replace(factor=factors.get(g, still[g].factor))
                for g in still
            }
            now = leaf_names(act(symmetry, element, params))
            sides = [_squares(symmetry, name, now, power) for power in (1, -1)]
            both = (sides[0] > 0) & (sides[1] > 0)
            safe = [jnp.where(side > 0, side, 1) for side in sides]
            # |out|^2 / |in|^2 = c^4; with one side missing, c^2 or c^-2 is its square.
            step = (safe[1] / safe[0]) ** jnp.where(both, 0.25, 0.5).astype(dtype)
            factors = factors | {name: factors[name] * step}
            largest = jnp.maximum(largest, jnp.max(jnp.abs(step - 1)))
        return factors, largest, sweeps + 1

    def unfinished(state):
        return (state[1] > eps) & (state[2] < max_sweeps)

    start = ({name: still[name].factor for name in scaled}, jnp.ones((), dtype), 0)
    factors = jax.lax.while_loop(unfinished, sweep, start)[0]
    return {g: still[g]._replace(factor=factors.get(g, still[g].factor)) for g in still}


def unit_rows(axis: Axis, group: Group, leaf: Array) -> Array:
    """A parameter as one row a unit, ``(m, rest)``.

    Args:
        axis: Where the units are.
        group: Of the axis.
        leaf: The parameter.

    Returns:
        In each row the entries of one unit, in the order of the other axes.
    """
    return split_units(axis, group, leaf).reshape(group.size, -1)


def split_units(axis: Axis, group: Group, leaf: Array) -> Array:
    """A parameter with the units' axis in front, ``(m, outer, ..., inner)``.

    Args:
        axis: Where the units are.
        group: Of the axis.
        leaf: The parameter.

    Returns:
        Units first, then the repetitions of the axis, the axes before and after it in
        their order, and the neighbours.
    """
    moved = jnp.moveaxis(leaf, axis.axis, 0)
    shape = (axis.outer, group.size, axis.inner, *moved.shape[1:])
    split = jnp.moveaxis(moved.reshape(shape), 1, 0)
    return jnp.moveaxis(split, 2, -1)


def _squares(
    symmetry: Symmetry, name: str, leaves: dict[str, Array], power: int
) -> Array:
    """Sums of squares of the weights at each unit on axes of a power, ``(m,)``."""
    group = symmetry.by_name[name]
    parts = [
        jnp.sum(unit_rows(axis, group, leaves[axis.leaf]) ** 2, axis=1)
        for axis in symmetry.axes
        if axis.group == name
        and axis.power == power
        and axis.leaf not in symmetry.statistics
    ]
    return sum(parts[1:], start=parts[0]) if parts else jnp.zeros(group.size)


def _ordering(symmetry, name, group, leaves, done, tolerance) -> Move:
    """Signs and order of the units of one group, whose scales are set."""
    axes = [
        axis
        for axis in symmetry.axes
        if axis.group == name and axis.leaf not in symmetry.statistics
    ]
    inside = [axis for axis in axes if axis.power >= 0]
    outside = [axis for axis in axes if axis.power < 0]
    first, second = (
        _keys(symmetry, group, leaves, side, done) for side in (inside, outside)
    )
    factor = None
    if group.signs:
        odd = jnp.where(first.odd != 0, first.odd, second.odd)
        factor = jnp.where(odd < 0, -1, 1).astype(odd.dtype)
        first = _Key(first.even, first.odd * factor)
        second = _Key(second.even, second.odd * factor)
    elif group.factors:
        factor = jnp.ones_like(first.odd)
    if not group.permutes:
        return Move(None, factor)
    primary, secondary = first.even + first.odd, second.even + second.odd
    if tolerance is None:
        tolerance = float(jnp.finfo(primary.dtype).eps) ** 0.75
    order = jnp.argsort(primary)
    steps = jnp.diff(primary[order], prepend=primary[order[:1]])
    apart = steps > tolerance * jnp.max(jnp.abs(primary))
    classes = (
        jnp
        .zeros(group.size, jnp.int32)
        .at[order]
        .set(jnp.cumsum(apart, dtype=jnp.int32))
    )
    return Move(jnp.lexsort((secondary, classes)).astype(jnp.int32), factor)


class _Key(NamedTuple):
    """Numbers that order units."""

    even: Array  # (m,) that signs leave alone
    odd: Array  # (m,) that they flip


def _keys(
    symmetry: Symmetry,
    group: Group,
    leaves: dict[str, Array],
    axes: Iterable[Axis],
    done: set[str],
) -> _Key:
    """Generic combinations of the weights at each unit, ``(m,)`` each."""
    dtype, groups = jnp.result_type(*leaves.values()), symmetry.by_name
    even = odd = jnp.zeros(group.size, dtype)
    for number, axis in enumerate(axes):
        weights = leaves[axis.leaf]
        open_axes = [
            other
            for other in symmetry.axes_of(axis.leaf)
            if other.axis != axis.axis
            and other.group not in done
            and (groups[other.group].permutes or groups[other.group].signs)
        ]
        split = split_units(axis, group, weights)
        # Where an axis of the parameter is now: behind the units and repetitions.
        places = {2 + a.axis - (a.axis > axis.axis) for a in open_axes}
        squared = any(groups[a.group].signs for a in open_axes)
        if places:
            split = jnp.sum(split**2 if squared else split, axis=tuple(sorted(places)))
        rows = split.reshape(group.size, -1)
        combined = rows @ _generic(rows.shape[1], number).astype(rows.dtype)
        if group.signs and axis.power % 2 and not squared:
            odd = odd + combined
        else:
            even = even + combined
    return _Key(even, odd)


def _generic(size: int, number: int) -> Array:
    """A vector that no trained network knows of."""
    return jnp.cos((1 + 0.618034 * number) * jnp.arange(1, size + 1) ** 1.5)
