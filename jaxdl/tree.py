"""Arithmetic on pytrees: the vector space of parameters.

Leaves are arrays. Trees that are combined have the same structure and shapes.
``None`` marks an absent leaf and stays ``None``.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from jaxdl.types import Array, Key, Scalar

Tree = Any


def add(a: Tree, b: Tree) -> Tree:
    """Leafwise sum ``a + b``."""
    return jax.tree.map(jnp.add, a, b)


def subtract(a: Tree, b: Tree) -> Tree:
    """Leafwise difference ``a - b``."""
    return jax.tree.map(jnp.subtract, a, b)


def scale(factor: Scalar, a: Tree) -> Tree:
    """``factor * a``, each leaf in its own dtype."""
    return jax.tree.map(lambda x: (factor * x).astype(x.dtype), a)


def add_scaled(a: Tree, factor: Scalar, b: Tree) -> Tree:
    """``a + factor * b``, each leaf in the dtype of ``a``."""
    return jax.tree.map(lambda x, y: (x + factor * y).astype(x.dtype), a, b)


def dot(a: Tree, b: Tree) -> Array:
    """Inner product over all leaves; complex ``a`` is conjugated.

    Args:
        a: Tree of arrays.
        b: Tree of arrays, as ``a``.

    Returns:
        ``()``, in the dtype that the leaves promote to; zero for an empty tree.

    Examples:
        >>> import numpy as np
        >>> a = {"w": np.ones((2, 3)), "b": np.ones(2)}
        >>> float(dot(a, a))
        8.0
    """
    products = jax.tree.map(
        lambda x, y: jnp.vdot(x, y, precision=jax.lax.Precision.HIGHEST), a, b
    )
    return sum(jax.tree.leaves(products), start=jnp.asarray(0.0))


def norm(a: Tree) -> Array:
    """Euclidean norm over all leaves, ``()``."""
    return jnp.sqrt(jnp.real(dot(a, a)))


def zeros_like(a: Tree) -> Tree:
    """Zeros in the shapes and dtypes of ``a``."""
    return jax.tree.map(jnp.zeros_like, a)


def size(a: Tree) -> int:
    """Number of entries in all leaves: the parameter count of a model."""
    return sum(math.prod(jnp.shape(leaf)) for leaf in jax.tree.leaves(a))


def ravel(a: Tree) -> tuple[Array, Callable[[Array], Tree]]:
    """Concatenate all leaves into one vector.

    Args:
        a: Tree of arrays.

    Returns:
        ``(p,)``, and the function that rebuilds a tree from such a vector.
    """
    return ravel_pytree(a)


def random_like(
    key: Key, a: Tree, sampler: Callable[..., Array] = jax.random.normal
) -> Tree:
    """Independent draws in the shapes and dtypes of ``a``.

    Args:
        key: PRNG key; each leaf gets a key of its own, by its position.
        a: Tree of arrays.
        sampler: ``sampler(key, shape, dtype)``, such as ``jax.random.normal`` or
            ``jax.random.rademacher``.

    Returns:
        A tree like ``a``.
    """
    leaves, structure = jax.tree.flatten(a)
    keys = jax.random.split(key, max(len(leaves), 1))
    draws = [
        sampler(k, jnp.shape(leaf), jnp.result_type(leaf))
        for k, leaf in zip(keys, leaves, strict=False)
    ]
    return jax.tree.unflatten(structure, draws)
