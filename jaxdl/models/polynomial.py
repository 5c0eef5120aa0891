"""Polynomial features of one variable."""

import jax.numpy as jnp

from jaxdl.types import Array


def apply(x: Array, degree: int) -> Array:
    """Powers ``1, x, ..., x^degree`` of one number.

    Fit their coefficients with `jaxdl.models.linear`. Their condition number grows
    exponentially with the degree: use float64 beyond degree 5 or so.

    Args:
        x: ``()``.
        degree: ``>= 0``.

    Returns:
        ``(degree + 1,)``.

    Raises:
        ValueError: If ``degree`` is negative or ``x`` is not a scalar.

    Examples:
        >>> print(apply(jnp.asarray(2.0), 3))
        [1. 2. 4. 8.]
    """
    if degree < 0:
        raise ValueError(f"degree must be >= 0, got {degree}")
    if jnp.ndim(x):
        raise ValueError(f"x must be one number, got shape {jnp.shape(x)}; vmap")
    return jnp.asarray(x) ** jnp.arange(degree + 1)
