"""Shift and scale features, by what the training rows show alone."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.types import Array


class Standardization(NamedTuple):
    """Mean and standard deviation of each feature, in the shape of one example."""

    mean: np.ndarray | Array
    scale: np.ndarray | Array  # 1 where the feature is constant


def standardize_fit(x: np.ndarray | Array) -> Standardization:
    """Mean and standard deviation of each feature over the rows.

    ``scale = sqrt(mean((x - mean)^2))``, dividing by n. A constant feature keeps scale
    1, and `standardize` makes it exactly zero. Fit on training rows, then apply to
    training and test rows alike: test rows must not leak into what is learned.

    Args:
        x: ``(n, ...)`` training inputs (or targets), ``n >= 1``, floating point; NumPy
            or JAX, and so is the result.

    Returns:
        Mean and scale, each in the shape and dtype of one row.

    Raises:
        ValueError: If ``x`` has no rows or is not floating point.

    Examples:
        >>> stats = standardize_fit(np.array([[1.0, 7.0], [5.0, 7.0]]))
        >>> stats.mean.tolist(), stats.scale.tolist()
        ([3.0, 7.0], [2.0, 1.0])
        >>> standardize(stats, np.array([[5.0, 7.0]])).tolist()
        [[1.0, 0.0]]
    """
    xp = jnp if isinstance(x, jax.Array) else np
    if x.ndim < 1 or x.shape[0] < 1:
        raise ValueError(f"x must be (n, ...) with n >= 1, got {x.shape}")
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise ValueError(f"x must be floating point, got dtype {x.dtype}")
    wide = jnp.promote_types(x.dtype, jnp.float32)  # squares overflow float16
    mean = x.mean(axis=0, dtype=wide).astype(x.dtype)
    deviation = x.std(axis=0, dtype=wide).astype(x.dtype)
    # Exactly: the mean of n equal numbers may round to another one.
    constant = x.max(axis=0) == x.min(axis=0)
    return Standardization(
        xp.where(constant, x[0], mean),
        xp.where(constant, xp.ones_like(x[0]), deviation),
    )


def standardize(stats: Standardization, x: np.ndarray | Array) -> np.ndarray | Array:
    """``(x - mean) / scale``, feature by feature.

    Args:
        stats: From `standardize_fit`.
        x: ``(..., *features)`` floating point: one example, or any number of leading
            axes.

    Returns:
        Features of mean 0 and standard deviation 1 on the rows that were fitted, in
        the shape and dtype of ``x``; JAX if either argument is.

    Raises:
        ValueError: If the last axes of ``x`` are not those of one fitted row, or
            ``x`` is not floating point.
    """
    features = stats.mean.shape
    if x.shape[x.ndim - len(features) :] != features or x.ndim < len(features):
        raise ValueError(f"x must end in the fitted shape {features}, got {x.shape}")
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise ValueError(f"x must be floating point, got dtype {x.dtype}")
    xp = jnp if any(isinstance(a, jax.Array) for a in (x, *stats)) else np
    mean, scale = (xp.broadcast_to(a, x.shape) for a in stats)
    return ((x - mean) / scale).astype(x.dtype)
