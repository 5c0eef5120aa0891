"""Gradient flow on the mean squared error of a linearized network, solved."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxdl.ntk.modes import check_square, concrete, decompose, gain, number, scaled_time
from jaxdl.ntk.response import PREDICTION, check_arguments, check_targets, respond
from jaxdl.ntk.reverse_mode import reverse_in_float64
from jaxdl.theory.domain import outside
from jaxdl.theory.precision import float64, in_float64
from jaxdl.types import Scalar


@in_float64
def gradient_flow_mse(
    k_train_train: ArrayLike,
    y_train: ArrayLike,
    *,
    learning_rate: Scalar = 1.0,
    ridge: Scalar = 0.0,
) -> Callable[..., PREDICTION]:
    """Outputs at any time of gradient flow on the squared error, in closed form.

    For a model linear in its parameters, f = f_0 + J (theta - theta_0), with the
    kernel K = J J^T, and n training examples, the flow ``d theta / dt =
    -learning_rate dL / d theta`` on the loss::

        L = (sum |f - y|^2 + ridge |theta - theta_0|^2) / (2 n)

    gives, on training and on test points (*)::

        f(t)  = f_0  - K  G(t) (f_0 - y)
        f*(t) = f*_0 - K* G(t) (f_0 - y)

        G(t) = (1 - exp(-learning_rate t (K + ridge) / n)) (K + ridge)^-1

    Without a ridge, f(t) = y + exp(-learning_rate t K / n) (f_0 - y). At infinity the
    test outputs are those of kernel (ridge) regression of y - f_0. A wide network is
    near this model, and gradient descent with small steps near the flow at
    ``t = steps``.

    It is computed in float64 from one eigendecomposition of K, which may be singular:
    eigenvalues up to round-off are zero, errors in their eigenvectors stay. There,
    K* of a positive semi-definite kernel of all points vanishes; where a K* given
    does not, f* follows ``df*/dt = -learning_rate K* (f - y) / n`` at finite times,
    which has no limit, and the mode is left out at infinity. Derivatives with respect
    to K need distinct eigenvalues.

    Args:
        k_train_train: ``(n, n)`` kernel K of all k outputs, or ``(n, n, k, k)``;
            symmetric, positive semi-definite.
        y_train: ``(n, k)`` targets y.
        learning_rate: ``> 0``, finite.
        ridge: ``>= 0``, finite; it adds to the diagonal of K as it is.

    Returns:
        ``predict(t, f_train_0=None, f_test_0=None, k_test_train=None)``, which
        returns ``(f_train, f_test)``, ``(n, k)`` and ``(m, k)``:

        - t: ``>= 0``; infinity is the limit. A vector ``(t,)`` of times puts a first
          axis on both results.
        - f_train_0 ``(n, k)``, f_test_0 ``(m, k)``: outputs at t = 0; None: zeros.
        - k_test_train: K*, ``(m, n)`` or ``(m, n, k, k)``; None: f_test is None.

        The results have the widest floating dtype among the arrays given; NumPy's
        float64 counts, whatever JAX is set to.

    Raises:
        ValueError: If a shape does not fit, a number is out of its domain, or, where
            the values are known, a kernel is asymmetric, indefinite or not finite, or
            a target is not. ``predict`` raises it too, also for a time that is
            negative or NaN.

    References:
        Jacot, Gabriel, Hongler (2018), Neural tangent kernel: convergence and
        generalization in neural networks. https://arxiv.org/abs/1806.07572
        Lee et al. (2019), Wide neural networks of any depth evolve as linear models
        under gradient descent. https://arxiv.org/abs/1902.06720

    Examples:
        >>> import numpy as np
        >>> predict = gradient_flow_mse(np.diag([2.0, 0.0]), np.ones((2, 1)))
        >>> f_train, _ = predict([0.0, 1.0, np.inf])
        >>> print(np.round(f_train[:, :, 0], 4))
        [[0.     0.    ]
         [0.6321 0.    ]
         [1.     0.    ]]
    """
    n = check_square("k_train_train", k_train_train)
    k = check_targets(k_train_train, y_train, n)
    message = outside("(0, inf)", learning_rate=number(learning_rate)) or outside(
        "[0, inf)", ridge=number(ridge)
    )
    if message:
        raise ValueError(message)
    modes = decompose("k_train_train", k_train_train)

    @in_float64
    def predict(
        t: Any, f_train_0: Any = None, f_test_0: Any = None, k_test_train: Any = None
    ) -> PREDICTION:
        t = jnp.asarray(t) if isinstance(t, list | tuple) else t
        check_times(t)
        check_arguments(k_train_train, (n, k), f_train_0, f_test_0, k_test_train)
        return _flow(
            modes,
            (learning_rate, ridge, t),
            (y_train, f_train_0, f_test_0, k_test_train),
        )

    return predict


@reverse_in_float64
def _flow(modes, numbers, arrays):
    learning_rate, ridge, t = float64(*numbers)
    n = jnp.shape(arrays[0])[0]
    return respond(modes, gain(modes, ridge, scaled_time(learning_rate, t, n)), *arrays)


def check_times(t: Any) -> None:
    """Check times.

    Args:
        t: ``()`` or ``(t,)``.

    Raises:
        ValueError: If it has more axes, or a value that is known is not ``>= 0``.
    """
    if jnp.ndim(t) > 1 or jnp.issubdtype(jnp.result_type(t), jnp.complexfloating):
        raise ValueError(
            f"t must be a real number or vector, got {jnp.result_type(t)} "
            f"{jnp.shape(t)}"
        )
    known = concrete(t)
    if known is not None and not np.all(known >= 0):
        raise ValueError(f"t must be >= 0, got {known[~(known >= 0)].flat[0]}")
