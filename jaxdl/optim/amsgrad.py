"""AMSGrad: Adam that divides by the largest second moment so far."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdl.optim.base import (
    GradientTransformation,
    as_dtype,
    chain,
    count_up,
    keep_dtype,
    zero_step,
)
from jaxdl.optim.domains import outside
from jaxdl.optim.learning_rate import scale_by_learning_rate
from jaxdl.optim.moments import debias, ema, first_moment, second_moment, squared
from jaxdl.types import Array, Params, Scalar, Schedule


def amsgrad(
    learning_rate: Scalar | Schedule,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-8,
    eps_root: Scalar = 0.0,
    *,
    bias_correction: bool = True,
    correct_before_max: bool = True,
    mu_dtype: Any = None,
) -> GradientTransformation:
    """Adam that divides by the largest second moment so far.

    Args:
        learning_rate: A constant ``>= 0``, or a schedule.
        b1: Decay of the mean, in ``[0, 1)``.
        b2: Decay of the mean square, in ``[0, 1)``.
        eps: Added to the root, ``>= 0``.
        eps_root: Added under the root, ``>= 0``.
        bias_correction: Whether to divide the moments by the weight they gathered.
        correct_before_max: Whether to do so before the maximum is taken.
        mu_dtype: Of the mean; that of each parameter where None.

    Returns:
        An optimizer; `scale_by_amsgrad` has the formula.

    References:
        Reddi, Kale, Kumar (2018), On the convergence of Adam and beyond, algorithm
        2. https://arxiv.org/abs/1904.09237
    """
    scaler = scale_by_amsgrad(
        b1,
        b2,
        eps,
        eps_root,
        bias_correction=bias_correction,
        correct_before_max=correct_before_max,
        mu_dtype=mu_dtype,
    )
    return chain(scaler, scale_by_learning_rate(learning_rate))


class AmsgradState(NamedTuple):
    """Running moments of the gradient; same tree structure as the parameters."""

    step: Array  # () int32, updates done so far
    mu: Params  # first moment
    nu: Params  # second moment
    nu_max: Params  # largest second moment so far


def scale_by_amsgrad(
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-8,
    eps_root: Scalar = 0.0,
    *,
    bias_correction: bool = True,
    correct_before_max: bool = True,
    mu_dtype: Any = None,
) -> GradientTransformation:
    """Adam with the largest second moment so far, so that no step size grows again.

    With mu and nu as in `scale_by_adam`, and nu_max = 0 before the first update::

        nu_max = max(nu_max, nu / (1 - b2^t))        v = nu_max
        nu_max = max(nu_max, nu)                     v = nu_max / (1 - b2^t)
        u = mu / (1 - b1^t) / (sqrt(v + eps_root) + eps)

    The first line is the default. Corrected before the maximum, early gradients have
    a lasting weight; the second, ``correct_before_max=False``, is PyTorch's form.
    The paper has neither correction: ``bias_correction=False``.

    Args:
        b1: Decay of the mean, in ``[0, 1)``.
        b2: Decay of the mean square, in ``[0, 1)``.
        eps: Added to the root, ``>= 0``; units of the gradient.
        eps_root: Added under the root, ``>= 0``.
        bias_correction: Whether to divide the moments by the weight they gathered.
        correct_before_max: Whether to do so before the maximum is taken.
        mu_dtype: Of the mean; that of each parameter where None.

    Returns:
        A transformation.

    Raises:
        ValueError: If a Python number lies outside its domain.

    References:
        Reddi, Kale, Kumar (2018), On the convergence of Adam and beyond, algorithm
        2. https://arxiv.org/abs/1904.09237
    """
    if problem := outside("[0, 1)", b1=b1, b2=b2) or outside(
        "[0, inf)", eps=eps, eps_root=eps_root
    ):
        raise ValueError(problem)

    def init(params):
        mu, nu = first_moment(params, mu_dtype), second_moment(params)
        return AmsgradState(zero_step(), mu, nu, second_moment(params))

    def update(updates, state, params=None):
        del params
        step = count_up(state.step)
        mu = jax.tree.map(lambda m, g: ema(b1, m, g), state.mu, updates)
        nu = jax.tree.map(lambda v, g: ema(b2, v, squared(g)), state.nu, updates)

        def larger(old, v):
            return as_dtype(jnp.maximum(old, v), old.dtype)

        def direction(g, m, v):
            return keep_dtype(m / (jnp.sqrt(v + eps_root) + eps), g)

        before = bias_correction and correct_before_max
        seen = debias(b2, step, nu) if before else nu
        nu_max = jax.tree.map(larger, state.nu_max, seen)
        mean = debias(b1, step, mu) if bias_correction else mu
        after = bias_correction and not correct_before_max
        square = debias(b2, step, nu_max) if after else nu_max
        directions = jax.tree.map(direction, updates, mean, square)
        return directions, AmsgradState(step, mu, nu, nu_max)

    return GradientTransformation(init, update)
