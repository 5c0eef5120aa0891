"""Gradient descent on the mean squared error of a linearized network, solved."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxdl.ntk.modes import Modes, check_square, concrete, decompose, number
from jaxdl.ntk.response import PREDICTION, check_arguments, check_targets, respond
from jaxdl.ntk.reverse_mode import reverse_in_float64
from jaxdl.theory.domain import outside
from jaxdl.theory.precision import float64, in_float64
from jaxdl.types import Array, Scalar


@in_float64
def gradient_descent_mse(
    k_train_train: ArrayLike,
    y_train: ArrayLike,
    *,
    learning_rate: Scalar = 1.0,
    momentum: Scalar = 0.0,
    ridge: Scalar = 0.0,
) -> Callable[..., PREDICTION]:
    """Outputs after any number of steps of gradient descent on the squared error.

    For a model linear in its parameters, with the kernel K = J J^T, full-batch steps
    with heavy-ball momentum::

        L = (sum |f - y|^2 + ridge |theta - theta_0|^2) / (2 n)
        v_{t+1}     = momentum v_t + dL / d theta,    v_0 = 0
        theta_{t+1} = theta_t - learning_rate v_{t+1}

    are one recursion of two numbers in each eigenvector of K. Powers of its matrix by
    squaring give any step in float64, with no loop over the steps. Learning rates
    that are too large (`max_learning_rate`) diverge here as they do in training.

    As in `gradient_flow_mse`, K may be singular, and errors in eigenvectors whose
    eigenvalue is zero up to round-off stay.

    Args:
        k_train_train: ``(n, n)`` kernel K of all k outputs, or ``(n, n, k, k)``;
            symmetric, positive semi-definite.
        y_train: ``(n, k)`` targets y.
        learning_rate: ``> 0``, finite.
        momentum: In [0, 1).
        ridge: ``>= 0``, finite; it adds to the diagonal of K as it is.

    Returns:
        ``predict(t, f_train_0=None, f_test_0=None, k_test_train=None)`` as in
        `gradient_flow_mse`, except that t is a number of steps, or a vector of them:
        whole and ``>= 0``. The limit is that of the flow.

    Raises:
        ValueError: If a shape does not fit, a number is out of its domain, or, where
            the values are known, a kernel is asymmetric, indefinite or not finite, or
            a target is not. ``predict`` raises it too, also for a t that is not whole
            or negative.

    References:
        Polyak (1964), Some methods of speeding up the convergence of iteration
        methods. https://doi.org/10.1016/0041-5553(64)90137-5
        Lee et al. (2019), Wide neural networks of any depth evolve as linear models
        under gradient descent. https://arxiv.org/abs/1902.06720

    Examples:
        >>> import numpy as np
        >>> kernel, y = np.diag([2.0, 1.0]), np.ones((2, 1))
        >>> predict = gradient_descent_mse(kernel, y, learning_rate=0.5, momentum=0.5)
        >>> f_train, _ = predict([0, 1, 2, 100])
        >>> print(np.round(f_train[:, :, 0], 4))
        [[0.     0.    ]
         [0.5    0.25  ]
         [1.     0.5625]
         [1.     1.    ]]
    """
    n = check_square("k_train_train", k_train_train)
    k = check_targets(k_train_train, y_train, n)
    message = (
        outside("(0, inf)", learning_rate=number(learning_rate))
        or outside("[0, inf)", ridge=number(ridge))
        or _not_momentum(momentum)
    )
    if message:
        raise ValueError(message)
    modes = decompose("k_train_train", k_train_train)

    @in_float64
    def predict(
        t: Any, f_train_0: Any = None, f_test_0: Any = None, k_test_train: Any = None
    ) -> PREDICTION:
        steps, bits = _steps(t)
        check_arguments(k_train_train, (n, k), f_train_0, f_test_0, k_test_train)

        @reverse_in_float64
        def descend(modes, numbers, steps, arrays):
            gains = _gain(modes, float64(*numbers), n, steps, bits)
            return respond(modes, gains, *arrays)

        return descend(
            modes,
            (learning_rate, momentum, ridge),
            steps,
            (y_train, f_train_0, f_test_0, k_test_train),
        )

    return predict


@in_float64
def max_learning_rate(
    kernel: ArrayLike, *, momentum: Scalar = 0.0, ridge: Scalar = 0.0
) -> Array:
    """The learning rate from which on gradient descent on the squared error diverges.

    ``2 (1 + momentum) n / (l + ridge)`` with the kernel's largest eigenvalue l, for
    the loss and the steps of `gradient_descent_mse`: any smaller rate is stable.

    Args:
        kernel: ``(n, n)`` or ``(n, n, k, k)`` tangent kernel of the training points;
            symmetric, positive semi-definite.
        momentum: In [0, 1).
        ridge: ``>= 0``, finite.

    Returns:
        ``()`` float64; infinite for a kernel that is zero without a ridge.

    Raises:
        ValueError: If the shape is another, a number is out of its domain, or, where
            the values are known, the kernel is asymmetric, indefinite or not finite.

    Examples:
        >>> import numpy as np
        >>> print(max_learning_rate(np.diag([4.0, 1.0])))
        1.0
        >>> print(max_learning_rate(np.diag([4.0, 1.0]), momentum=0.5, ridge=2.0))
        1.0
    """
    n = check_square("kernel", kernel)
    message = outside("[0, inf)", ridge=number(ridge)) or _not_momentum(momentum)
    if message:
        raise ValueError(message)
    modes = decompose("kernel", kernel)

    @reverse_in_float64
    def bound(values, numbers):
        momentum, ridge = float64(*numbers)
        return 2 * (1 + momentum) * n / (values[-1] + ridge)

    return bound(modes.values, (momentum, ridge))


def _not_momentum(momentum):
    momentum = number(momentum)
    if isinstance(momentum, float | int):
        wrong = not 0 <= momentum < 1
        return f"momentum must be in [0, 1), got {momentum}" if wrong else ""
    return outside("[0, inf)", momentum=momentum)


# The steps as integers, and how many bits the largest may have.
def _steps(t):
    t = np.asarray(t) if isinstance(t, list | tuple) else t
    known = concrete(t)
    shape = jnp.shape(t)
    if known is not None:
        whole = known.dtype.kind in "iuf" and np.all(known == np.floor(known))
        if len(shape) > 1 or not whole or np.any((known < 0) | (known >= 2**53)):
            raise ValueError(
                "t must be a whole number of steps >= 0, or a vector of them, "
                f"got {known if known.size < 10 else shape}"
            )
        known = known.astype(np.int64)
        bits = int(np.max(known, initial=0)).bit_length()
        return jnp.asarray(known), bits + -bits % 8  # few programs
    if len(shape) > 1 or not jnp.issubdtype(t.dtype, jnp.integer):
        raise ValueError(f"t must be integers () or (t,), got {t.dtype} {shape}")
    return t, 8 * t.dtype.itemsize - 1


def _gain(
    modes: Modes,
    numbers: tuple[Array, ...],
    n: int,
    steps: Array,
    bits: int,
) -> Array:
    """How far each mode has come, as `gain` is for the flow; ``(q,)`` or ``(t, q)``.

    With u_t = (1 - error_t / error_0) / s, d_t = u_t - u_{t-1} and h = rate / n::

        (u, d) <- (u, d) + A (u, d) + (h, h),   A = ((-h s, b), (-h s, b - 1))

    Doubling the steps takes A to 2 A + A A. The identity is kept apart, so nothing is
    lost where h s is small.
    """
    learning_rate, momentum, ridge = numbers
    s = modes.values + ridge
    h = jnp.broadcast_to(learning_rate / n, s.shape)
    b = jnp.broadcast_to(momentum, s.shape)
    step = jnp.stack(
        [jnp.stack([-h * s, b], axis=-1), jnp.stack([-h * s, b - 1], axis=-1)], axis=-2
    )  # (q, 2, 2)
    push = jnp.stack([h, h], axis=-1)  # (q, 2)
    largest = jnp.max(steps, initial=0)

    def double(carry, bit):
        state, push, step = carry
        taken = (steps >> bit & 1)[..., None, None] == 1
        moved = state + jnp.einsum("qij,...qj->...qi", step, state)
        state = jnp.where(taken, moved + jnp.broadcast_to(push, moved.shape), state)
        more = largest >> bit > 1  # else it might overflow, to no use
        push = jnp.where(more, 2 * push + jnp.einsum("qij,qj->qi", step, push), push)
        step = jnp.where(more, 2 * step + jnp.einsum("qij,qjk->qik", step, step), step)
        return (state, push, step), None

    state = jnp.zeros((*steps.shape, *push.shape))
    (state, _, _), _ = jax.lax.scan(
        double, (state, push, step), jnp.arange(bits, dtype=steps.dtype)
    )
    return state[..., 0]
