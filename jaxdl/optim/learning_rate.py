"""Scale updates by a constant, by a schedule, or by minus the learning rate."""

from typing import NamedTuple

import jax

from jaxdl.optim.base import (
    GradientTransformation,
    count_up,
    keep_dtype,
    stateless,
    zero_step,
)
from jaxdl.optim.domains import outside
from jaxdl.types import Array, Params, Scalar, Schedule


class ScaleByScheduleState(NamedTuple):
    """How far a schedule is."""

    step: Array  # () int32, updates done so far


def scale(step_size: Scalar) -> GradientTransformation:
    """Multiply the updates by a constant, each leaf in its own dtype.

    Args:
        step_size: Any finite number.

    Returns:
        A transformation.

    Raises:
        ValueError: If ``step_size`` is a Python number and not finite.
    """
    if problem := outside("(-inf, inf)", step_size=step_size):
        raise ValueError(problem)
    return stateless(lambda updates, _: _scaled(step_size, updates))


def scale_by_schedule(step_size_fn: Schedule) -> GradientTransformation:
    """Multiply the updates by ``step_size_fn(step)``.

    The first update is multiplied by ``step_size_fn(0)``. The counter stays at the
    largest int32 when it gets there.

    Args:
        step_size_fn: From the count of updates done so far to a number.

    Returns:
        A transformation.
    """

    def init(params):
        del params
        return ScaleByScheduleState(zero_step())

    def update(updates, state, params=None):
        del params
        updates = _scaled(step_size_fn(state.step), updates)
        return updates, ScaleByScheduleState(count_up(state.step))

    return GradientTransformation(init, update)


def scale_by_learning_rate(
    learning_rate: Scalar | Schedule, *, flip_sign: bool = True
) -> GradientTransformation:
    """Multiply the updates by minus the learning rate.

    Args:
        learning_rate: A constant ``>= 0``, or a schedule.
        flip_sign: Whether to descend; False leaves the sign of the updates.

    Returns:
        A transformation.

    Raises:
        ValueError: If ``learning_rate`` is a Python number that is negative or not
            finite.

    Examples:
        >>> import jax.numpy as jnp
        >>> halving = scale_by_learning_rate(lambda step: 0.5**step)
        >>> state = halving.init(jnp.zeros(()))
        >>> for _ in range(3):
        ...     updates, state = halving.update(jnp.array(1.0), state)
        ...     print(updates)
        -1.0
        -0.5
        -0.25
    """
    if problem := outside("[0, inf)", learning_rate=learning_rate):
        raise ValueError(problem)
    sign = -1 if flip_sign else 1
    if callable(learning_rate):
        return scale_by_schedule(lambda step: sign * learning_rate(step))
    return stateless(lambda updates, _: _scaled(sign * learning_rate, updates))


def _scaled(factor: Scalar, updates: Params) -> Params:
    """``factor`` times each leaf."""
    return jax.tree.map(lambda u: keep_dtype(factor * u, u), updates)
