"""Risk of ridge regression on random nonlinear features of one layer."""

import math
from collections.abc import Callable, Sequence
from numbers import Real
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.theory.domain import outside
from jaxdl.theory.precision import float64, formula, in_float64
from jaxdl.theory.risk import Risk, from_parts, weigh
from jaxdl.types import Array, Scalar

_BISECTIONS = 64
_NODES_PER_PANEL = 32
_RANGE = 14


class ActivationMoments(NamedTuple):
    """Constant, linear and nonlinear part of an activation at a normal input z."""

    mu0: Scalar  # E f(z)
    mu1: Scalar  # E z f(z)
    mu_star: Scalar  # sqrt(E (f(z) - mu0 - mu1 z)^2)


@in_float64
def activation_moments(
    f: Callable[[Array], Array], kinks: Sequence[float] = ()
) -> ActivationMoments:
    """Moments of an activation function at a standard normal input.

    ``mu0 = E f(z)``, ``mu1 = E z f(z)`` and ``mu_star^2 = E f(z)^2 - mu0^2 - mu1^2``,
    by Gauss-Legendre quadrature of 32 nodes on each interval between whole numbers
    from -14 to 14: exact to round-off for functions that are smooth between these.

    Args:
        f: Elementwise function, as `jax.nn.relu`; called once on an ``(m,)`` float64
            array.
        kinks: Where else ``f`` is not smooth; whole numbers need not be listed.

    Returns:
        The moments, each ``()`` float64.

    Raises:
        ValueError: If ``f`` does not keep the shape of its input.

    Examples:
        >>> moments = activation_moments(jax.nn.relu)
        >>> print(f"{moments.mu0:.6f} {moments.mu1:.6f} {moments.mu_star**2:.6f}")
        0.398942 0.500000 0.090845
    """
    nodes, weights = np.polynomial.legendre.leggauss(_NODES_PER_PANEL)
    panels = np.union1d(np.arange(-_RANGE, _RANGE + 1), np.asarray(kinks, float))
    middle, half = (panels[1:] + panels[:-1]) / 2, np.diff(panels) / 2
    z = (middle[:, None] + half[:, None] * nodes).ravel()
    density = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    z, weights = float64(z, (half[:, None] * weights).ravel() * density)
    (values,) = float64(f(z))
    if values.shape != z.shape:
        raise ValueError(f"f must keep the shape {z.shape}, got {values.shape}")
    mu0, mu1 = jnp.sum(weights * values), jnp.sum(weights * z * values)
    rest = jnp.sum(weights * (values - mu0 - mu1 * z) ** 2)
    return ActivationMoments(mu0, mu1, jnp.sqrt(rest))


@in_float64
def random_features(
    psi1: Scalar,
    psi2: Scalar,
    ridge: Scalar,
    moments: ActivationMoments,
    signal: Scalar,
    noise: Scalar,
    nonlinear: Scalar = 0.0,
) -> Risk:
    """Excess risk of random-features ridge regression, in the limit.

    N features ``f(theta_j'x / sqrt(d))`` of n examples in d dimensions, with x and
    theta_j uniform on the sphere of radius sqrt(d), and second-layer weights a that
    minimize ``|y - Z a|^2 / n + (N ridge / d) |a|^2``, as N, n and d grow together.
    With ``zeta = mu1 / mu_star`` and ``penalty = ridge / mu_star^2``, C > 0 is the
    solution of::

        g = C + s,   s = zeta^2 C / (1 + zeta^2 C)
        penalty C = D1 D2,   D1 = 1 - g / psi1 >= 0,   D2 = 1 - g / psi2 >= 0

    and with ``w = C + s (1 - s)`` and ``E = D1 D2 + w (D1 / psi2 + D2 / psi1)``::

        bias     = signal (1 - s) (C s / psi1 + 1 - s) / E + nonlinear
        variance = (noise + nonlinear) (g w / psi1 + s^2 D1) / (psi2 E)

    These are the published rational functions of chi = -C, factored so that nothing
    cancels. Derivatives are exact, to any order.

    Args:
        psi1: Features per dimension N / d, ``> 0``; infinite for a kernel machine.
        psi2: Examples per dimension n / d, ``> 0``; infinite for the population. Not
            both infinite.
        ridge: Penalty, ``>= 0``.
        moments: Of the activation f; ``mu_star > 0``. mu0 has no effect.
        signal: F1^2, squared norm of the linear part beta of the target,
            ``beta'x`` with ``E x_i^2 = 1``; ``>= 0``.
        noise: tau^2, variance of the label noise, ``>= 0``.
        nonlinear: F*^2, variance of the nonlinear part of the target, ``>= 0``.
            It acts as noise in training and stays as a risk in testing.

    Returns:
        The risk. Its bias is what the linear part of the target contributes, so it
        contains the variance due to the draw of features and inputs; it also contains
        ``nonlinear``, once. At psi1 = psi2 and ridge = 0 both parts are infinite,
        except where signal, or noise and nonlinear, are 0, and there are no
        derivatives. NaN where both psi are infinite.

    Raises:
        ValueError: If ``moments`` are not `ActivationMoments`, an argument is not
            of shape ``()``, or Python numbers are outside their domain.

    References:
        Mei, Montanari (2022), The generalization error of random features
        regression: precise asymptotics and the double descent curve.
        https://arxiv.org/abs/1908.05355

    Examples:
        >>> moments = activation_moments(jax.nn.relu)
        >>> risk = random_features(1.0, 3.0, 0.0, moments, signal=1.0, noise=1.0)
        >>> print(f"{risk.variance:.6f}")
        0.500000
    """
    if not isinstance(moments, ActivationMoments):
        raise ValueError(f"moments must be ActivationMoments, got {moments!r}")
    message = (
        outside("(0, inf]", psi1=psi1, psi2=psi2)
        or outside("[0, inf)", ridge=ridge, signal=signal, noise=noise)
        or outside("[0, inf)", nonlinear=nonlinear)
        or outside("(-inf, inf)", mu1=moments.mu1)
        or outside("(0, inf)", mu_star=moments.mu_star)
    )
    if message:
        raise ValueError(message)
    if all(isinstance(psi, Real) and psi == math.inf for psi in (psi1, psi2)):
        raise ValueError("psi1 or psi2 must be finite, got inf for both")
    mu1, mu_star = moments.mu1, moments.mu_star
    return _random_features(
        *float64(psi1, psi2, ridge, mu1, mu_star, signal, noise, nonlinear)
    )


@formula
def _random_features(
    psi1: Array,
    psi2: Array,
    ridge: Array,
    mu1: Array,
    mu_star: Array,
    signal: Array,
    noise: Array,
    nonlinear: Array,
) -> Risk:
    r1, r2 = 1 / psi1, 1 / psi2
    penalty, zeta2 = ridge / mu_star**2, (mu1 / mu_star) ** 2
    c = _solution(r1, r2, penalty, zeta2)
    s, one_minus_s = zeta2 * c / (1 + zeta2 * c), 1 / (1 + zeta2 * c)
    d1, d2 = _slacks(c, r1, r2, penalty)
    w = c + s * one_minus_s
    e = d1 * d2 + w * (d1 * r2 + d2 * r1)
    peak = e == 0
    e = jnp.where(peak, 1.0, e)
    missed = one_minus_s * (c * s * r1 + one_minus_s) / e
    fitted = r2 * ((c + s) * w * r1 + s**2 * d1) / e
    return from_parts(
        bias=weigh(signal, jnp.where(peak, jnp.inf, missed)) + nonlinear,
        variance=weigh(noise + nonlinear, jnp.where(peak, jnp.inf, fitted)),
    )


@jax.custom_jvp
def _solution(r1: Array, r2: Array, penalty: Array, zeta2: Array) -> Array:
    """C > 0 by bisection; the residual grows with C.

    With m = min(psi1, psi2): at C = min(m, 1 / penalty) one of g >= m and D1 D2 >= 1
    holds, and at low both g <= m / 2 and D1 D2 <= 1 / 4.
    """
    m = 1 / jnp.maximum(r1, r2)
    high = jnp.minimum(m, 1 / penalty)
    low = jnp.minimum(m / (2 * (1 + zeta2)), 1 / (4 * penalty))

    state = (r1, r2, penalty, zeta2), (low, high)
    _, (low, high) = jax.lax.fori_loop(0, _BISECTIONS, _halve, state)
    return (low + high) / 2


# The loop's body stands at module level, where JAX recognizes it from call to call.
def _halve(_, state):
    """A step of bisection."""
    equation, (low, high) = state
    middle = (low + high) / 2
    too_small = _residual(middle, *equation) < 0
    low, high = jnp.where(too_small, middle, low), jnp.where(too_small, high, middle)
    return equation, (low, high)


@_solution.defjvp
def _solution_jvp(primals, tangents):
    """Implicit differentiation of ``_residual(C, ...) = 0``."""
    c = _solution(*primals)
    one, fixed = jnp.ones_like(c), [jnp.zeros_like(x) for x in primals]
    _, change = jax.jvp(_residual, (c, *primals), (jnp.zeros_like(c), *tangents))
    _, slope = jax.jvp(_residual, (c, *primals), (one, *fixed))
    return c, -change / slope


def _residual(c: Array, r1: Array, r2: Array, penalty: Array, zeta2: Array) -> Array:
    """``(g / psi1 + D1 - 1) + (g / psi2 + D2 - 1)``."""
    g = c + zeta2 * c / (1 + zeta2 * c)
    d1, d2 = _slacks(c, r1, r2, penalty)
    return (g * r1 + d1 - 1) + (g * r2 + d2 - 1)


def _slacks(c: Array, r1: Array, r2: Array, penalty: Array) -> tuple[Array, Array]:
    """D1 and D2 from ``D1 D2 = penalty C`` and ``r2 (1 - D1) = r1 (1 - D2)``.

    ``r2 D1`` and ``-r1 D2`` are the roots of ``x^2 - (r2 - r1) x - r1 r2 penalty C``;
    the smaller one is taken from their product, and r1 or r2 may be 0.
    """
    gap, product = r2 - r1, penalty * c
    square = gap**2 + 4 * r1 * r2 * product
    positive = square > 0
    root = jnp.where(positive, jnp.sqrt(jnp.where(positive, square, 1.0)), 0.0)
    second = gap >= 0  # D1 is the larger
    sum1 = jnp.where(positive, jnp.where(second, gap + root, root - gap), 1.0)
    large = sum1 / (2 * jnp.where(second, r2, r1))
    small = 2 * jnp.where(second, r2, r1) * product / sum1
    large = jnp.where(positive, large, 0.0)
    return jnp.where(second, large, small), jnp.where(second, small, large)
