"""Eigenvalues of a kernel, how many count, and what a target has along each.

Computed in float64 whatever the kernel's dtype. Spectra and projections are
differentiable only where JAX is set to 64 bits.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxdl.ntk.kernels import known_not_finite, not_a_kernel, rounding
from jaxdl.theory.precision import float64, formula, in_float64
from jaxdl.types import Array


class Spectrum(NamedTuple):
    """Eigenvalues and what is rounding among them, all float64."""

    values: Array  # (n,) descending; negative ones are kept
    vectors: Array  # (n, n), a column each
    rounding: Array  # () n eps |largest|, eps that of the kernel's dtype
    negative: Array  # () int32, how many values are below zero
    indefinite: Array  # () bool, whether one is below minus the rounding


class Projection(NamedTuple):
    """A target in the basis of a kernel's eigenvectors, all float64."""

    values: Array  # (n,) eigenvalues, descending
    coefficients: Array  # like the target: its inner products with the eigenvectors
    energy: Array  # (n,) parts of the target's squared norm; they sum to 1
    cumulative: Array  # (n,) part along this and all larger eigenvalues


@in_float64
def spectrum(kernel: ArrayLike) -> Spectrum:
    """The eigenvalues and eigenvectors of a kernel.

    A kernel is positive semi-definite, but as computed its small eigenvalues are off by
    about ``n eps`` times the largest, with eps the precision it was computed in. So
    some come out negative: they are returned as they are and counted. If one lies
    below ``-rounding``, it is not rounding but an indefinite matrix.

    Args:
        kernel: ``(n, n)`` symmetric; `flatten_kernel` makes one of ``(n, n, k, k)``.

    Returns:
        Eigenvalues, and how far they can be trusted. NaN for a traced kernel that is
        not finite.

    Raises:
        ValueError: If ``kernel`` is not real and square; or not symmetric or not
            finite, where its values are known.

    Examples:
        >>> found = spectrum(jnp.diag(jnp.array([1.0, 4.0, -1e-9])))
        >>> print(found.values[:2], found.negative, found.indefinite)
        [4. 1.] 1 False
    """
    if message := not_a_kernel(kernel=kernel):
        raise ValueError(message)
    values, vectors = _descending(*float64(kernel))
    largest = jnp.max(jnp.abs(values))
    limit = values.size * rounding(kernel) * largest
    return Spectrum(
        values=values,
        vectors=vectors,
        rounding=limit,
        negative=jnp.sum(values < 0, dtype=jnp.int32),
        indefinite=jnp.any(values < -limit),
    )


@in_float64
def effective_rank(kernel: ArrayLike) -> Array:
    """How many eigenvalues a kernel has in effect, by their entropy.

    ``exp(-sum_i p_i log p_i)`` with ``p_i = |l_i| / sum_j |l_j|``: the perplexity of
    the normalized singular values, which for a symmetric matrix are the moduli of the
    eigenvalues. It is n for a multiple of the identity and 1 for a matrix of rank 1.

    Args:
        kernel: ``(n, n)`` symmetric.

    Returns:
        ``()`` float64 in 1..n; NaN for a kernel of zeros.

    Raises:
        ValueError: If ``kernel`` is not real and square; or not symmetric or not
            finite, where its values are known.

    References:
        Roy, Vetterli (2007), The effective rank: a measure of effective dimensionality,
        15th European Signal Processing Conference, 606-610.

    Examples:
        >>> print(f"{effective_rank(jnp.diag(jnp.array([2.0, 2.0, 0.0]))):.6f}")
        2.000000
    """
    if message := not_a_kernel(kernel=kernel):
        raise ValueError(message)
    return _effective_rank(*float64(kernel))


@in_float64
def participation_ratio(kernel: ArrayLike) -> Array:
    """How many eigenvalues a kernel has in effect, by their squares.

    ``(sum_i l_i)^2 / sum_i l_i^2 = tr(K)^2 / |K|_F^2``. Large eigenvalues weigh more
    than in `effective_rank`, which is never smaller for a positive semi-definite K. It
    takes no eigenvalues.

    Args:
        kernel: ``(n, n)`` symmetric.

    Returns:
        ``()`` float64, in 1..n for a positive semi-definite kernel; NaN for a kernel of
        zeros.

    Raises:
        ValueError: If ``kernel`` is not real and square; or not symmetric or not
            finite, where its values are known.

    Examples:
        >>> float(participation_ratio(jnp.diag(jnp.array([3.0, 1.0]))))
        1.6
    """
    if message := not_a_kernel(kernel=kernel):
        raise ValueError(message)
    return _participation_ratio(*float64(kernel))


@in_float64
def project_target(kernel: ArrayLike, y: ArrayLike) -> Projection:
    """How much of a target lies along each eigenvector of a kernel.

    With ``K = sum_i l_i v_i v_i^T``, the coefficients are ``v_i^T y`` and the energies
    ``|v_i^T y|^2 / |y|^2``. Under gradient flow with K fixed, the part of the error
    along v_i decays at a rate proportional to l_i; so ``cumulative`` says how much of
    the target is learned by when. The sign of a coefficient is that of an eigenvector,
    which is arbitrary; so is the basis where eigenvalues are equal or differ by
    rounding only, and there just the sum of the energies has a meaning.

    Args:
        kernel: ``(n, n)`` symmetric.
        y: ``(n,)``, or ``(n, c)`` for c targets, whose energies are taken together. It
            is not centred.

    Returns:
        Coefficients and energies, largest eigenvalue first. NaN energies for a target
        of zeros, and NaN throughout but for the values for a kernel of zeros, which has
        no eigenvectors to speak of.

    Raises:
        ValueError: If ``kernel`` is not real and square, or ``y`` does not fit; or the
            kernel is not symmetric or one not finite, where the values are known.

    Examples:
        >>> found = project_target(jnp.diag(jnp.array([1.0, 9.0])), jnp.array([3, 4]))
        >>> print(found.values, found.energy, found.cumulative)
        [9. 1.] [0.64 0.36] [0.64 1.  ]
    """
    if message := not_a_kernel(kernel=kernel) or not_a_target(kernel, y):
        raise ValueError(message)
    kernel, y = float64(kernel, y)
    values, vectors = _descending(kernel)
    vectors = jnp.where(jnp.any(kernel != 0), vectors, jnp.nan)
    coefficients = jnp.tensordot(vectors, y, ((0,), (0,)))
    squares = jnp.sum(jnp.square(coefficients).reshape(len(values), -1), axis=1)
    total = jnp.sum(jnp.square(y))
    energy = squares / jnp.where(total > 0, total, jnp.nan)
    return Projection(values, coefficients, energy, jnp.cumsum(energy))


def not_a_target(kernel: ArrayLike, y: ArrayLike) -> str:
    """What to say of a target that does not fit a kernel; empty where it does."""
    n, shape, dtype = jnp.shape(kernel)[0], jnp.shape(y), jnp.result_type(y)
    wrong = jnp.issubdtype(dtype, jnp.complexfloating)
    if wrong or len(shape) not in {1, 2} or shape[0] != n or 0 in shape:
        return f"y must be a real array ({n},) or ({n}, c), got {dtype} {shape}"
    return "y must be finite, got entries that are not" if known_not_finite(y) else ""


def _descending(kernel):
    """Eigenvalues and eigenvectors, the largest first."""
    values, vectors = jnp.linalg.eigh((kernel + kernel.T) / 2)
    return values[::-1], vectors[:, ::-1]


@formula
def _effective_rank(kernel: Array) -> Array:
    sizes = jnp.abs(jnp.linalg.eigvalsh((kernel + kernel.T) / 2))
    total = jnp.sum(sizes)
    p = sizes / jnp.where(total > 0, total, jnp.nan)
    return jnp.exp(-jnp.sum(jax.scipy.special.xlogy(p, jnp.where(p > 0, p, 1.0))))


@formula
def _participation_ratio(kernel: Array) -> Array:
    square = jnp.sum(jnp.square(kernel))
    return jnp.square(jnp.trace(kernel)) / jnp.where(square > 0, square, jnp.nan)
