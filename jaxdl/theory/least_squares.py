"""Risk of minimum-norm least squares on independent Gaussian features.

The double descent curve: the variance diverges where there are as many features p
as examples n.
"""

import jax.numpy as jnp

from jaxdl.theory.domain import outside
from jaxdl.theory.precision import float64, formula, in_float64
from jaxdl.theory.risk import Risk, from_parts, weigh
from jaxdl.types import Array, Scalar


@in_float64
def ridgeless_isotropic(gamma: Scalar, signal: Scalar, noise: Scalar) -> Risk:
    """Excess risk of minimum-norm least squares, isotropic features, in the limit.

    For ``y = x'beta + noise`` with E xx' = I and p / n -> gamma::

        gamma < 1:  bias = 0                       variance = noise gamma / (1 - gamma)
        gamma > 1:  bias = signal (1 - 1 / gamma)  variance = noise / (gamma - 1)

    Args:
        gamma: Features per example p / n, ``> 0``.
        signal: Squared norm of beta, ``>= 0``.
        noise: Variance of the label noise, ``>= 0``.

    Returns:
        The risk. At gamma = 1 the variance is infinite, or 0 without noise, and
        nothing has a derivative with respect to gamma.

    Raises:
        ValueError: If an argument is not of shape ``()``, or a Python number
            outside its domain.

    References:
        Hastie, Montanari, Rosset, Tibshirani (2022), Surprises in high-dimensional
        ridgeless least squares interpolation, theorem 1.
        https://arxiv.org/abs/1903.08560

    Examples:
        >>> risk = ridgeless_isotropic(gamma=2.0, signal=1.0, noise=0.25)
        >>> float(risk.bias), float(risk.variance), float(risk.total)
        (0.5, 0.25, 0.75)
    """
    message = outside("(0, inf)", gamma=gamma) or outside(
        "[0, inf)", signal=signal, noise=noise
    )
    if message:
        raise ValueError(message)
    return _ridgeless_isotropic(*float64(gamma, signal, noise))


@in_float64
def ridgeless_exact(
    n: Scalar, p: Scalar, signal_in: Scalar, signal_out: Scalar, noise: Scalar
) -> Risk:
    """Excess risk of minimum-norm least squares on Gaussian features, at finite n.

    Of the independent standard normal features that make up the label, ``p`` are
    used. The others act as noise in training and stay as a risk in testing. With
    ``s = signal_out + noise``::

        p <= n - 2:  bias = signal_out    variance = s p / (n - p - 1)
        p >= n + 2:  bias = signal_in (1 - n / p) + signal_out
                     variance = s n / (p - n - 1)

    The mean over training sets, with no limit taken.

    Args:
        n: Examples, an integer ``>= 1``.
        p: Features used, an integer ``>= 0``; with none the prediction is 0.
        signal_in: Squared norm of the coefficients of the features used, ``>= 0``.
        signal_out: Squared norm of those left out, ``>= 0``.
        noise: Variance of the label noise, ``>= 0``.

    Returns:
        The risk, with ``signal_out`` in its bias. For ``|p - n| <= 1`` the variance
        is infinite, unless p = 0 or there is neither noise nor anything left out:
        then it is 0.

    Raises:
        ValueError: If an argument is not of shape ``()``, or a Python number
            outside its domain.

    References:
        Belkin, Hsu, Xu (2020), Two models of double descent for weak features,
        theorem 1. https://arxiv.org/abs/1903.07571

    Examples:
        >>> risk = ridgeless_exact(40, 80, signal_in=0.8, signal_out=0.2, noise=0.04)
        >>> print(f"{risk.total:.6f}")
        0.846154
    """
    message = (
        outside("the integers >= 1", n=n)
        or outside("the integers >= 0", p=p)
        or outside("[0, inf)", signal_in=signal_in, signal_out=signal_out, noise=noise)
    )
    if message:
        raise ValueError(message)
    return _ridgeless_exact(*float64(n, p, signal_in, signal_out, noise))


@in_float64
def noise_lower_bound(n: Scalar, p: Scalar) -> Array:
    """Least variance that features of full rank can have, per unit of noise.

    ``p / (n + 1 - p)`` for p <= n, and ``n / (p + 1 - n)`` for p >= n: for every
    distribution of independent examples whose p features almost surely have full
    rank, minimum-norm least squares has at least this variance. Multiply it by the
    variance of the label noise.

    Args:
        n: Examples, an integer ``>= 1``.
        p: Features, an integer ``>= 1``.

    Returns:
        ``()`` float64: the bound; n at the peak p = n.

    Raises:
        ValueError: If an argument is not of shape ``()``, or a Python number
            outside its domain.

    References:
        Holzmüller (2021), On the universality of the double descent peak in
        ridgeless regression. https://arxiv.org/abs/2010.01851

    Examples:
        >>> float(noise_lower_bound(n=20, p=20)), float(noise_lower_bound(n=20, p=39))
        (20.0, 1.0)
    """
    if message := outside("the integers >= 1", n=n, p=p):
        raise ValueError(message)
    return _noise_lower_bound(*float64(n, p))


@formula
def _ridgeless_isotropic(gamma: Array, signal: Array, noise: Array) -> Risk:
    unseen = jnp.where(gamma > 1, 1 - 1 / gamma, 0.0)
    return from_parts(
        bias=signal * unseen,
        variance=weigh(noise, jnp.minimum(gamma, 1.0) / jnp.abs(1 - gamma)),
    )


@formula
def _ridgeless_exact(
    n: Array, p: Array, signal_in: Array, signal_out: Array, noise: Array
) -> Risk:
    gap = jnp.abs(p - n) - 1
    finite = jnp.minimum(n, p) / jnp.where(gap > 0, gap, 1.0)
    factor = jnp.where((gap > 0) | (p == 0), finite, jnp.inf)
    unseen = jnp.where(p > n, 1 - n / jnp.where(p > n, p, 1.0), 0.0)
    return from_parts(
        bias=signal_in * unseen + signal_out,
        variance=weigh(signal_out + noise, factor),
    )


@formula
def _noise_lower_bound(n: Array, p: Array) -> Array:
    return jnp.minimum(n, p) / (jnp.abs(n - p) + 1)
