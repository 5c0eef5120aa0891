"""Elements of a symmetry: their action, their products, random ones."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdl.landscape.symmetry import Axis, Group, Symmetry, check_fits, map_named
from jaxdl.types import Array, Key, Params, Scalar


class Move(NamedTuple):
    """What is done to the units of one group: multiply them, then permute."""

    permutation: Array | None  # (m,) int32: place j takes what was in permutation[j]
    factor: Array | None  # (m,), not zero, of the units where they were before


Element = dict[str, Move]
"""One move a group: a pytree, so that many elements are one with a leading axis."""


class GroupOrder(NamedTuple):
    """How large a symmetry is."""

    discrete: int  # permutations and signs
    continuous: int  # dimensions: one a positive scale


def act(symmetry: Symmetry, element: Element, params: Params) -> Params:
    """Parameters of the same function.

    With factor f, permutation p and the power q of an axis, the entries of unit j on
    that axis become ``f[p[j]]**q`` times those of unit p[j]. All groups multiply before
    any permutes. So it is with the gradient, but for powers of the other sign.

    Args:
        symmetry: What is declared.
        element: From `random_element`, matching, or by hand. ``vmap`` for many.
        params: Tree of arrays that the symmetry fits.

    Returns:
        A tree like ``params``, in its dtypes.

    Examples:
        >>> symmetry = Symmetry(
        ...     {"h": Group(3, scales=True)}, [Axis("w", 0, "h", power=1)]
        ... )
        >>> move = Move(jnp.array([2, 0, 1]), jnp.array([1.0, 10.0, 100.0]))
        >>> print(act(symmetry, {"h": move}, {"w": jnp.array([1.0, 2.0, 3.0])})["w"])
        [300.   1.  20.]
    """
    check_fits(symmetry, params)
    _check_element(symmetry, element)
    groups = symmetry.by_name

    def moved(name, leaf):
        axes = symmetry.axes_of(name)
        for axis in axes:
            factor = element[axis.group].factor
            if factor is not None and axis.power:
                factor = factor.astype(jnp.result_type(leaf)) ** axis.power
                leaf = leaf * _along(axis, factor, jnp.ndim(leaf))
        for axis in axes:
            permutation = element[axis.group].permutation
            if permutation is not None:
                index = _entries(axis, groups[axis.group], permutation)
                leaf = jnp.take(leaf, index, axis=axis.axis)
        return leaf

    return map_named(moved, params)


def identity_element(symmetry: Symmetry, dtype: Any = float) -> Element:
    """The element that leaves all parameters where they are.

    Args:
        symmetry: What is declared.
        dtype: Of the factors.

    Returns:
        One move a group.
    """
    return {
        name: Move(
            jnp.arange(group.size, dtype=jnp.int32) if group.permutes else None,
            jnp.ones(group.size, dtype) if group.factors else None,
        )
        for name, group in symmetry.by_name.items()
    }


def random_element(
    key: Key, symmetry: Symmetry, *, spread: Scalar = 0.5, dtype: Any = float
) -> Element:
    """A random element: uniform permutations and signs, log-normal scales.

    Args:
        key: PRNG key.
        symmetry: What is declared.
        spread: Standard deviation of the logarithm of a scale, ``>= 0``.
        dtype: Of the factors.

    Returns:
        One move a group.

    Raises:
        ValueError: If ``spread`` is a negative Python number.
    """
    if isinstance(spread, float | int) and not spread >= 0:
        raise ValueError(f"spread must be >= 0, got {spread}")
    groups = symmetry.by_name
    total = sum(group.size for group in groups.values())
    bits_key, sign_key, scale_key = jax.random.split(key, 3)
    bits = jax.random.bits(bits_key, (total,))
    signs = jax.random.rademacher(sign_key, (total,), dtype)
    scales = jnp.exp(spread * jax.random.normal(scale_key, (total,), dtype))
    element, start = {}, 0
    for name, group in groups.items():
        own = slice(start, start := start + group.size)
        permutation = jnp.argsort(bits[own]).astype(jnp.int32)
        factor = signs[own] if group.signs else jnp.ones_like(signs[own])
        if group.scales:
            factor = (factor * scales[own]).astype(factor.dtype)
        element[name] = Move(
            permutation if group.permutes else None, factor if group.factors else None
        )
    return element


def compose(symmetry: Symmetry, second: Element, first: Element) -> Element:
    """The element that acts as ``first`` and then ``second``.

    Args:
        symmetry: What is declared.
        second: What acts last.
        first: What acts first.

    Returns:
        Their product.
    """
    _check_element(symmetry, first)
    _check_element(symmetry, second)
    product = {}
    for name, group in symmetry.by_name.items():
        (p1, f1), (p2, f2) = first[name], second[name]
        order = _order(group, name, first)
        if f1 is not None and f2 is not None:
            f1 = f1 * (f2 if order is None else f2[jnp.argsort(order)])
        if p1 is not None and p2 is not None:
            p1 = p1[p2]
        product[name] = Move(p1, f1)
    return product


def inverse(symmetry: Symmetry, element: Element) -> Element:
    """The element that undoes another.

    Args:
        symmetry: What is declared.
        element: What to undo.

    Returns:
        Its inverse.
    """
    _check_element(symmetry, element)
    undone = {}
    for name, group in symmetry.by_name.items():
        permutation, factor = element[name]
        order = _order(group, name, element)
        if factor is not None:
            factor = 1 / (factor if order is None else factor[order])
        if permutation is not None:
            permutation = jnp.argsort(permutation).astype(permutation.dtype)
        undone[name] = Move(permutation, factor)
    return undone


def group_order(symmetry: Symmetry) -> GroupOrder:
    """How many elements a symmetry has.

    ``m!`` for the permutations of m units, ``2**m`` for their signs, m dimensions for
    their scales; products and sums over the groups. The declared group is counted: it
    may act on special parameters, such as tied units, by fewer different moves.

    Args:
        symmetry: What is declared.

    Returns:
        The order of the discrete part as an exact integer, and the dimension of the
        continuous part.

    Examples:
        >>> group_order(Symmetry({"h": Group(5, signs=True)}, []))
        GroupOrder(discrete=3840, continuous=0)
    """
    discrete, continuous = 1, 0
    for group in symmetry.by_name.values():
        if group.permutes:
            discrete *= math.factorial(group.size)
        if group.signs:
            discrete *= 2**group.size
        if group.scales:
            continuous += group.size
    return GroupOrder(discrete, continuous)


def _order(group: Group, name: str, element: Element) -> Array | None:
    """The permutation that moves the units of a group, its own or its leader's."""
    return element[name if group.follows is None else group.follows].permutation


def _entries(axis: Axis, group: Group, permutation: Array) -> Array:
    """A permutation of units as one of all entries on an axis, ``(length,)``."""
    if axis.inner == 1 and axis.outer == 1:
        return permutation
    shape = (axis.outer, group.size, axis.inner)
    length = axis.outer * group.size * axis.inner
    entries = jnp.arange(length, dtype=permutation.dtype).reshape(shape)
    return entries[:, permutation].reshape(-1)


def _along(axis: Axis, factor: Array, ndim: int) -> Array:
    """One number a unit as an array that multiplies along an axis."""
    if axis.inner != 1:
        factor = jnp.repeat(factor, axis.inner)
    if axis.outer != 1:
        factor = jnp.tile(factor, axis.outer)
    shape = [1] * ndim
    shape[axis.axis] = factor.shape[0]
    return factor.reshape(shape)


def _check_element(symmetry: Symmetry, element: Element) -> None:
    """Reject an element of another symmetry.

    Raises:
        ValueError: What does not fit.
    """
    groups = symmetry.by_name
    if {*element} != {*groups}:
        raise ValueError(f"element must have the groups {[*groups]}, got {[*element]}")
    for name, group in groups.items():
        for part, wanted in (
            ("permutation", group.permutes),
            ("factor", group.factors),
        ):
            got = getattr(element[name], part)
            shape = None if got is None else jnp.shape(got)
            if shape != ((group.size,) if wanted else None):
                raise ValueError(
                    f"element: the {part} of {name!r} must "
                    + (f"be ({group.size},)" if wanted else "be None")
                    + f", got {shape}"
                )
