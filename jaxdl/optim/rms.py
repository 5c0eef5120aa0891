"""RMSprop: divide the gradient by its running root mean square."""

from typing import NamedTuple

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
from jaxdl.optim.momentum import add_momentum
from jaxdl.types import Array, Params, Scalar, Schedule


def rmsprop(
    learning_rate: Scalar | Schedule,
    decay: Scalar = 0.9,
    eps: Scalar = 1e-8,
    *,
    initial_scale: Scalar = 0.0,
    eps_in_sqrt: bool = True,
    centered: bool = False,
    bias_correction: bool = False,
    momentum: Scalar | None = None,
    nesterov: bool = False,
) -> GradientTransformation:
    """Gradient over its running root mean square, with momentum if wanted.

    Args:
        learning_rate: A constant ``>= 0``, or a schedule; outside the momentum
            buffer.
        decay: Of the mean square, in ``[0, 1)``.
        eps: ``>= 0``.
        initial_scale: Mean square before the first update, ``>= 0``.
        eps_in_sqrt: Whether to add ``eps`` under the root or to it.
        centered: Whether to divide by the standard deviation.
        bias_correction: Whether to divide the moments by the weight they gathered.
        momentum: The momentum coefficient, in ``[0, 1]``; no buffer where None.
        nesterov: Whether the momentum looks ahead.

    Returns:
        An optimizer; `scale_by_rms` has the formula.

    Raises:
        ValueError: If a Python number lies outside its domain.

    References:
        Hinton (2012), Neural networks for machine learning, lecture 6e.
    """
    if problem := outside("[0, 1]", momentum=momentum):
        raise ValueError(problem)
    scaler = scale_by_rms(
        decay,
        eps,
        initial_scale=initial_scale,
        eps_in_sqrt=eps_in_sqrt,
        centered=centered,
        bias_correction=bias_correction,
    )
    rate = scale_by_learning_rate(learning_rate)
    if momentum is None:
        return chain(scaler, rate)
    return chain(scaler, add_momentum(momentum, nesterov=nesterov), rate)


class RmsState(NamedTuple):
    """Running moments of the gradient; same tree structure as the parameters."""

    step: Array  # () int32, updates done so far
    mu: Params | None  # first moment, where the second is centered
    nu: Params  # second moment


def scale_by_rms(
    decay: Scalar = 0.9,
    eps: Scalar = 1e-8,
    *,
    initial_scale: Scalar = 0.0,
    eps_in_sqrt: bool = True,
    centered: bool = False,
    bias_correction: bool = False,
) -> GradientTransformation:
    """Divide the gradient by its running root mean square.

    With gradient g at each update, and nu = ``initial_scale`` before the first::

        nu = decay nu + (1 - decay) |g|^2
        u  = g / sqrt(nu + eps)         or  g / (sqrt(nu) + eps)

    The second form is that of ``eps_in_sqrt=False``. At the defaults the first step
    is ``sign(g) / sqrt(1 - decay)``: 3.2 times as long as those to come. Where
    centered, the squared running mean ``mu^2`` of the gradient is taken off nu.

    Args:
        decay: Of the mean square, in ``[0, 1)``.
        eps: ``>= 0``; units of the squared gradient if in the root, else of the
            gradient.
        initial_scale: Mean square before the first update, ``>= 0``.
        eps_in_sqrt: Whether to add ``eps`` under the root or to it.
        centered: Whether to divide by the standard deviation. A variance that
            rounding makes negative counts as 0.
        bias_correction: Whether to divide the moments by the weight they gathered.

    Returns:
        A transformation.

    Raises:
        ValueError: If a Python number lies outside its domain.

    References:
        Hinton (2012), Neural networks for machine learning, lecture 6e.
        Graves (2013), Generating sequences with recurrent neural networks, equations
        38 to 41 (centered). https://arxiv.org/abs/1308.0850

    Examples:
        >>> transform = scale_by_rms(decay=0.75)
        >>> gradient = jnp.array([-0.01, 30.0])
        >>> updates, _ = transform.update(gradient, transform.init(jnp.zeros(2)))
        >>> print(updates.round(3))
        [-2.  2.]
    """
    if problem := outside("[0, 1)", decay=decay) or outside(
        "[0, inf)", eps=eps, initial_scale=initial_scale
    ):
        raise ValueError(problem)

    def init(params):
        mu = first_moment(params) if centered else None
        return RmsState(zero_step(), mu, second_moment(params, initial_scale))

    def update(updates, state, params=None):
        del params
        step = count_up(state.step)
        nu = jax.tree.map(lambda v, g: ema(decay, v, squared(g)), state.nu, updates)
        mu, size = None, nu
        if bias_correction:
            size = debias(decay, step, nu)
        if centered:
            mu = jax.tree.map(lambda m, g: ema(decay, m, g), state.mu, updates)
            mean = mu
            if bias_correction:
                mean = debias(decay, step, mu)
            size = jax.tree.map(lambda v, m: jnp.maximum(v - squared(m), 0), size, mean)

        def divide(g, v):
            root = jnp.sqrt(v + eps) if eps_in_sqrt else jnp.sqrt(v) + eps
            return keep_dtype(g / root, g)

        return jax.tree.map(divide, updates, size), RmsState(step, mu, nu)

    return GradientTransformation(init, update)
