"""How many eigenvalues are negative, zero and positive."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxdl.curvature import lanczos
from jaxdl.curvature.operators import LinearOperator
from jaxdl.types import Array, Key, Scalar


class Inertia(NamedTuple):
    """How many eigenvalues lie on each side of zero; the sum is p."""

    negative: Array  # () int32, below -threshold
    zero: Array  # () int32
    positive: Array  # () int32, above the threshold
    threshold: Array  # ()


class InertiaBounds(NamedTuple):
    """How many eigenvalues lie on each side of zero at least."""

    negative_at_least: Array  # () int32, below -threshold
    zero_at_least: Array  # () int32
    positive_at_least: Array  # () int32, above the threshold
    threshold: Array  # ()


def inertia(
    matrix: LinearOperator | Array,
    *,
    threshold: Scalar | None = None,
    depth: int | None = None,
    key: Key | None = None,
) -> Inertia | InertiaBounds:
    """The numbers of negative, zero and positive eigenvalues.

    Of a matrix all eigenvalues are computed and counted. Of an operator only bounds are
    found. By Cauchy's interlacing A has at least as many eigenvalues beyond a number,
    on either side of zero, as its projection on some ``depth`` orthonormal vectors,
    here from Lanczos; and near zero at least as many as the projection has Ritz vectors
    whose joint residual keeps them there. With ``depth = p`` the bounds are the counts.

    Args:
        matrix: ``(p, p)`` symmetric matrix, or an operator.
        threshold: What counts as zero, ``>= 0``, in the units of the eigenvalues; may
            be traced. None for the size of rounding errors, ``p eps`` times the largest
            eigenvalue in magnitude; ``depth eps`` times the largest found for an
            operator, whose products may well have larger errors.
        depth: For an operator, how many products to spend, ``1..p``.
        key: For an operator, PRNG key.

    Returns:
        `Inertia` of a matrix, `InertiaBounds` of an operator. A NaN counts nowhere.

    Raises:
        ValueError: If the matrix is not square, an operator comes without ``depth`` or
            ``key`` or a matrix with them, or a number lies outside its domain.

    References:
        Parlett (1998), The Symmetric Eigenvalue Problem, chapters 10 and 11.

    Examples:
        >>> counts = inertia(jnp.diag(jnp.array([-2.0, 0.0, 0.0, 5.0])))
        >>> print(counts.negative, counts.zero, counts.positive)
        1 2 1
    """
    if isinstance(threshold, float | int) and not threshold >= 0:
        raise ValueError(f"threshold must be >= 0, got {threshold}")
    if isinstance(matrix, LinearOperator):
        if key is None or depth is None:
            raise ValueError("an operator takes depth and key, got None")
        if not isinstance(depth, int) or not 1 <= depth <= matrix.size:
            raise ValueError(f"depth must lie in 1..{matrix.size}, got {depth}")
        return _bounds(matrix, depth, threshold, key)
    if key is not None or depth is not None:
        raise ValueError("depth and key are for operators, got a matrix")
    if jnp.ndim(matrix) != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"matrix must be square, got shape {jnp.shape(matrix)}")
    return _counts(matrix, threshold)


@jax.jit
def _counts(matrix, threshold):
    """Count all eigenvalues."""
    values = jnp.linalg.eigvalsh(matrix)
    threshold = _threshold(values, threshold)
    return Inertia(
        negative=_number(values < -threshold),
        zero=_number(jnp.abs(values) <= threshold),
        positive=_number(values > threshold),
        threshold=threshold,
    )


@jax.jit(static_argnums=1)
def _bounds(operator, depth, threshold, key):
    """Count Ritz values."""

    def draw(number):
        key_of = jax.random.fold_in(key, number)
        return jax.random.normal(key_of, (operator.size,), operator.dtype)

    basis = jax.lax.fori_loop(
        0,
        depth,
        lambda _, basis: lanczos.extend(operator.flat_matvec, basis, draw),
        lanczos.begin(operator.size, depth, operator.dtype),
    )
    values, rotation = jnp.linalg.eigh(basis.projected)
    threshold = _threshold(values, threshold)
    near = jnp.abs(values) <= threshold
    # All residuals lie along one vector, so those of a group have this joint norm.
    joint = basis.coupling * lanczos.norm(jnp.where(near, rotation[-1], 0))
    if depth == operator.size:
        joint = jnp.zeros_like(joint)
    return InertiaBounds(
        negative_at_least=_number(values < -threshold),
        zero_at_least=_number(jnp.abs(values) + joint <= threshold),
        positive_at_least=_number(values > threshold),
        threshold=threshold,
    )


def _threshold(values, threshold):
    """What counts as zero."""
    if threshold is None:
        return values.size * jnp.finfo(values.dtype).eps * jnp.max(jnp.abs(values))
    return jnp.asarray(threshold, values.dtype)


def _number(mask):
    """How many are true."""
    return jnp.sum(mask, dtype=jnp.int32)
