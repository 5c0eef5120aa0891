"""Averages of the iterates, kept in the state of the last link of a chain."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdl.optim.base import (
    GradientTransformation,
    apply_updates,
    count_up,
    zero_step,
)
from jaxdl.optim.domains import not_a_count, outside
from jaxdl.types import Array, Params, Scalar


class AverageState(NamedTuple):
    """An average of the parameters, in float32 or wider."""

    step: Array  # () int32, updates done so far
    average: Params


def polyak_average(start: Scalar = 0) -> GradientTransformation:
    """Keep the mean of the iterates: Polyak-Ruppert averaging.

    To be put last in a chain. Updates are left as they are. With the parameters
    theta_t after update t, the state's ``average`` after it is::

        mean(theta_start, ..., theta_t)     or theta_t while t <= start

    Args:
        start: The first iterate in the mean, ``>= 0``; at 0 the initial parameters
            count too.

    Returns:
        A transformation that needs the parameters.

    Raises:
        ValueError: If ``start`` is a Python number but not an integer ``>= 0``.

    References:
        Polyak, Juditsky (1992), Acceleration of stochastic approximation by
        averaging.

    Examples:
        >>> from jaxdl import optim
        >>> optimizer = optim.chain(optim.sgd(1.0), polyak_average())
        >>> theta = jnp.array(0.0)
        >>> state = optimizer.init(theta)
        >>> for gradient in (-1.0, -1.0, -4.0):
        ...     updates, state = optimizer.update(jnp.array(gradient), state, theta)
        ...     theta = theta + updates
        >>> print(theta, state[-1].average)
        6.0 2.25
    """
    if problem := not_a_count(0, start=start):
        raise ValueError(problem)
    return _average(lambda step: 1 / jnp.maximum(step - start + 1, 1), "polyak_average")


def ema_average(decay: Scalar, *, debias: bool = True) -> GradientTransformation:
    """Keep an exponential moving average of the iterates.

    To be put last in a chain. Updates are left as they are. With the parameters
    theta_t after update t, the state's ``average`` a after it is::

        a = decay a + (1 - decay) theta_t                            from a = theta_0
        a = (1 - decay) / (1 - decay^t) sum_i decay^(t - i) theta_i  where debias

    The debiased average forgets theta_0: after the first update it is theta_1.

    Args:
        decay: In ``[0, 1)``.
        debias: Whether to divide by the weight gathered, and so leave out theta_0.

    Returns:
        A transformation that needs the parameters.

    Raises:
        ValueError: If ``decay`` is a Python number outside its domain.

    Examples:
        >>> from jaxdl import optim
        >>> optimizer = optim.chain(optim.sgd(1.0), ema_average(0.5))
        >>> theta = jnp.array(0.0)
        >>> state = optimizer.init(theta)
        >>> for gradient in (-3.0, -3.0):
        ...     updates, state = optimizer.update(jnp.array(gradient), state, theta)
        ...     theta = theta + updates
        >>> print(theta, state[-1].average)
        6.0 5.0
    """
    if problem := outside("[0, 1)", decay=decay):
        raise ValueError(problem)

    def weight(step: Array) -> Scalar:
        return (1 - decay) / (1 - decay**step if debias else 1)

    return _average(weight, "ema_average")


def _average(weight: Callable[[Array], Scalar], name: str) -> GradientTransformation:
    """Move the average by ``weight(t)`` of the way to the parameters after update t."""

    def init(params):
        return AverageState(zero_step(), jax.tree.map(_wide, params))

    def update(updates, state, params=None):
        if params is None:
            raise ValueError(f"{name} needs the parameters, but update got none")
        step = count_up(state.step)
        way = weight(step.astype(float))

        def move(average, theta):
            return (average + way * (_wide(theta) - average)).astype(average.dtype)

        moved = apply_updates(params, updates)
        average = jax.tree.map(move, state.average, moved)
        return updates, AverageState(step, average)

    return GradientTransformation(init, update)


def _wide(x: Any) -> Array:
    """In float32, or its own dtype where that is wider."""
    return jnp.asarray(x, jnp.promote_types(jnp.result_type(x), jnp.float32))
