"""The size of gradients: by leaf."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxdl.diagnostics.leaves import leaf_names
from jaxdl.types import Array, Params


class GradientStatistics(NamedTuple):
    """Moments of the entries of one leaf, ``()`` each."""

    norm: Array
    mean: Array
    variance: Array
    zero: Array  # fraction of entries that are exactly zero


def gradient_statistics(gradient: Params) -> dict[str, GradientStatistics]:
    """Norm, mean and variance of each leaf of a gradient, or of any tree.

    The norm is computed from entries divided by the largest, so that entries down to
    the smallest number of their dtype count: squared, float32 vanishes below 1e-19.

    Args:
        gradient: Pytree of floating-point arrays, none of them empty.

    Returns:
        From the name of each leaf, such as ``params[0].kernel``, to its statistics.

    Raises:
        ValueError: If a leaf is empty.

    Examples:
        >>> found = gradient_statistics({"w": jnp.array([3.0, 0.0, 4.0, 0.0])})
        >>> print(found["params['w']"].norm, found["params['w']"].zero)
        5.0 0.5
    """
    named = zip(leaf_names(gradient), jax.tree.leaves(gradient), strict=True)
    found = {}
    for name, leaf in named:
        leaf = jnp.asarray(leaf)
        if not leaf.size:
            raise ValueError(f"gradient must have no empty leaf, got {name}")
        found[name] = GradientStatistics(
            norm=scaled_norm(leaf),
            mean=jnp.mean(leaf),
            variance=jnp.var(leaf),
            zero=jnp.mean(leaf == 0, dtype=leaf.dtype),
        )
    return found


def scaled_norm(tree: Params) -> Array:
    """Euclidean norm over all leaves, safe against underflow and overflow.

    ``m sqrt(sum (x / m)^2)`` with m the largest entry by modulus.

    Args:
        tree: Pytree of arrays with at least one entry.

    Returns:
        ``()``; 0 for zeros, infinite or NaN if an entry is.

    Examples:
        >>> print(scaled_norm(jnp.array([3e-30, 4e-30])))
        5e-30
    """
    leaves = [jnp.ravel(leaf) for leaf in jax.tree.leaves(tree)]
    flat = jnp.abs(jnp.concatenate(leaves))
    largest = jnp.max(flat)
    usual = (largest > 0) & (largest < jnp.inf)
    scale = jnp.where(usual, largest, 1)
    return jnp.where(usual, scale * jnp.sqrt(jnp.sum((flat / scale) ** 2)), largest)
