"""Regression with a Gaussian process whose kernel is a network's."""

import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxdl.ntk.modes import (
    check_finite,
    check_kernel,
    check_square,
    decompose,
    flat,
    number,
    project_test,
    result_dtype,
)
from jaxdl.ntk.response import check_arguments, check_targets
from jaxdl.ntk.reverse_mode import reverse_in_float64
from jaxdl.theory.domain import outside
from jaxdl.theory.precision import float64, in_float64
from jaxdl.types import Array, Scalar


@in_float64
def gp_posterior(
    k_train_train: ArrayLike,
    k_test_train: ArrayLike,
    k_test_test: ArrayLike,
    y_train: ArrayLike,
    *,
    noise: Scalar,
) -> tuple[Array, Array]:
    """Posterior of a function with a Gaussian prior, given noisy values.

    For f with mean zero and covariance K, and y = f + noise on the training points::

        mean       = K* (K + noise I)^-1 y
        covariance = K** - K* (K + noise I)^-1 K*^T

    With the NNGP kernel it is Bayesian inference in a network of infinite width; with
    the NTK, the mean is where gradient flow ends that starts at f = 0 with a ridge of
    ``noise`` (the covariance then is not that of an ensemble: `ensemble_moments`).

    It is computed in float64 from one eigendecomposition of K. Without noise, K may
    be singular: modes whose eigenvalue is zero up to round-off are left out.

    Args:
        k_train_train: ``(n, n)`` kernel K of all k outputs, or ``(n, n, k, k)``;
            symmetric, positive semi-definite.
        k_test_train: ``(m, n)`` or ``(m, n, k, k)``, K*.
        k_test_test: ``(m, m)`` or ``(m, m, k, k)``, K**.
        y_train: ``(n, k)`` values y.
        noise: Its variance, ``>= 0``, finite.

    Returns:
        The mean, ``(m, k)``, and the covariance of f, without noise, in the shape of
        ``k_test_test``; in the widest floating dtype among the arrays given.

    Raises:
        ValueError: If a shape does not fit, ``noise`` is out of its domain, or, where
            the values are known, ``k_train_train`` is asymmetric or indefinite, or an
            array is not finite.

    References:
        Rasmussen and Williams (2006), Gaussian processes for machine learning,
        section 2.2. https://gaussianprocess.org/gpml/
        Lee et al. (2018), Deep neural networks as Gaussian processes.
        https://arxiv.org/abs/1711.00165

    Examples:
        >>> import numpy as np
        >>> one = np.ones((1, 1))
        >>> mean, covariance = gp_posterior(one, 0.5 * one, one, one, noise=0.25)
        >>> print(f"{mean[0, 0]:.2f} {covariance[0, 0]:.2f}")
        0.40 0.80
    """
    n = check_square("k_train_train", k_train_train)
    k = check_targets(k_train_train, y_train, n)
    check_arguments(k_train_train, (n, k), None, None, k_test_train)
    m = jnp.shape(k_test_train)[0]
    check_kernel("k_test_test", k_test_test, (m, m))
    want = (m, m, *jnp.shape(k_train_train)[2:])
    if jnp.shape(k_test_test) != want:
        raise ValueError(
            f"k_test_test must have shape {want}, as k_train_train "
            f"{jnp.shape(k_train_train)} asks, got {jnp.shape(k_test_test)}"
        )
    check_finite(k_test_test=k_test_test)
    if message := outside("[0, inf)", noise=number(noise)):
        raise ValueError(message)
    modes = decompose("k_train_train", k_train_train)
    return _posterior(modes, k_test_train, k_test_test, y_train, noise)


@reverse_in_float64
def _posterior(modes, k_test_train, k_test_test, y_train, noise):
    dtype = result_dtype(modes.like, k_test_train, k_test_test, y_train)
    y, prior, noise = float64(y_train, flat(k_test_test), noise)
    k = y.shape[1]
    m = jnp.shape(k_test_test)[0]
    rows = project_test(modes, k_test_train)
    rates = modes.values + noise
    positive = rates > 0
    weights = jnp.where(positive, 1 / jnp.where(positive, rates, 1.0), 0.0)
    scaled = rows * jnp.broadcast_to(weights, rows.shape)
    columns = k if modes.values.size == y.shape[0] else 1
    mean = (scaled @ (modes.vectors.T @ y.reshape(-1, columns))).reshape(m, k)
    covariance = prior - scaled @ rows.T
    if jnp.ndim(k_test_test) == 4:
        covariance = jnp.swapaxes(covariance.reshape(m, k, m, k), 1, 2)
    return mean.astype(dtype), covariance.astype(dtype)
