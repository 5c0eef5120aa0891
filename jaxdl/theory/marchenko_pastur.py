"""The Marchenko-Pastur law: eigenvalues of the sample covariance of white noise.

For X of shape (n, p) with independent entries of mean 0 and variance 1, the
eigenvalues of X'X / n follow it as p / n -> gamma. For gamma > 1 a part 1 - 1 / gamma
of them is 0.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxdl.theory.domain import not_real, outside
from jaxdl.theory.precision import float64, formula, in_float64
from jaxdl.types import Array, Scalar

_STEP = 0.125
_FIRST, _LAST = -50.0, 14.0


@in_float64
def marchenko_pastur_edges(gamma: Scalar) -> tuple[Array, Array]:
    """Smallest and largest eigenvalue of the bulk, ``(1 -+ sqrt(gamma))^2``.

    Args:
        gamma: Features per example p / n, ``> 0``.

    Returns:
        ``(lower, upper)``, each ``()`` float64.

    Raises:
        ValueError: If ``gamma`` is not of shape ``()``, or a Python number that is
            not positive.

    References:
        Marchenko, Pastur (1967), Distribution of eigenvalues for some sets of random
        matrices.

    Examples:
        >>> lower, upper = marchenko_pastur_edges(0.25)
        >>> float(lower), float(upper)
        (0.25, 2.25)
    """
    if message := outside("(0, inf)", gamma=gamma):
        raise ValueError(message)
    return _edges(*float64(gamma))


@in_float64
def marchenko_pastur_density(x: ArrayLike, gamma: Scalar) -> Array:
    """Density of the eigenvalues, without the point mass at 0.

    ``sqrt((upper - x) (x - lower)) / (2 pi gamma x)`` between the edges and 0 outside.
    It integrates to min(1, 1 / gamma): for gamma > 1 the rest is a point mass at 0.

    Args:
        x: Where, of any shape.
        gamma: Features per example p / n, ``> 0``.

    Returns:
        As ``x``, float64; infinite at x = 0 for gamma = 1. At the edges the
        derivative is infinite.

    Raises:
        ValueError: If ``gamma`` is not of shape ``()``, or a Python number that is
            not positive, or an argument is complex.

    References:
        Marchenko, Pastur (1967), Distribution of eigenvalues for some sets of random
        matrices.

    Examples:
        >>> print(f"{marchenko_pastur_density(1.0, gamma=1.0):.6f}")
        0.275664
    """
    message = outside("(0, inf)", gamma=gamma) or not_real(jnp.shape(x), x=x)
    if message:
        raise ValueError(message)
    x, gamma = float64(x, gamma)
    return jax.vmap(_density, (0, None))(x.ravel(), gamma).reshape(x.shape)


@in_float64
def marchenko_pastur_moment(k: int, gamma: Scalar) -> Array:
    """Mean of the k-th power of an eigenvalue, the zeros included.

    For k >= 1 ``sum_{j<k} gamma^j C(k, j) C(k - 1, j) / (j + 1)``. For k < 0 and
    gamma < 1, with i = -k - 1, the i-th moment divided by ``(1 - gamma)^(2 i + 1)``.

    Args:
        k: The power, a Python integer.
        gamma: Features per example p / n, ``> 0``.

    Returns:
        ``()`` float64; infinite where k < 0 and gamma >= 1.

    Raises:
        ValueError: If ``k`` is not a Python integer, or ``gamma`` is not of shape
            ``()`` or a Python number that is not positive.

    References:
        Bai, Silverstein (2010), Spectral analysis of large dimensional random
        matrices, lemma 3.1 (positive moments).

    Examples:
        >>> [float(marchenko_pastur_moment(k, gamma=0.5)) for k in (-1, 0, 1, 2, 3)]
        [2.0, 1.0, 1.0, 1.5, 2.75]
    """
    if not isinstance(k, int):
        raise ValueError(f"k must be a Python integer, got {k!r}")
    if message := outside("(0, inf)", gamma=gamma):
        raise ValueError(message)
    return formula(partial(_moment, k))(*float64(gamma))


def marchenko_pastur_nodes(gamma: Array) -> tuple[Array, Array]:
    """Quadrature of the bulk, ``integral f dF ~ sum_i weights_i f(x_i)``.

    With ``x = lower + 4 sqrt(gamma) s(2 v)``, s the logistic function, the bulk is
    ``2 / (pi x cosh(v)^3) dv``. The trapezoidal rule in v converges geometrically and
    spreads its nodes over all scales next to the lower edge, so that it stays
    accurate where gamma is near 1 and the edge near 0.

    Args:
        gamma: ``()`` float64, ``> 0``; to be called inside `in_float64`.

    Returns:
        Eigenvalues and weights, ``(m,)`` each.
    """
    v = jnp.arange(_FIRST, _LAST, _STEP)
    lower, _ = _edges(gamma)
    x = lower + 4 * jnp.sqrt(gamma) * jax.nn.sigmoid(2 * v)
    return x, _STEP * 2 / jnp.pi / jnp.cosh(v) ** 3 / x


@formula
def _edges(gamma: Array) -> tuple[Array, Array]:
    root = jnp.sqrt(gamma)
    return ((1 - gamma) / (1 + root)) ** 2, (1 + root) ** 2


@formula
def _density(x: Array, gamma: Array) -> Array:
    lower, upper = _edges(gamma)
    pole = (x == 0) & (lower == 0)
    inside = (x >= lower) & (x <= upper) & ~pole
    safe = jnp.where(inside, x, (lower + upper) / 2)
    root = jnp.sqrt((upper - safe) * (safe - lower))
    bulk = root / (2 * jnp.pi * gamma * safe)
    return jnp.where(inside, bulk, jnp.where(pole, jnp.inf, 0.0))


def _moment(k: int, gamma: Array) -> Array:
    if k < 0:
        gap = jnp.where(gamma < 1, 1 - gamma, 0.0)
        return _moment(-k - 1, gamma) / gap ** (-2 * k - 1)
    terms = (
        math.comb(k, j) * math.comb(k - 1, j) / (j + 1) * gamma**j for j in range(k)
    )
    return sum(terms, start=jnp.zeros_like(gamma)) if k else jnp.ones_like(gamma)
