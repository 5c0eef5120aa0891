"""Risk of ridge regression on features of any covariance.

In high dimension a ridge fit to n random examples behaves as the fit to the whole
population with a larger ridge, the effective ridge kappa.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxdl.theory.domain import not_real, outside
from jaxdl.theory.precision import float64, formula, in_float64
from jaxdl.theory.risk import Risk, from_parts, weigh
from jaxdl.types import Array, Scalar

_BISECTIONS = 64
_POLISHING_STEPS = 3


@in_float64
def effective_ridge(eigenvalues: ArrayLike, n: Scalar, ridge: Scalar) -> Array:
    """The ridge with which the population stands in for n examples.

    The root kappa >= ridge of::

        kappa - ridge = (kappa / n) sum_i e_i / (e_i + kappa)

    Without a ridge kappa is positive where more than n eigenvalues are, and 0
    elsewhere. Derivatives are those of the root, to any order.

    Args:
        eigenvalues: ``(p,)``, of the features' second moments E xx'; ``>= 0``. Zeros
            have no effect, so that spectra can be padded; round-off in place of
            zeros counts as rank.
        n: Examples, ``> 0``.
        ridge: Penalty, ``>= 0``; the estimate is ``(X'X / n + ridge I)^-1 X'y / n``.

    Returns:
        ``()`` float64: kappa; NaN where an eigenvalue is negative. The derivative
        with respect to the ridge is infinite where the ridge is 0 and exactly n
        eigenvalues are positive; with respect to a zero eigenvalue it is one-sided.

    Raises:
        ValueError: If an argument has the wrong shape or is complex, or a Python
            number is outside its domain.

    References:
        Jacot, Simsek, Spadaro, Hongler, Gabriel (2020), Implicit regularization of
        random feature models. https://arxiv.org/abs/2002.08404

    Examples:
        >>> import numpy as np
        >>> print(f"{effective_ridge(np.ones(20), n=10, ridge=0.0):.6f}")
        1.000000
    """
    message = (
        not_real((None,), eigenvalues=eigenvalues)
        or outside("(0, inf)", n=n)
        or outside("[0, inf)", ridge=ridge)
    )
    if message:
        raise ValueError(message)
    return _effective_ridge(*float64(eigenvalues, n, ridge))


@in_float64
def degrees_of_freedom(eigenvalues: ArrayLike, kappa: Scalar) -> tuple[Array, Array]:
    """How many directions a ridge leaves free.

    ``df1 = sum_i e_i / (e_i + kappa)`` and ``df2 = sum_i e_i^2 / (e_i + kappa)^2``.
    At the effective ridge without a penalty df1 = n, and the risk diverges as df2
    comes near n.

    Args:
        eigenvalues: ``(p,)``, ``>= 0``; zeros count for nothing.
        kappa: Ridge, ``>= 0``; at 0 both are the number of positive eigenvalues.

    Returns:
        ``(df1, df2)``, each ``()`` float64.

    Raises:
        ValueError: If an argument has the wrong shape or is complex, or a Python
            number is outside its domain.

    References:
        Bach (2024), High-dimensional analysis of double descent for linear
        regression with random projections. https://arxiv.org/abs/2303.01372

    Examples:
        >>> import numpy as np
        >>> df1, df2 = degrees_of_freedom(np.ones(20), kappa=1.0)
        >>> float(df1), float(df2)
        (10.0, 5.0)
    """
    message = not_real((None,), eigenvalues=eigenvalues) or outside(
        "[0, inf)", kappa=kappa
    )
    if message:
        raise ValueError(message)
    return _degrees_of_freedom(*float64(eigenvalues, kappa))


@in_float64
def ridge_any_covariance(
    eigenvalues: ArrayLike,
    coefficients: ArrayLike,
    n: Scalar,
    ridge: Scalar,
    noise: Scalar,
) -> Risk:
    """Excess risk of ridge regression on features of any covariance.

    The deterministic equivalent, with kappa the `effective_ridge` and df2 of
    `degrees_of_freedom`::

        bias     = kappa^2 sum_i e_i b_i^2 / (e_i + kappa)^2 / (1 - df2 / n)
        variance = noise (df2 / n) / (1 - df2 / n)

    The limit for many examples and features, for features with independent enough
    coordinates; it overlays measured curves of real features. What part of the
    target is not linear in the features acts as noise: add it to ``noise`` and to
    the total.

    Args:
        eigenvalues: ``(p,)``, of the features' second moments E xx'; ``>= 0``. Zeros
            have no effect, so that spectra can be padded; round-off in place of
            zeros counts as rank.
        coefficients: ``(p,)``, b: what the best linear predictor has on each
            eigenvector of E xx'.
        n: Examples, ``> 0``.
        ridge: Penalty, ``>= 0``; the estimate is ``(X'X / n + ridge I)^-1 X'y / n``,
            of minimum norm where the ridge is 0.
        noise: Variance of the label noise, ``>= 0``.

    Returns:
        The risk. Where the ridge is 0 and exactly n eigenvalues are positive the
        variance is infinite, or 0 without noise, and there are no derivatives. NaN
        where an eigenvalue is negative.

    Raises:
        ValueError: If an argument has the wrong shape or is complex, or a Python
            number is outside its domain.

    References:
        Hastie, Montanari, Rosset, Tibshirani (2022), Surprises in high-dimensional
        ridgeless least squares interpolation. https://arxiv.org/abs/1903.08560
        Bach (2024), High-dimensional analysis of double descent for linear
        regression with random projections. https://arxiv.org/abs/2303.01372

    Examples:
        >>> import numpy as np
        >>> e, b = np.array([4.0, 1.0, 1.0, 0.25]), np.array([1.0, 1.0, 0.0, 2.0])
        >>> risk = ridge_any_covariance(e, b, n=8, ridge=0.0, noise=0.5)
        >>> float(risk.bias), float(risk.variance)
        (0.0, 0.5)
    """
    message = (
        not_real((None,), eigenvalues=eigenvalues)
        or not_real(jnp.shape(eigenvalues), coefficients=coefficients)
        or outside("(0, inf)", n=n)
        or outside("[0, inf)", ridge=ridge, noise=noise)
    )
    if message:
        raise ValueError(message)
    return _ridge_any_covariance(*float64(eigenvalues, coefficients, n, ridge, noise))


@formula
def _effective_ridge(eigenvalues: Array, n: Array, ridge: Array) -> Array:
    return _kappa(eigenvalues, n, ridge)


@formula
def _degrees_of_freedom(eigenvalues: Array, kappa: Array) -> tuple[Array, Array]:
    learned, _ = _learned_and_missed(eigenvalues, kappa)
    return jnp.sum(learned), jnp.sum(learned**2)


@formula
def _ridge_any_covariance(
    eigenvalues: Array, coefficients: Array, n: Array, ridge: Array, noise: Array
) -> Risk:
    kappa = _kappa(eigenvalues, n, ridge)
    learned, missed = _learned_and_missed(eigenvalues, kappa)
    spread = _one_minus_df2(eigenvalues, n, ridge, kappa)
    peak = spread == 0
    spread = jnp.where(peak, 1.0, spread)
    misfit = jnp.sum(eigenvalues * (coefficients * missed) ** 2)
    factor = jnp.where(peak, jnp.inf, jnp.sum(learned**2) / n / spread)
    return from_parts(bias=misfit / spread, variance=weigh(noise, factor))


@jax.custom_jvp
def _kappa(eigenvalues: Array, n: Array, ridge: Array) -> Array:
    """`effective_ridge` of float64 arrays: bisection in log kappa, then Newton.

    With the rank r the equation reads ``kappa slack(kappa) = ridge``, where
    ``slack = 1 - df1 / n = 1 - r / n + sum_{e > 0} kappa / (e + kappa) / n`` does not
    cancel for r <= n. The left side is convex and the root lies between
    max(ridge, min_{e > 0} e (r / n - 1)) and ridge + sum e / n.
    """
    positive = eigenvalues > 0
    rank = jnp.sum(positive)
    smallest = jnp.min(jnp.where(positive, eigenvalues, jnp.inf), initial=jnp.inf)
    low = jnp.where(rank > n, smallest * ((rank - n) / n), 0.0)
    low, high = jnp.maximum(low, ridge), ridge + jnp.sum(eigenvalues) / n

    equation = eigenvalues, n, ridge
    bounds = jnp.log(jnp.where(low > 0, low, 1.0)), jnp.log(high)
    _, bounds = jax.lax.fori_loop(0, _BISECTIONS, _halve, (equation, bounds))
    root = equation, (low, jnp.exp(bounds[1]), high)
    _, (_, kappa, _) = jax.lax.fori_loop(0, _POLISHING_STEPS, _polish, root)
    kappa = jnp.where(low > 0, kappa, 0.0)
    return jnp.where(jnp.any(eigenvalues < 0), jnp.nan, kappa)


# The loops' bodies stand at module level, where JAX recognizes them from call to call.
def _halve(_, state):
    """A step of bisection in log kappa."""
    equation, (low, high) = state
    middle = (low + high) / 2
    too_small = _excess_and_slope(jnp.exp(middle), *equation)[0] < 0
    low, high = jnp.where(too_small, middle, low), jnp.where(too_small, high, middle)
    return equation, (low, high)


def _polish(_, state):
    """A step of Newton's method."""
    equation, (low, kappa, high) = state
    excess, slope = _excess_and_slope(kappa, *equation)
    return equation, (low, jnp.clip(kappa - excess / slope, low, high), high)


def _excess_and_slope(kappa, eigenvalues, n, ridge):
    """``kappa slack(kappa) - ridge``, and its derivative."""
    positive = eigenvalues > 0
    _, missed = _learned_and_missed(eigenvalues, kappa)
    missed = jnp.where(positive, missed, 0.0)
    slack = (n - jnp.sum(positive)) / n + jnp.sum(missed) / n
    return kappa * slack - ridge, slack + jnp.sum(missed * (1 - missed)) / n


@_kappa.defjvp
def _kappa_jvp(primals, tangents):
    """Implicit differentiation: kappa (1 - df1 / n) - ridge stays 0."""
    eigenvalues, n, ridge = primals
    d_eigenvalues, d_n, d_ridge = tangents
    kappa = _kappa(eigenvalues, n, ridge)
    _, missed = _learned_and_missed(eigenvalues, kappa)
    change = d_ridge - (kappa - ridge) / n * d_n
    change = change + jnp.sum(missed**2 * d_eigenvalues) / n
    return kappa, change / _one_minus_df2(eigenvalues, n, ridge, kappa)


def _learned_and_missed(eigenvalues: Array, kappa: Array) -> tuple[Array, Array]:
    """``e / (e + kappa)`` and ``kappa / (e + kappa)``; 0 and 1 where both are 0."""
    total = eigenvalues + kappa
    known = total != 0
    total = jnp.where(known, total, 1.0)
    return eigenvalues / total, jnp.where(known, kappa / total, 1.0)


def _one_minus_df2(eigenvalues: Array, n: Array, ridge: Array, kappa: Array) -> Array:
    """``1 - df2 / n`` at the root, as a sum of positive terms.

    It is ``(1 - df1 / n) + (df1 - df2) / n``, and the first bracket is ridge / kappa
    where kappa > 0. (``(n - rank) / n`` is exactly 0 at rank n even where the compiler
    makes a product of the division; ``1 - rank / n`` is not.)
    """
    learned, missed = _learned_and_missed(eigenvalues, kappa)
    zero = eigenvalues == 0
    rank = eigenvalues.size - jnp.sum(zero)
    crowded = rank > n
    slack = jnp.where(
        crowded,
        ridge / jnp.where(crowded, kappa, 1.0),
        (n - rank) / n + jnp.sum(missed - zero) / n,
    )
    return slack + jnp.sum(learned * missed) / n
