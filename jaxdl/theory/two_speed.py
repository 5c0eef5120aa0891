"""Risk of gradient descent on features learned at different speeds.

Each feature has a U-shaped curve of its own. Where one is learned much faster than
another, their sum has two minima: double descent in the number of steps.
"""

import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxdl.theory.domain import not_real, outside
from jaxdl.theory.precision import float64, formula, in_float64
from jaxdl.theory.risk import Risk, from_parts
from jaxdl.types import Array, Scalar


@in_float64
def two_speed(
    t: Scalar,
    scales: ArrayLike,
    coefficients: ArrayLike,
    learning_rates: ArrayLike,
    n: Scalar,
    noise: Scalar,
) -> Risk:
    """Excess risk after t steps of gradient descent, feature by feature.

    Least squares ``|y - X w|^2 / (2 n)`` from w = 0, a learning rate eta_i for each
    feature. With independent features of standard deviation sigma_i and
    ``q_i = 1 - eta_i sigma_i^2``::

        bias     = sum_i sigma_i^2 beta_i^2 q_i^(2 t)
        variance = (noise / n) sum_i (1 - q_i^t)^2

    The mean over the label noise where ``X'X / n = diag(sigma^2)``, and the limit of
    many examples per feature where X is random. Learning rates proportional to
    ``1 / sigma_i^2`` align the features' curves, and one minimum is left.

    Args:
        t: Steps done, ``>= 0``. Fractions are allowed where all q_i > 0.
        scales: ``(d,)``, sigma: standard deviations of the features, ``>= 0``.
        coefficients: ``(d,)``, beta: the true coefficients.
        learning_rates: ``(d,)``, eta: one for each feature; it converges where
            ``0 < eta_i sigma_i^2 < 2``.
        n: Examples, ``> 0``.
        noise: Variance of the label noise, ``>= 0``.

    Returns:
        The risk. The derivative with respect to t is NaN where a q_i <= 0.

    Raises:
        ValueError: If an argument has the wrong shape or is complex, or a Python
            number is outside its domain.

    References:
        Heckel, Yilmaz (2021), Early stopping in deep networks: double descent and
        how to eliminate it. https://arxiv.org/abs/2007.10099

    Examples:
        >>> import numpy as np
        >>> scales, beta = np.array([1.0, 0.15]), np.array([0.45, 3.0])
        >>> for t in (12, 30, 490):
        ...     risk = two_speed(t, scales, beta, np.array([0.1, 0.1]), n=10, noise=1.0)
        ...     print(f"{risk.total:.4f}")
        0.2596
        0.2694
        0.1669
    """
    shape = jnp.shape(scales)
    message = (
        not_real((None,), scales=scales)
        or not_real(shape, coefficients=coefficients, learning_rates=learning_rates)
        or outside("(0, inf)", n=n)
        or outside("[0, inf)", t=t, noise=noise)
    )
    if message:
        raise ValueError(message)
    return _two_speed(*float64(t, scales, coefficients, learning_rates, n, noise))


@formula
def _two_speed(
    t: Array,
    scales: Array,
    coefficients: Array,
    learning_rates: Array,
    n: Array,
    noise: Array,
) -> Risk:
    forgotten = (1 - learning_rates * scales**2) ** t
    return from_parts(
        bias=jnp.sum((scales * coefficients * forgotten) ** 2),
        variance=noise / n * jnp.sum((1 - forgotten) ** 2),
    )
