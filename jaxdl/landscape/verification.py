"""Does a declared symmetry leave the function alone?"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdl import tree
from jaxdl.landscape.elements import (
    Element,
    Move,
    act,
    identity_element,
    random_element,
)
from jaxdl.landscape.symmetry import Symmetry, check_fits
from jaxdl.types import Array, Key, Params, Scalar


class SymmetryCheck(NamedTuple):
    """How much the function changed, and whether that is rounding."""

    error: Array  # () largest change of an output over the largest output
    tolerance: Array  # ()
    holds: Array  # () bool: error <= tolerance; False where anything is NaN
    by_group: dict[str, Array]  # () each: the error where that group alone acts


def check_symmetry(
    apply: Callable[[Params, Any], Array],
    params: Params,
    symmetry: Symmetry,
    x: Any,
    key: Key,
    *,
    draws: int = 4,
    spread: Scalar = 0.5,
    tolerance: Scalar | None = None,
) -> SymmetryCheck:
    """Compare the function before and after random elements of a symmetry.

    Outputs are compared at the parameters given and at others near them, in which no
    two entries are equal and none is zero: with biases that are all zero, or scales
    that are all one, as before training, a wrong declaration can look right. No draw
    leaves a group's units all where they were. Every group acts alone in as many draws,
    and all of them together in as many.

    A wrong axis changes outputs by as much as their size, rounding by some 1e-6 of it
    in float32. Where the function knows a scale only up to a small constant, as batch
    normalization with its epsilon does, the symmetry is not exact; the error says by
    how much, and the tolerance is yours to choose.

    Args:
        apply: ``apply(params, x) -> outputs`` of one example.
        params: Tree of floating-point arrays.
        symmetry: What is declared for them.
        x: ``(n, ...)`` examples, or a tree of such; a few that differ will do. For a
            function of a whole batch, give it with an axis of length one in front.
        key: PRNG key.
        draws: How many elements, ``>= 1``.
        spread: As in `random_element`.
        tolerance: Largest error that counts as rounding; the square root of the
            outputs' machine epsilon where None: 3.5e-4 in float32, 1.5e-8 in float64.

    Returns:
        Error and verdict, and the error of each group, which tells where to look.

    Raises:
        ValueError: If the parameters do not fit the symmetry, or there is no draw.

    Examples:
        >>> from jaxdl.landscape import Axis, Group, mlp_symmetry
        >>> from jaxdl.models import mlp
        >>> params = mlp.init(jax.random.key(0), (3, 5, 2))
        >>> x = jax.random.normal(jax.random.key(1), (4, 3))
        >>> right = mlp_symmetry(params, "relu")
        >>> bool(check_symmetry(mlp.apply, params, right, x, jax.random.key(2)).holds)
        True

        The bias forgotten:

        >>> axes = [axis for axis in right.axes if axis.leaf != "0/bias"]
        >>> wrong = Symmetry(right.groups, axes)
        >>> bool(check_symmetry(mlp.apply, params, wrong, x, jax.random.key(2)).holds)
        False
    """
    check_fits(symmetry, params)
    if not isinstance(draws, int) or draws < 1:
        raise ValueError(f"draws must be an integer >= 1, got {draws}")
    element_key, point_key = jax.random.split(key)
    points = (params, _generic(point_key, params))
    elements = jax.vmap(lambda k: _moving(k, symmetry, spread))(
        jax.random.split(element_key, draws)
    )
    still = identity_element(symmetry)
    outputs = jax.vmap(apply, (None, 0))
    befores = [outputs(point, x) for point in points]

    def error(names):
        def of_one(element):
            chosen = {
                name: element[name] if name in names else still[name] for name in still
            }
            return jnp.stack([
                _difference(before, outputs(act(symmetry, chosen, point), x))
                for before, point in zip(befores, points, strict=True)
            ])

        return jnp.max(jax.vmap(of_one)(elements))

    by_group = {name: error({name}) for name in still}
    everything = error({*still}) if len(still) != 1 else next(iter(by_group.values()))
    largest = jnp.max(jnp.stack([everything, *by_group.values()]))
    if tolerance is None:
        tolerance = float(jnp.finfo(befores[0].dtype).eps) ** 0.5
    tolerance = jnp.asarray(tolerance, largest.dtype)
    return SymmetryCheck(largest, tolerance, largest <= tolerance, by_group)


def _moving(key: Key, symmetry: Symmetry, spread: Scalar) -> Element:
    """A random element that moves something in each group."""
    element = random_element(key, symmetry, spread=spread)
    for name, group in symmetry.by_name.items():
        permutation, factor = element[name]
        if permutation is not None:
            still = jnp.all(permutation == jnp.arange(group.size))
            permutation = jnp.where(still, jnp.roll(permutation, 1), permutation)
        if factor is not None and group.signs:
            flipped = factor.at[0].multiply(-1)
            factor = jnp.where(jnp.all(factor > 0), flipped, factor)
        element[name] = Move(permutation, factor)
    return element


def _generic(key: Key, params: Params) -> Params:
    """Parameters near these, each with its sign, that are all different and not zero.

    Entries are multiplied by log-normal numbers; those that are zero become positive,
    of the size of the others.
    """
    flat, unravel = tree.ravel(params)
    factors = jnp.exp(0.5 * jax.random.normal(key, flat.shape, flat.dtype))

    def moved(leaf, factor):
        size = jnp.sqrt(jnp.mean(leaf**2))
        size = jnp.where(size > 0, size, 0.1).astype(factor.dtype)
        return jnp.where(leaf == 0, size, leaf) * factor

    return jax.tree.map(moved, params, unravel(factors))


def _difference(before: Array, after: Array) -> Array:
    """The largest change over the largest output, NaN where anything is."""
    size = jnp.max(jnp.abs(before))
    change = jnp.max(jnp.abs(after - before))
    return jnp.where(change == 0, 0.0, change / size)
