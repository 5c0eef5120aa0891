"""Risk of least squares by gradient descent that is stopped early."""

import jax.numpy as jnp

from jaxdl.theory.domain import outside
from jaxdl.theory.marchenko_pastur import marchenko_pastur_nodes
from jaxdl.theory.precision import float64, formula, in_float64
from jaxdl.theory.risk import Risk, from_parts
from jaxdl.types import Array, Scalar


@in_float64
def gradient_flow_isotropic(
    gamma: Scalar, t: Scalar, signal: Scalar, noise: Scalar
) -> Risk:
    """Excess risk after gradient flow for a time t, isotropic features, in the limit.

    Least squares, ``dw/dt = X'(y - X w) / n`` from w = 0, with E xx' = I and
    p / n -> gamma. With F the Marchenko-Pastur law::

        bias     = signal integral exp(-2 s t) dF(s)
        variance = noise gamma integral (1 - exp(-s t))^2 / s dF(s)

    by quadrature: for t up to 1e30 the bias is accurate to 1e-10 of the signal and
    the variance to 1e-10 of itself. Gradient descent with a small learning rate
    follows it at ``t = learning rate x steps``. For large t it becomes minimum-norm
    least squares.

    Args:
        gamma: Features per example p / n, ``> 0``.
        t: Time, ``>= 0`` and at most 1e30.
        signal: Squared norm of the true coefficients, ``>= 0``.
        noise: Variance of the label noise, ``>= 0``.

    Returns:
        The risk, finite also at gamma = 1, where it grows as sqrt(t).

    Raises:
        ValueError: If an argument is not of shape ``()``, or a Python number
            outside its domain.

    References:
        Advani, Saxe, Sompolinsky (2020), High-dimensional dynamics of generalization
        error in neural networks. https://arxiv.org/abs/1710.03667
        Ali, Kolter, Tibshirani (2019), A continuous-time view of early stopping for
        least squares. https://arxiv.org/abs/1810.10082

    Examples:
        >>> for t in (0.0, 1.0, 1e6):
        ...     risk = gradient_flow_isotropic(2.0, t, signal=1.0, noise=0.5)
        ...     print(f"{risk.total:.6f}")
        1.000000
        0.726051
        1.000000
    """
    message = outside("(0, inf)", gamma=gamma) or outside(
        "[0, inf)", t=t, signal=signal, noise=noise
    )
    if message:
        raise ValueError(message)
    return _gradient_flow_isotropic(*float64(gamma, t, signal, noise))


@formula
def _gradient_flow_isotropic(
    gamma: Array, t: Array, signal: Array, noise: Array
) -> Risk:
    s, weights = marchenko_pastur_nodes(gamma)
    point_mass = jnp.where(gamma > 1, 1 - 1 / gamma, 0.0)
    unlearned = jnp.sum(weights * jnp.exp(-2 * s * t)) + point_mass
    fitted = jnp.sum(weights * jnp.expm1(-s * t) ** 2 / s)
    return from_parts(bias=signal * unlearned, variance=noise * gamma * fitted)
