"""Least squares: minimum-norm and ridge solutions, by the singular values.

One decomposition serves every ridge. Nothing here forms ``X^T X``: near the
interpolation threshold its condition number, the square of that of X, destroys
the solution. Use float64 there too (``jax.enable_x64``): in float32 the peak of
double descent is lower than it should be even by singular values.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxdl.types import Array, Scalar


class LeastSquares(NamedTuple):
    """A least-squares problem ``min |X w - y|^2``, decomposed as ``X = U S V^T``."""

    singular_values: Array  # (r,) s, descending, r = min(n, p)
    projections: Array  # (r, k) U^T y
    directions: Array  # (r, p) V^T
    rank: Array  # () int32, how many s exceed the tolerance
    rows: Array  # () n, in the dtype of s


def decompose(x: Array, y: Array, *, tolerance: float | None = None) -> LeastSquares:
    """Prepare a least-squares problem for any ridge.

    Args:
        x: ``(n, p)`` inputs or features; floating point. NumPy's float64 becomes
            float32 unless JAX is set to 64 bits.
        y: ``(n, k)`` targets.
        tolerance: Singular values up to ``tolerance * max(s)`` count as zero.
            Default: ``max(n, p)`` times the machine epsilon of the dtype.

    Returns:
        The decomposed problem.

    Raises:
        ValueError: If the shapes do not fit or ``x`` is not floating point.
    """
    x, y = jnp.asarray(x), jnp.asarray(y)
    if x.ndim != 2 or y.ndim != 2 or x.shape[0] != y.shape[0]:
        raise ValueError(f"expected x (n, p) and y (n, k), got {x.shape} and {y.shape}")
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise ValueError(f"x must be floating point, got dtype {x.dtype}")
    if tolerance is None:
        tolerance = max(x.shape) * float(jnp.finfo(x.dtype).eps)
    u, s, directions = jnp.linalg.svd(x, full_matrices=False)
    projections = jnp.matmul(u.T, y, precision=jax.lax.Precision.HIGHEST)
    rank = jnp.sum(s > tolerance * s[0], dtype=jnp.int32)
    return LeastSquares(
        s, projections, directions, rank, jnp.asarray(x.shape[0], s.dtype)
    )


def minimum_norm(problem: LeastSquares) -> Array:
    """The shortest of all coefficients that minimize the squared error.

    ``pinv(X) y``: what gradient descent from zero converges to.

    Args:
        problem: From `decompose`.

    Returns:
        ``(p, k)``.

    Examples:
        >>> import jax.numpy as jnp
        >>> x, y = jnp.array([[2.0, 1.0]]), jnp.array([[2.0]])
        >>> print([f"{w:.3f}" for w in minimum_norm(decompose(x, y)).ravel()])
        ['0.800', '0.400']
    """
    inverse = _where_in_rank(problem, lambda s: 1 / s)
    return _combine(problem, inverse)


def ridge(problem: LeastSquares, strength: Scalar) -> Array:
    """The minimizer of ``|X w - y|^2 / n + strength |w|^2`` over w.

    ``(X^T X / n + strength)^-1 X^T y / n``, so that ``strength`` has the units of
    the covariance of the inputs. scikit-learn's ``Ridge(alpha)`` without intercept is
    ``strength = alpha / n``.

    Args:
        problem: From `decompose`.
        strength: ``>= 0``; at 0, `minimum_norm`.

    Returns:
        ``(p, k)``.

    Raises:
        ValueError: If ``strength`` is a negative Python number.
    """
    if isinstance(strength, float | int) and not strength >= 0:
        raise ValueError(f"strength must be >= 0, got {strength}")
    shift = problem.rows * strength
    filters = _where_in_rank(problem, lambda s: s / (s**2 + shift))
    return _combine(problem, filters)


def _where_in_rank(problem, function):
    """``function(s)`` for the singular values that count, zero for the others."""
    s = problem.singular_values
    inside = jnp.arange(s.shape[0]) < problem.rank
    return jnp.where(inside, function(jnp.where(inside, s, 1)), 0)


def _combine(problem, filters):
    """``V diag(filters) U^T y``."""
    return jnp.matmul(
        problem.directions.T,
        filters[:, None] * problem.projections,
        precision=jax.lax.Precision.HIGHEST,
    )
