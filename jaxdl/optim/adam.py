"""Adam: divide a running mean of the gradient by its running root mean square."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdl.optim.base import (
    GradientTransformation,
    chain,
    count_up,
    keep_dtype,
    zero_step,
)
from jaxdl.optim.domains import outside
from jaxdl.optim.learning_rate import scale_by_learning_rate
from jaxdl.optim.moments import debias, ema, first_moment, second_moment, squared
from jaxdl.optim.regularization import Mask, add_decayed_weights
from jaxdl.types import Array, Params, Scalar, Schedule


def adam(
    learning_rate: Scalar | Schedule,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-8,
    eps_root: Scalar = 0.0,
    *,
    bias_correction: bool = True,
    mu_dtype: Any = None,
) -> GradientTransformation:
    """Adam: a running mean of the gradient over its running root mean square.

    The formula is that of `scale_by_adam`, times minus the learning rate; the first
    step is ``-learning_rate * sign(g)`` where ``|g|`` is well above ``eps``.

    Args:
        learning_rate: A constant ``>= 0``, or a schedule.
        b1: Decay of the mean, in ``[0, 1)``.
        b2: Decay of the mean square, in ``[0, 1)``.
        eps: Added to the root, ``>= 0``.
        eps_root: Added under the root, ``>= 0``.
        bias_correction: Whether to divide the moments by the weight they gathered.
        mu_dtype: Of the mean; that of each parameter where None.

    Returns:
        An optimizer.

    References:
        Kingma, Ba (2015), Adam: a method for stochastic optimization, algorithm 1.
        https://arxiv.org/abs/1412.6980
    """
    return chain(
        scale_by_adam(
            b1, b2, eps, eps_root, bias_correction=bias_correction, mu_dtype=mu_dtype
        ),
        scale_by_learning_rate(learning_rate),
    )


def adamw(
    learning_rate: Scalar | Schedule,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-8,
    eps_root: Scalar = 0.0,
    *,
    weight_decay: Scalar | Schedule = 1e-4,
    mask: Mask = None,
    mu_dtype: Any = None,
) -> GradientTransformation:
    """Adam with decoupled weight decay, ``theta - learning_rate (u + decay theta)``.

    Here u is the direction of `scale_by_adam`. For the L2 penalty in its place, put
    `add_decayed_weights` before `adam` in a chain.

    Args:
        learning_rate: A constant ``>= 0``, or a schedule.
        b1: Decay of the mean, in ``[0, 1)``.
        b2: Decay of the mean square, in ``[0, 1)``.
        eps: Added to the root, ``>= 0``.
        eps_root: Added under the root, ``>= 0``.
        weight_decay: A constant ``>= 0``, or a schedule; also times the learning rate.
        mask: Which leaves decay, as in `masked`; all where None.
        mu_dtype: Of the mean; that of each parameter where None.

    Returns:
        An optimizer that needs the parameters.

    References:
        Loshchilov, Hutter (2019), Decoupled weight decay regularization, algorithm
        2. https://arxiv.org/abs/1711.05101
    """
    return chain(
        scale_by_adam(b1, b2, eps, eps_root, mu_dtype=mu_dtype),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )


def nadam(
    learning_rate: Scalar | Schedule,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-8,
    eps_root: Scalar = 0.0,
    *,
    mu_dtype: Any = None,
) -> GradientTransformation:
    """Adam with Nesterov's look-ahead in place of the running mean.

    The formula is that of `scale_by_adam` with ``nesterov=True``.

    Args:
        learning_rate: A constant ``>= 0``, or a schedule.
        b1: Decay of the mean, in ``[0, 1)``.
        b2: Decay of the mean square, in ``[0, 1)``.
        eps: Added to the root, ``>= 0``.
        eps_root: Added under the root, ``>= 0``.
        mu_dtype: Of the mean; that of each parameter where None.

    Returns:
        An optimizer.

    References:
        Dozat (2016), Incorporating Nesterov momentum into Adam.
    """
    return chain(
        scale_by_adam(b1, b2, eps, eps_root, nesterov=True, mu_dtype=mu_dtype),
        scale_by_learning_rate(learning_rate),
    )


class AdamState(NamedTuple):
    """Running moments of the gradient; same tree structure as the parameters."""

    step: Array  # () int32, updates done so far
    mu: Params  # first moment
    nu: Params  # second moment


def scale_by_adam(
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-8,
    eps_root: Scalar = 0.0,
    *,
    bias_correction: bool = True,
    nesterov: bool = False,
    mu_dtype: Any = None,
) -> GradientTransformation:
    """Divide a running mean of the gradient by its running root mean square.

    With gradient g at update t = 1, 2, ... and moments 0 before the first::

        mu = b1 mu + (1 - b1) g            nu = b2 nu + (1 - b2) |g|^2
        m  = mu / (1 - b1^t)               v  = nu / (1 - b2^t)
        u  = m / (sqrt(v + eps_root) + eps)

    Without bias correction m = mu and v = nu, and the first step is
    ``(1 - b1) / sqrt(1 - b2)`` times as long: 3.2 times at the defaults. Nesterov's
    form looks ahead by ``m = b1 mu / (1 - b1^(t+1)) + (1 - b1) g / (1 - b1^t)``.

    Args:
        b1: Decay of the mean, in ``[0, 1)``.
        b2: Decay of the mean square, in ``[0, 1)``.
        eps: Added to the root, ``>= 0``; units of the gradient.
        eps_root: Added under the root, ``>= 0``; positive where the update itself is
            differentiated, since the root has no derivative at 0.
        bias_correction: Whether to divide the moments by the weight they gathered.
        nesterov: Whether to look ahead (NAdam).
        mu_dtype: Of the mean; that of each parameter where None.

    Returns:
        A transformation.

    Raises:
        ValueError: If a Python number lies outside its domain.

    References:
        Kingma, Ba (2015), Adam: a method for stochastic optimization, algorithm 1.
        https://arxiv.org/abs/1412.6980
        Dozat (2016), Incorporating Nesterov momentum into Adam.

    Examples:
        >>> transform = scale_by_adam()
        >>> gradient = jnp.array([-0.01, 0.2, 30.0])
        >>> updates, _ = transform.update(gradient, transform.init(jnp.zeros(3)))
        >>> print(updates.round(4))
        [-1.  1.  1.]
    """
    if problem := outside("[0, 1)", b1=b1, b2=b2) or outside(
        "[0, inf)", eps=eps, eps_root=eps_root
    ):
        raise ValueError(problem)

    def init(params):
        return AdamState(
            zero_step(), first_moment(params, mu_dtype), second_moment(params)
        )

    def update(updates, state, params=None):
        del params
        step = count_up(state.step)
        mu = jax.tree.map(lambda m, g: ema(b1, m, g), state.mu, updates)
        nu = jax.tree.map(lambda v, g: ema(b2, v, squared(g)), state.nu, updates)

        mean, square, now = mu, nu, updates
        if bias_correction:
            mean = debias(b1, count_up(step) if nesterov else step, mu)
            square = debias(b2, step, nu)
        if bias_correction and nesterov:
            now = debias(b1, step, updates)

        def direction(g, m, v, new):
            if nesterov:
                m = b1 * m + (1 - b1) * new
            return keep_dtype(m / (jnp.sqrt(v + eps_root) + eps), g)

        directions = jax.tree.map(direction, updates, mean, square, now)
        return directions, AdamState(step, mu, nu)

    return GradientTransformation(init, update)
