"""Mean and covariance of wide networks over their initialization, in training."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxdl.ntk.modes import (
    check_finite,
    check_square,
    decompose,
    gain,
    left,
    number,
    project_test,
    result_dtype,
    scaled_time,
)
from jaxdl.ntk.mse_flow import check_times
from jaxdl.ntk.response import check_targets
from jaxdl.ntk.reverse_mode import reverse_in_float64
from jaxdl.theory.domain import outside
from jaxdl.theory.precision import float64, in_float64
from jaxdl.types import Array, Scalar


class Moments(NamedTuple):
    """Mean and covariance of outputs; a first axis t where times are a vector."""

    mean: Array  # (m, k)
    covariance: Array  # (m, m), the same for each of the k independent outputs


@in_float64
def ensemble_moments(
    t: Any,
    k_train_train: Iterable[ArrayLike],
    y_train: ArrayLike,
    k_test_train: Iterable[ArrayLike] | None = None,
    k_test_test: Iterable[ArrayLike] | None = None,
    *,
    learning_rate: Scalar = 1.0,
    ridge: Scalar = 0.0,
) -> tuple[Moments, Moments | None]:
    """Outputs of infinitely wide networks over initializations, while they train.

    First outputs are Gaussian with mean zero and the covariance that the NNGP kernel
    K gives; gradient flow with the tangent kernel T (as in `gradient_flow_mse`, with
    the same loss) then maps them linearly. So outputs stay Gaussian, with::

        mean         = T G y                     mean*  = T* G y
        covariance   = R K R^T                   R = I - T G
        covariance*  = K** - A K*^T - K* A^T + A K A^T,    A = T* G

        G(t) = (1 - exp(-learning_rate t (T + ridge) / n)) (T + ridge)^-1

    It is computed in float64. T may be singular, as in `gradient_flow_mse`.

    Args:
        t: Time or vector of times, ``>= 0``; infinity is the limit.
        k_train_train: The pair ``(nngp, ntk)`` of kernels between training points,
            as `infinite` gives, both ``(n, n)``, symmetric, positive semi-definite.
        y_train: ``(n, k)`` targets.
        k_test_train: The pair of kernels ``(m, n)`` between test and training
            points; None: training points only.
        k_test_test: The pair of kernels ``(m, m)`` between test points, of which the
            NNGP's is used; needed with ``k_test_train``.
        learning_rate: ``> 0``, finite.
        ridge: ``>= 0``, finite.

    Returns:
        The moments on the training points, and those on the test points or None; in
        the widest floating dtype among the arrays given.

    Raises:
        ValueError: If a shape does not fit, a number or a time is out of its domain,
            or, where the values are known, the tangent kernel is asymmetric or
            indefinite, or an array is not finite.

    References:
        Lee et al. (2019), Wide neural networks of any depth evolve as linear models
        under gradient descent, section 2.3. https://arxiv.org/abs/1902.06720

    Examples:
        >>> import numpy as np
        >>> one = np.ones((1, 1))
        >>> on_train, _ = ensemble_moments([0.0, np.log(2)], (4 * one, one), one)
        >>> print(on_train.mean.ravel(), on_train.covariance.ravel())
        [0.  0.5] [4. 1.]
    """
    t = jnp.asarray(t) if isinstance(t, list | tuple) else t
    check_times(t)
    nngp, ntk = _pair("k_train_train", k_train_train)
    n = check_square("k_train_train.ntk", ntk)
    for part, kernel in (("nngp", nngp), ("ntk", ntk)):
        _check_matrix(f"k_train_train.{part}", kernel, (n, n))
    check_targets(ntk, y_train, n)
    message = outside("(0, inf)", learning_rate=number(learning_rate)) or outside(
        "[0, inf)", ridge=number(ridge)
    )
    if message:
        raise ValueError(message)
    if (k_test_train is None) != (k_test_test is None):
        raise ValueError(
            "k_test_train and k_test_test must be given both or neither, got "
            f"{'only k_test_test' if k_test_train is None else 'only k_test_train'}"
        )
    tests = None
    if k_test_train is not None:
        cross_nngp, cross_ntk = _pair("k_test_train", k_test_train)
        prior, _ = _pair("k_test_test", k_test_test)
        m = jnp.shape(prior)[0] if jnp.ndim(prior) else 0
        _check_matrix("k_test_test.nngp", prior, (m, m))
        _check_matrix("k_test_train.nngp", cross_nngp, (m, n))
        _check_matrix("k_test_train.ntk", cross_ntk, (m, n))
        tests = (cross_nngp, cross_ntk, prior)
    modes = decompose("k_train_train.ntk", ntk)
    return _moments(modes, (t, learning_rate, ridge), nngp, y_train, tests)


@reverse_in_float64
def _moments(modes, numbers, nngp, y_train, tests):
    t, learning_rate, ridge = float64(*numbers)
    dtype = result_dtype(modes.like, nngp, y_train, *(tests or ()))
    k0, y = float64(nngp, y_train)
    time = scaled_time(learning_rate, t, y.shape[0])
    gains, remains = gain(modes, ridge, time), left(modes, ridge, time)
    v = modes.vectors
    targets = v.T @ y
    inner = v.T @ k0 @ v  # the covariance in the modes

    def moments(mean, covariance):
        return Moments(mean.astype(dtype), covariance.astype(dtype))

    def along(rows, factors):
        # (r, q) rows times each time's factors of the modes
        return jnp.multiply(*jnp.broadcast_arrays(rows, factors[..., None, :]))

    kept = along(v, remains)
    on_train = moments(
        jnp.einsum("...nq,qk->...nk", along(v * modes.values[None], gains), targets),
        jnp.einsum("...nq,qr,...mr->...nm", kept, inner, kept, optimize=True),
    )
    if tests is None:
        return on_train, None
    cross, _, prior = float64(*tests)
    learned = along(project_test(modes, tests[1]), gains)
    both = jnp.einsum("...mq,lq->...ml", learned, cross @ v)
    spread = jnp.einsum("...mq,qr,...lr->...ml", learned, inner, learned, optimize=True)
    covariance = jnp.broadcast_to(prior, both.shape) - both - jnp.swapaxes(both, -1, -2)
    return on_train, moments(
        jnp.einsum("...mq,qk->...mk", learned, targets), covariance + spread
    )


def _pair(name, kernels):
    try:
        nngp, ntk = kernels
    except (TypeError, ValueError):
        nngp = ntk = None
    if nngp is None or isinstance(kernels, jax.Array | np.ndarray):
        raise ValueError(
            f"{name} must be a pair (nngp, ntk) of kernels, got "
            f"{type(kernels).__name__}"
        )
    return nngp, ntk


def _check_matrix(name, kernel, shape):
    got, dtype = jnp.shape(kernel), jnp.result_type(kernel)
    if got != shape or 0 in got or jnp.issubdtype(dtype, jnp.complexfloating):
        raise ValueError(
            f"{name} must be a real array of shape {shape}, got {dtype} {got}"
        )
    check_finite(**{name: kernel})
