"""A randomized low-rank factorization of the tangent kernel, with its error."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdl.curvature.lanczos import multiply, norm
from jaxdl.ntk.one_example import Apply
from jaxdl.ntk.operators import ntk_operator
from jaxdl.types import Array, Key, Params, Scalar

_AT_A_TIME = 8
"""Products to do together; each holds as many numbers as there are parameters."""


class LowRankNTK(NamedTuple):
    """``sum_r values[r] vectors[r] vectors[r]^T``, and how far it is from the kernel.

    The errors are measured with products that the factors have not seen.
    """

    values: Array  # (r,) descending, not negative
    vectors: Array  # (r, n, k), orthonormal over (n, k)
    frobenius_error: Array  # () estimate of |Theta - factors|_F
    standard_error: Array  # () of that estimate
    spectral_bound: Array  # () |Theta - factors| is below, but for failure_probability
    failure_probability: Array  # () that spectral_bound is too low, at most


def low_rank_ntk(
    key: Key,
    apply: Apply,
    params: Params,
    x: Any,
    rank: int,
    *,
    oversampling: int = 10,
    probes: int = 30,
    failure_probability: Scalar = 1e-6,
    chunk_size: int | None = None,
) -> LowRankNTK:
    """Nystrom approximation of the tangent kernel from products with random vectors.

    With ``Y = Theta Omega`` for ``rank + oversampling`` orthonormal random columns
    Omega, the approximation is ``Y (Omega^T Y)^-1 Y^T`` cut down to the rank. It is
    computed for ``Theta + nu I`` with a shift nu at rounding, which makes the core
    invertible, and nu is taken off the values again. It takes ``rank + oversampling +
    probes`` products and as many arrays ``(n, k)`` of memory.

    The error R is measured by products with ``probes`` standard normal vectors g that
    are independent of the factors. The mean of ``|R g|^2`` is ``|R|_F^2``; its
    standard error is turned into that of the root. And ``|R|`` is at most
    ``p^(-1/probes) sqrt(2/pi) max |R g|`` with probability ``1 - p``. Both hold for
    the factors as computed, rounding included, with products in the precision of the
    outputs: errors below that precision are not resolved. The bound is about as large
    as ``|R|_F``, so it is loose where many eigenvalues are left that are alike.

    Args:
        key: PRNG key.
        apply: As in `ntk_operator`.
        params: As in `ntk_operator`.
        x: As in `ntk_operator`, n examples of k outputs.
        rank: Terms r, ``1..n k``.
        oversampling: More columns than the rank, ``>= 0``, up to n k in all; they make
            the best r terms more likely to be found.
        probes: Vectors to measure the error with, ``>= 2``.
        failure_probability: p, in (0, 1); may be traced.
        chunk_size: As in `ntk_operator`.

    Returns:
        The factors and their error. NaN where the outputs are not finite.

    Raises:
        ValueError: If an argument lies outside its domain, or ``apply``, ``params`` and
            ``x`` do not fit each other.

    References:
        Tropp, Yurtsever, Udell, Cevher (2017), Fixed-rank approximation of a
        positive-semidefinite matrix from streaming data.
        https://arxiv.org/abs/1706.05736 Halko, Martinsson, Tropp (2011), Finding
        structure with randomness, lemma 4.1. https://arxiv.org/abs/0909.4061

    Examples:
        >>> def apply(w, x):
        ...     return x @ w
        >>> x = jax.random.normal(jax.random.key(0), (50, 3))
        >>> found = low_rank_ntk(jax.random.key(1), apply, jnp.zeros(3), x, rank=3)
        >>> exact = jnp.linalg.svd(x, compute_uv=False) ** 2
        >>> print(jnp.allclose(found.values, exact, rtol=1e-4))
        True
        >>> print(found.spectral_bound < 1e-4 * found.values[0])
        True
    """
    operator = ntk_operator(apply, params, x, chunk_size=chunk_size)
    size = operator.size
    for name, value, least, most in (
        ("rank", rank, 1, size),
        ("oversampling", oversampling, 0, None),
        ("probes", probes, 2, None),
    ):
        fits = isinstance(value, int) and not isinstance(value, bool)
        if not fits or value < least or (most is not None and value > most):
            domain = f">= {least}" if most is None else f"in {least}..{most}"
            raise ValueError(f"{name} must be an integer {domain}, got {value!r}")
    if isinstance(failure_probability, float | int) and not 0 < failure_probability < 1:
        raise ValueError(
            f"failure_probability must be in (0, 1), got {failure_probability}"
        )
    columns = min(rank + oversampling, size)
    risk = jnp.asarray(failure_probability, operator.dtype)
    return _sketch(rank, columns, probes, operator, key, risk)


# Compiled, because the loop over products would be compiled at every call otherwise.
@jax.jit(static_argnums=(0, 1, 2))
def _sketch(rank, columns, probes, operator, key, risk):
    """Factors from random products, and their error from others."""
    size, dtype = operator.size, operator.dtype
    sketch_key, probe_key = jax.random.split(key)
    omega = jax.random.normal(sketch_key, (size, columns), dtype)
    omega, _ = jnp.linalg.qr(omega)
    values, vectors = _nystrom(rank, omega, _products(operator, omega.T).T)

    g = jax.random.normal(probe_key, (probes, size), dtype)
    kept = multiply(multiply(g, vectors.T) * values[None], vectors)
    lengths = jax.vmap(norm)(_products(operator, g) - kept)
    squares = jnp.square(lengths)
    root = jnp.sqrt(jnp.mean(squares))
    error = jnp.std(squares, ddof=1) / jnp.sqrt(jnp.asarray(probes, dtype))
    safe = jnp.where(root > 0, root, 1)
    return LowRankNTK(
        values=values,
        vectors=jax.vmap(operator.unravel)(vectors),
        frobenius_error=root,
        standard_error=jnp.where(root > 0, error / (2 * safe), error),
        spectral_bound=risk ** (-1 / probes)
        * jnp.sqrt(2 / jnp.pi).astype(dtype)
        * jnp.max(lengths),
        failure_probability=risk,
    )


def _nystrom(rank, omega, image):
    """The largest values and vectors, as rows, of the shifted approximation."""
    eps = jnp.finfo(image.dtype).eps
    length = jnp.linalg.norm(image, 2)
    # Rounding of the products: it grows with the root of their length.
    shift = eps * jnp.sqrt(jnp.asarray(len(image), image.dtype)) * length
    shifted = image + shift * omega
    core = multiply(omega.T, shifted)
    weights, basis = jnp.linalg.eigh((core + core.T) / 2)
    # In exact arithmetic none is below the shift. What is comes from rounding.
    weights = jnp.maximum(weights, jnp.where(shift > 0, shift, 1))
    factor = multiply(shifted, basis / jnp.sqrt(weights)[None])
    vectors, roots, _ = jnp.linalg.svd(factor, full_matrices=False)
    values = jnp.maximum(jnp.square(roots) - shift, 0)
    return values[:rank], vectors[:, :rank].T


def _products(operator, rows):
    """Products with some vectors, a few at a time."""
    return jax.lax.map(operator.flat_matvec, rows, batch_size=_AT_A_TIME)
