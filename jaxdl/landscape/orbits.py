"""Means over parameters that are all of one function."""

import jax
import jax.numpy as jnp

from jaxdl.landscape.canonical import split_units
from jaxdl.landscape.elements import act, random_element
from jaxdl.landscape.symmetry import Symmetry, check_fits, map_named
from jaxdl.types import Key, Params


def orbit_average(symmetry: Symmetry, params: Params) -> Params:
    """The mean of the parameters over all permutations and signs, exactly.

    All members of the orbit have the same loss. Were the loss convex, that of their
    mean could not be higher (Jensen's inequality); the units of the mean are all equal,
    with signs zero, and its loss is that of a network with one unit a layer, or of a
    constant. So a loss lower than that proves that the landscape is not convex.

    Scales stay as they are: over them there is no mean. An axis that a group acts on
    becomes the mean over its units, times zero where signs act on it by an odd power;
    where one group acts on two axes, ``E[P W P']`` is a constant on the diagonal and
    one beside it.

    Args:
        symmetry: What is declared.
        params: Tree of floating-point arrays that it fits.

    Returns:
        A tree like ``params``.

    Examples:
        >>> from jaxdl.landscape import Axis, Group
        >>> symmetry = Symmetry({"h": Group(2)}, [Axis("w", 0, "h")])
        >>> print(orbit_average(symmetry, {"w": jnp.array([1.0, 3.0])})["w"])
        [2. 2.]
    """
    check_fits(symmetry, params)
    groups = symmetry.by_name

    def mean(name, leaf):
        axes = symmetry.axes_of(name)
        for group_name, group in groups.items():
            own = [axis for axis in axes if axis.group == group_name]
            if not own or not (group.permutes or group.signs):
                continue
            if len(own) == 1:
                leaf = _over_one(own[0], group, leaf)
            elif len(own) == 2 and all(a.inner == a.outer == 1 for a in own):
                leaf = _over_two(own, group, leaf)
            else:
                raise ValueError(
                    f"symmetry: {group_name!r} must act on one axis of {name!r}, or on "
                    f"two without inner and outer, got {own}"
                )
        return leaf

    return map_named(mean, params)


def sampled_orbit_average(
    key: Key, symmetry: Symmetry, params: Params, draws: int
) -> Params:
    """The mean of the parameters over random permutations and signs.

    It tends to `orbit_average`; at few draws it shows how the loss rises on the way.

    Args:
        key: PRNG key.
        symmetry: What is declared.
        params: Tree of floating-point arrays that it fits.
        draws: How many elements, ``>= 1``.

    Returns:
        A tree like ``params``.

    Raises:
        ValueError: If the parameters do not fit the symmetry, or there is no draw.
    """
    check_fits(symmetry, params)
    if not isinstance(draws, int) or draws < 1:
        raise ValueError(f"draws must be an integer >= 1, got {draws}")

    def add(total, key):
        element = random_element(key, symmetry, spread=0.0)
        moved = act(symmetry, element, params)
        return jax.tree.map(jnp.add, total, moved), None

    zeros = jax.tree.map(jnp.zeros_like, params)
    total = jax.lax.scan(add, zeros, jax.random.split(key, draws))[0]
    return jax.tree.map(lambda x: x / draws, total)


def _over_one(axis, group, leaf):
    """The mean over the moves of units on one axis."""
    if group.signs and axis.power % 2:
        return jnp.zeros_like(leaf)
    if not group.permutes:
        return leaf
    split = split_units(axis, group, leaf)
    mean = jnp.broadcast_to(jnp.mean(split, axis=0, keepdims=True), split.shape)
    joined = jnp.moveaxis(jnp.moveaxis(mean, -1, 2), 0, 1)
    others = leaf.shape[: axis.axis] + leaf.shape[axis.axis + 1 :]
    return jnp.moveaxis(joined.reshape(-1, *others), 0, axis.axis)


def _over_two(axes, group, leaf):
    """The mean over the moves of units on two axes at once."""
    a, b = axes
    m = group.size
    square = jnp.moveaxis(leaf, (a.axis, b.axis), (0, 1))
    here = jnp.eye(m, dtype=bool).reshape(m, m, *[1] * (square.ndim - 2))
    odd = [bool(group.signs and axis.power % 2) for axis in axes]
    on = jnp.where(here, square, 0)
    off = jnp.where(here, 0, square)
    if group.permutes:
        on = jnp.sum(on, (0, 1), keepdims=True) / m
        off = jnp.sum(off, (0, 1), keepdims=True) / max(m * (m - 1), 1)
    # Signs of one unit cancel in pairs, those of two different units average to zero.
    if odd[0] != odd[1]:
        on = jnp.zeros_like(on)
    if any(odd):
        off = jnp.zeros_like(off)
    return jnp.moveaxis(jnp.where(here, on, off), (0, 1), (a.axis, b.axis))
