"""Bound the gradient: its norm over all leaves, or each entry."""

import jax
import jax.numpy as jnp

from jaxdl.optim.base import GradientTransformation, keep_dtype, stateless
from jaxdl.optim.domains import outside
from jaxdl.optim.moments import squared
from jaxdl.types import Array, Params, Scalar


def clip_by_global_norm(max_norm: Scalar) -> GradientTransformation:
    """Shorten the updates to a norm over all leaves, ``g * min(1, max_norm / |g|)``.

    The direction stays. If an entry is NaN or infinite, or the sum of squares is too
    large for its dtype, the updates do not stay finite and nonzero: NaN in one entry
    makes all NaN, and an infinite norm makes finite entries 0 and infinite ones NaN.

    Args:
        max_norm: ``>= 0``, units of the gradient; infinite for no bound.

    Returns:
        A transformation.

    Raises:
        ValueError: If ``max_norm`` is a Python number that is negative or NaN.

    References:
        Pascanu, Mikolov, Bengio (2013), On the difficulty of training recurrent
        neural networks, algorithm 1. https://arxiv.org/abs/1211.5063

    Examples:
        >>> transform = clip_by_global_norm(1.0)
        >>> updates = {"w": jnp.array([3.0]), "b": jnp.array([4.0])}
        >>> updates, _ = transform.update(updates, transform.init(updates))
        >>> print(updates["w"], updates["b"])
        [0.6] [0.8]
    """
    if problem := outside("[0, inf]", max_norm=max_norm):
        raise ValueError(problem)

    def clip_all(updates, _):
        norm = global_norm(updates)
        factor = jnp.where(norm <= max_norm, 1, max_norm / norm)
        return jax.tree.map(lambda g: keep_dtype(factor * g, g), updates)

    return stateless(clip_all)


def global_norm(updates: Params) -> Array:
    """Euclidean norm over all leaves, summed in float32 or the dtype of the leaf.

    Args:
        updates: Tree of arrays.

    Returns:
        ``()``, real; 0 for a tree without leaves.

    Examples:
        >>> print(global_norm({"w": jnp.full((2, 2), 1.5), "b": jnp.array([4.0])}))
        5.0
    """
    squares = [
        jnp.sum(squared(g.astype(jnp.promote_types(g.dtype, jnp.float32))))
        for g in map(jnp.asarray, jax.tree.leaves(updates))
    ]
    return jnp.sqrt(sum(squares, start=jnp.zeros(())))


def clip(max_delta: Scalar) -> GradientTransformation:
    """Clip each entry to ``[-max_delta, max_delta]``; NaN stays NaN.

    Args:
        max_delta: ``>= 0``, units of the gradient; infinite for no bound.

    Returns:
        A transformation.

    Raises:
        ValueError: If ``max_delta`` is a Python number that is negative or NaN.
    """
    if problem := outside("[0, inf]", max_delta=max_delta):
        raise ValueError(problem)

    def clip_all(updates, _):
        return jax.tree.map(
            lambda g: keep_dtype(jnp.clip(g, -max_delta, max_delta), g), updates
        )

    return stateless(clip_all)
