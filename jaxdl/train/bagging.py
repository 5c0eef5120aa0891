"""Subsets of the examples for the members of an ensemble, as row numbers.

`jaxdl.train.fit` and `jaxdl.train.fit_ensemble` take them as ``rows``: the members
share the data, and each reads its own rows of it.
"""

import jax
import jax.numpy as jnp

from jaxdl.types import Array, Key


def bootstrap_rows(key: Key, n: int, size: int | None = None) -> Array:
    """Row numbers drawn with replacement, for bagging.

    On average a share ``1 - (1 - 1/n)**size`` of the rows occurs, about 63 % where
    ``size`` is n; the others are `out_of_bag`.

    Args:
        key: PRNG key; ``vmap`` over keys for the members of an ensemble.
        n: Number of examples, ``>= 1``.
        size: How many to draw, ``>= 1``; None for n.

    Returns:
        ``(size,)`` int32.

    Raises:
        ValueError: If ``n`` or ``size`` is not positive.

    References:
        Breiman (1996), Bagging predictors. Machine Learning 24, 123-140.

    Examples:
        >>> rows = jax.vmap(lambda key: bootstrap_rows(key, 100))(
        ...     jax.random.split(jax.random.key(0), 8)
        ... )
        >>> rows.shape
        (8, 100)
    """
    size = n if size is None else size
    if n < 1 or size < 1:
        raise ValueError(f"n and size must be positive, got {n} and {size}")
    return jax.random.randint(key, (size,), 0, n, jnp.int32)


def subset_rows(key: Key, n: int, size: int) -> Array:
    """Row numbers drawn without replacement.

    Args:
        key: PRNG key; ``vmap`` over keys for the members of an ensemble.
        n: Number of examples.
        size: How many to draw, in 1..n.

    Returns:
        ``(size,)`` int32, all different.

    Raises:
        ValueError: If ``size`` is not in 1..n.
    """
    if not 1 <= size <= n:
        raise ValueError(f"size must lie in 1..{n}, got {size}")
    return jax.random.permutation(key, n)[:size].astype(jnp.int32)


def out_of_bag(rows: Array, n: int) -> Array:
    """Which examples are not among the rows; they can serve as held-out data.

    Args:
        rows: ``(size,)`` integers in 0..n-1.
        n: Number of examples.

    Returns:
        ``(n,)`` booleans.

    Examples:
        >>> print(out_of_bag(jnp.array([0, 2, 2]), 4))
        [False  True False  True]
    """
    return jnp.ones(n, bool).at[rows].set(False)
