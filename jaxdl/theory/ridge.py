"""Risk of ridge regression on isotropic features, and the ridge that is best.

The penalty is scaled so that the estimate is (X'X / n + ridge I)^-1 X'y / n, which
minimizes ``|y - X w|^2 / n + ridge |w|^2``.
"""

import jax.numpy as jnp

from jaxdl.theory.domain import outside
from jaxdl.theory.precision import float64, formula, in_float64
from jaxdl.theory.risk import Risk, from_parts, weigh
from jaxdl.types import Array, Scalar


@in_float64
def ridge_isotropic(
    gamma: Scalar, ridge: Scalar, signal: Scalar, noise: Scalar
) -> Risk:
    """Excess risk of ridge regression, isotropic features, in the limit.

    For ``y = x'beta + noise`` with E xx' = I and p / n -> gamma, and m(-ridge) the
    Stieltjes transform of the Marchenko-Pastur law::

        bias     = signal ridge^2 m'(-ridge)
        variance = noise gamma (m(-ridge) - ridge m'(-ridge))

        m(-ridge) = (sqrt(b^2 + 4 gamma ridge) - b) / (2 gamma ridge)
        b = 1 - gamma + ridge

    computed in a form that does not cancel; ridge = 0 is minimum-norm least squares.

    Args:
        gamma: Features per example p / n, ``> 0``.
        ridge: Penalty, ``>= 0`` and finite; the estimate is
            ``(X'X / n + ridge I)^-1 X'y / n``.
        signal: Squared norm of beta, ``>= 0``.
        noise: Variance of the label noise, ``>= 0``.

    Returns:
        The risk. At gamma = 1 and ridge = 0 the variance is infinite, or 0 without
        noise, and there are no derivatives.

    Raises:
        ValueError: If an argument is not of shape ``()``, or a Python number
            outside its domain.

    References:
        Hastie, Montanari, Rosset, Tibshirani (2022), Surprises in high-dimensional
        ridgeless least squares interpolation, section on ridge regression.
        https://arxiv.org/abs/1903.08560
        Dobriban, Wager (2018), High-dimensional asymptotics of prediction: ridge
        regression and classification. https://arxiv.org/abs/1507.03003

    Examples:
        >>> risk = ridge_isotropic(gamma=1.0, ridge=1.0, signal=1.0, noise=1.0)
        >>> print(f"{risk.total:.7f}")
        0.6180340
    """
    message = outside("(0, inf)", gamma=gamma) or outside(
        "[0, inf)", ridge=ridge, signal=signal, noise=noise
    )
    if message:
        raise ValueError(message)
    return _ridge_isotropic(*float64(gamma, ridge, signal, noise))


@in_float64
def optimal_ridge(gamma: Scalar, signal: Scalar, noise: Scalar) -> Array:
    """The ridge of least risk on isotropic features, ``noise gamma / signal``.

    The risk there, `ridge_isotropic` at this ridge, grows with gamma and has no peak
    at gamma = 1.

    Args:
        gamma: Features per example p / n, ``> 0``.
        signal: Squared norm of the coefficients, ``> 0``.
        noise: Variance of the label noise, ``>= 0``.

    Returns:
        ``()`` float64: the penalty, scaled as in `ridge_isotropic`.

    Raises:
        ValueError: If an argument is not of shape ``()``, or a Python number
            outside its domain.

    References:
        Dobriban, Wager (2018), High-dimensional asymptotics of prediction: ridge
        regression and classification. https://arxiv.org/abs/1507.03003
        Nakkiran, Venkat, Kakade, Ma (2021), Optimal regularization can mitigate
        double descent. https://arxiv.org/abs/2003.01897

    Examples:
        >>> float(optimal_ridge(gamma=0.5, signal=2.0, noise=1.0))
        0.25
    """
    message = outside("(0, inf)", gamma=gamma, signal=signal) or outside(
        "[0, inf)", noise=noise
    )
    if message:
        raise ValueError(message)
    return _optimal_ridge(*float64(gamma, signal, noise))


@in_float64
def ridge_misspecified(
    gamma: Scalar, ridge: Scalar, signal: Scalar, noise: Scalar, a: Scalar
) -> Risk:
    """Excess risk of ridge regression where more features tell more of the label.

    The first p of infinitely many isotropic features are used. They carry the part
    ``kappa = 1 - (1 + gamma)^-a`` of the signal; the rest acts as noise in training
    and stays as a risk in testing. So the risk is that of `ridge_isotropic` with
    ``kappa signal`` and ``noise + (1 - kappa) signal``, plus ``(1 - kappa) signal``
    in the bias. With little noise the second descent goes below the first, unless a is
    large: then few features tell all.

    Args:
        gamma: Features per example p / n, ``> 0``.
        ridge: Penalty, ``>= 0``, as in `ridge_isotropic`; 0 is minimum-norm least
            squares.
        signal: Squared norm of all coefficients, ``>= 0``.
        noise: Variance of the label noise, ``>= 0``.
        a: How fast the features use up the signal, ``>= 0``.

    Returns:
        The risk. At gamma = 1 and ridge = 0 the variance is infinite, or 0 with no
        noise and no signal, and there are no derivatives.

    Raises:
        ValueError: If an argument is not of shape ``()``, or a Python number
            outside its domain.

    References:
        Hastie, Montanari, Rosset, Tibshirani (2022), Surprises in high-dimensional
        ridgeless least squares interpolation, section 5.
        https://arxiv.org/abs/1903.08560

    Examples:
        >>> risk = ridge_misspecified(1.0, ridge=0.5, signal=1.0, noise=0.0, a=1.0)
        >>> print(f"{risk.bias:.4f} {risk.variance:.4f} {risk.total:.4f}")
        0.6667 0.1667 0.8333
    """
    message = outside("(0, inf)", gamma=gamma) or outside(
        "[0, inf)", ridge=ridge, signal=signal, noise=noise, a=a
    )
    if message:
        raise ValueError(message)
    return _ridge_misspecified(*float64(gamma, ridge, signal, noise, a))


@formula
def _ridge_isotropic(gamma: Array, ridge: Array, signal: Array, noise: Array) -> Risk:
    square = (1 - gamma) ** 2 + 2 * ridge * (1 + gamma) + ridge**2
    peak = square == 0
    root = jnp.sqrt(jnp.where(peak, 1.0, square))
    b = 1 - gamma + ridge
    # Positive roots of gamma u^2 + b u - ridge = 0 and gamma v^2 - (b + 2 gamma) v
    # + 1 = 0: u = ridge m(-ridge) and v = 1 - u.
    u = jnp.where(
        b >= 0,
        2 * ridge / (jnp.where(b >= 0, b, 0.0) + root),
        (root - b) / (2 * gamma),
    )
    v = 2 / (1 + gamma + ridge + root)
    return from_parts(
        bias=signal * u * (ridge + gamma * u) / root,
        variance=weigh(noise, jnp.where(peak, jnp.inf, gamma * v / root)),
    )


@formula
def _optimal_ridge(gamma: Array, signal: Array, noise: Array) -> Array:
    return noise * gamma / signal


@formula
def _ridge_misspecified(
    gamma: Array, ridge: Array, signal: Array, noise: Array, a: Array
) -> Risk:
    log_left_out = -a * jnp.log1p(gamma)
    used, left_out = -signal * jnp.expm1(log_left_out), signal * jnp.exp(log_left_out)
    risk = _ridge_isotropic(gamma, ridge, used, noise + left_out)
    return from_parts(risk.bias + left_out, risk.variance)
