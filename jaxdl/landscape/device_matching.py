"""Matching as one compiled program."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxdl import tree
from jaxdl.landscape.assignment import assign_on_device, signed
from jaxdl.landscape.canonical import unit_rows
from jaxdl.landscape.elements import Element, Move, act
from jaxdl.landscape.symmetry import (
    Symmetry,
    check_fits,
    check_pair,
    leaf_names,
    map_named,
)
from jaxdl.types import Array, Params


class DeviceMatching(NamedTuple):
    """Where coordinate descent has ended."""

    element: Element
    objective: Array  # () sum of products of all parameters but statistics
    sweeps: Array  # () int32, rounds over the groups
    converged: Array  # () bool, whether the last one changed nothing


def match_weights_on_device(
    symmetry: Symmetry,
    params_a: Params,
    params_b: Params,
    start: Element,
    *,
    max_sweeps: int = 50,
) -> DeviceMatching:
    """Coordinate descent of `match_weights` from one start, on the device.

    For ``jit`` and ``vmap``: over starts from `random_element`, over pairs of networks,
    inside of training. The assignment is optax's Hungarian algorithm, on a CPU some
    four times slower than SciPy's. Scales of the start stay.

    Args:
        symmetry: What is declared; all its groups permute.
        params_a: Stay as they are; finite, which is not checked.
        params_b: Move.
        start: Where to start.
        max_sweeps: Most rounds over the groups, ``>= 1``.

    Returns:
        Element, objective, and whether the descent has converged.

    Raises:
        ValueError: If a group with signs cannot permute, or ``max_sweeps`` is below 1.

    Examples:
        >>> from jaxdl.landscape import mlp_symmetry, random_element
        >>> from jaxdl.models import mlp
        >>> params = mlp.init(jax.random.key(0), (3, 5, 2))
        >>> symmetry = mlp_symmetry(params, "gelu")
        >>> planted, *starts = jax.random.split(jax.random.key(1), 4)
        >>> moved = act(symmetry, random_element(planted, symmetry), params)
        >>> starts = jax.vmap(random_element, (0, None))(jnp.stack(starts), symmetry)
        >>> found = jax.jit(jax.vmap(match_weights_on_device, (None, None, None, 0)))(
        ...     symmetry, moved, params, starts
        ... )
        >>> bool(jnp.isclose(found.objective.max(), tree.dot(params, params)))
        True
    """
    check_fits(symmetry, params_a, "params_a")
    check_fits(symmetry, params_b, "params_b")
    check_pair(params_a, params_b)
    if not isinstance(max_sweeps, int) or max_sweeps < 1:
        raise ValueError(f"max_sweeps must be an integer >= 1, got {max_sweeps}")
    names = []
    for name, group in symmetry.by_name.items():
        if group.signs and not group.permutes:
            raise ValueError(f"symmetry: {name!r} has signs and must permute")
        if group.permutes:
            names.append(name)

    def weights(params):
        return map_named(
            lambda name, leaf: leaf * 0 if name in symmetry.statistics else leaf, params
        )

    params_a, params_b = weights(params_a), weights(params_b)
    eps = 8 * jnp.finfo(jnp.result_type(*jax.tree.leaves(params_b))).eps

    def value(element):
        return tree.dot(params_a, act(symmetry, element, params_b))

    def sweep(state):
        element, now, _, sweeps = state
        changed = jnp.zeros((), bool)
        for name in names:
            proposed = _solve(symmetry, name, params_a, params_b, element)
            new = value(proposed)
            better = new > now + eps * jnp.abs(now)
            element = jax.tree.map(
                lambda x, y, better=better: jnp.where(better, x, y), proposed, element
            )
            now, changed = jnp.where(better, new, now), changed | better
        return element, now, changed, sweeps + 1

    def unfinished(state):
        return state[2] & (state[3] < max_sweeps)

    begin = (start, value(start), jnp.ones((), bool), jnp.zeros((), jnp.int32))
    element, now, changed, sweeps = jax.lax.while_loop(unfinished, sweep, begin)
    return DeviceMatching(element, now, sweeps, ~changed)


def _solve(symmetry, name, params_a, params_b, element) -> Element:
    """The element with one group's best assignment, the others as they are."""
    group = symmetry.by_name[name]
    permutation, factor = element[name]
    size = None if factor is None else jnp.abs(factor)
    still = Move(jnp.arange(group.size, dtype=permutation.dtype), size)
    a, b = leaf_names(params_a), leaf_names(params_b)
    even = odd = jnp.zeros((group.size, group.size), jnp.result_type(*a.values()))
    for axis in symmetry.axes:
        if axis.group != name or axis.leaf in symmetry.statistics:
            continue
        # Only this axis is put back: the group may act on others of the parameter.
        axes = [other for other in symmetry.axes_of(axis.leaf) if other != axis]
        one = Symmetry(symmetry.groups, axes)
        rest = act(one, element, {axis.leaf: b[axis.leaf]})
        only = Symmetry(symmetry.groups, [axis])
        moved = act(only, element | {name: still}, rest)[axis.leaf]
        rows = unit_rows(axis, group, a[axis.leaf])
        columns = unit_rows(axis, group, moved)
        product = jnp.matmul(rows, columns.T, precision=jax.lax.Precision.HIGHEST)
        if group.signs and axis.power % 2:
            odd = odd + product
        else:
            even = even + product
    order = assign_on_device(signed(even, odd))
    if group.signs and factor is not None and size is not None:
        pairs = jnp.take_along_axis(odd, order[:, None], axis=1)[:, 0]
        signs = jnp.where(pairs < 0, -1, 1).astype(factor.dtype)
        size = size.at[order].multiply(signs)
    return element | {name: Move(order.astype(permutation.dtype), size)}
