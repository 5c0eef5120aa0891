"""Schedules: from the count of updates done so far to a value.

The count is 0 at the first update. All numbers of a schedule may be traced, those
that count steps too. Values are in float32, or float64 where that is enabled.
"""

import math
from collections.abc import Sequence

import jax.numpy as jnp

from jaxdl.optim.domains import not_a_count, outside
from jaxdl.types import Array, Scalar, Schedule


def constant_schedule(value: Scalar) -> Schedule:
    """The same value at all steps.

    Args:
        value: Any number.

    Returns:
        A schedule.

    Raises:
        ValueError: If ``value`` is a Python number and not finite.
    """
    if problem := outside("(-inf, inf)", value=value):
        raise ValueError(problem)
    return lambda step: _float(value) + jnp.zeros_like(_float(step))


def step_decay(init_value: Scalar, factor: Scalar, every: Scalar) -> Schedule:
    """Multiply by a factor every so many steps: ``a factor**floor(t / every)``.

    Args:
        init_value: The value a at step 0.
        factor: ``>= 0``.
        every: Steps from one drop to the next, ``>= 1``.

    Returns:
        A schedule.

    Raises:
        ValueError: If a Python number lies outside its domain.

    Examples:
        >>> schedule = step_decay(0.8, factor=0.5, every=3)
        >>> print(schedule(jnp.arange(8)))
        [0.8 0.8 0.8 0.4 0.4 0.4 0.2 0.2]
    """
    if (
        problem := outside("(-inf, inf)", init_value=init_value)
        or outside("[0, inf)", factor=factor)
        or not_a_count(1, every=every)
    ):
        raise ValueError(problem)
    return lambda step: (
        init_value * _float(factor) ** jnp.floor(_float(step) / (1.0 * every))
    )


def exponential_decay(init_value: Scalar, rate: Scalar) -> Schedule:
    """Exponential decay, ``a exp(-k t)``.

    Args:
        init_value: The value a at step 0.
        rate: The rate k, per step; negative for growth.

    Returns:
        A schedule.

    Raises:
        ValueError: If a Python number is not finite.

    Examples:
        >>> schedule = exponential_decay(1.0, rate=math.log(2.0) / 10)
        >>> print(schedule(jnp.array([0, 10, 20])))
        [1.   0.5  0.25]
    """
    if problem := outside("(-inf, inf)", init_value=init_value, rate=rate):
        raise ValueError(problem)
    return lambda step: init_value * jnp.exp(-rate * _float(step))


def inverse_time_decay(init_value: Scalar, rate: Scalar) -> Schedule:
    """Decay as one over time, ``a / (1 + k t)``.

    Args:
        init_value: The value a at step 0.
        rate: The rate k, ``>= 0``, per step.

    Returns:
        A schedule.

    Raises:
        ValueError: If a Python number lies outside its domain.

    Examples:
        >>> schedule = inverse_time_decay(1.0, rate=0.5)
        >>> print(schedule(jnp.array([0, 2, 6])))
        [1.   0.5  0.25]
    """
    if problem := outside("(-inf, inf)", init_value=init_value) or outside(
        "[0, inf)", rate=rate
    ):
        raise ValueError(problem)
    return lambda step: init_value / (1 + rate * _float(step))


def inverse_root_decay(init_value: Scalar, rate: Scalar) -> Schedule:
    """Decay as one over the root of time, ``a / sqrt(1 + k t)``.

    Args:
        init_value: The value a at step 0.
        rate: The rate k, ``>= 0``, per step.

    Returns:
        A schedule.

    Raises:
        ValueError: If a Python number lies outside its domain.

    Examples:
        >>> schedule = inverse_root_decay(1.0, rate=1.0)
        >>> print(schedule(jnp.array([0, 3, 15])))
        [1.   0.5  0.25]
    """
    if problem := outside("(-inf, inf)", init_value=init_value) or outside(
        "[0, inf)", rate=rate
    ):
        raise ValueError(problem)
    return lambda step: init_value / jnp.sqrt(1 + rate * _float(step))


def cosine_decay(
    init_value: Scalar, steps: Scalar, end_value: Scalar = 0.0
) -> Schedule:
    """Half a period of a cosine, from one value to another.

    ``e + (a - e) (1 + cos(pi min(t / steps, 1))) / 2``

    Args:
        init_value: The value a at step 0.
        steps: How long it falls, ``>= 1``.
        end_value: The value e from then on.

    Returns:
        A schedule.

    Raises:
        ValueError: If a Python number lies outside its domain.

    References:
        Loshchilov, Hutter (2017), SGDR: stochastic gradient descent with warm
        restarts, equation 5. https://arxiv.org/abs/1608.03983

    Examples:
        >>> schedule = cosine_decay(1.0, steps=10, end_value=0.2)
        >>> print([f"{schedule(t):.3f}" for t in (0, 5, 10, 11)])
        ['1.000', '0.600', '0.200', '0.200']
    """
    if problem := outside(
        "(-inf, inf)", init_value=init_value, end_value=end_value
    ) or not_a_count(1, steps=steps):
        raise ValueError(problem)

    def schedule(step: Array) -> Array:
        height = (1 + jnp.cos(math.pi * _fraction(step, steps))) / 2
        return end_value + (init_value - end_value) * height

    return schedule


def polynomial_decay(
    init_value: Scalar, end_value: Scalar, steps: Scalar, power: Scalar = 1.0
) -> Schedule:
    """A power of the time left, from one value to another; a line if the power is 1.

    ``e + (a - e) (1 - min(t / steps, 1))**power``

    Args:
        init_value: The value a at step 0.
        end_value: The value e after ``steps``; it may be above ``init_value``.
        steps: How long it takes, ``>= 1``.
        power: ``> 0``.

    Returns:
        A schedule.

    Raises:
        ValueError: If a Python number lies outside its domain.

    Examples:
        >>> schedule = polynomial_decay(1.0, 0.0, steps=4, power=2.0)
        >>> print(schedule(jnp.array([0, 2, 4, 5])))
        [1.   0.25 0.   0.  ]
    """
    if (
        problem := outside("(-inf, inf)", init_value=init_value, end_value=end_value)
        or not_a_count(1, steps=steps)
        or outside("(0, inf)", power=power)
    ):
        raise ValueError(problem)

    def schedule(step: Array) -> Array:
        left = (1 - _fraction(step, steps)) ** power
        return end_value + (init_value - end_value) * left

    return schedule


def piecewise_constant(
    values: Sequence[Scalar], boundaries: Sequence[Scalar]
) -> Schedule:
    """One value after the other: ``values[i]`` from step ``boundaries[i - 1]`` on.

    Args:
        values: One more than there are boundaries.
        boundaries: Rising counts of steps, ``>= 0``.

    Returns:
        A schedule.

    Raises:
        ValueError: If the lengths do not fit, the boundaries do not rise, or a value
            is a Python number and not finite.

    Examples:
        >>> schedule = piecewise_constant([0.1, 0.01, 0.001], boundaries=[2, 5])
        >>> print(schedule(jnp.arange(7)))
        [0.1   0.1   0.01  0.01  0.01  0.001 0.001]
    """
    if problem := _not_rising(boundaries, pieces=len(values)):
        raise ValueError(problem)
    for value in values:
        if problem := outside("(-inf, inf)", values=value):
            raise ValueError(problem)

    def schedule(step: Array) -> Array:
        piece = jnp.zeros_like(step)
        for boundary in boundaries:
            piece += step >= boundary
        return jnp.stack([_float(value) for value in values])[piece]

    return schedule


def join_schedules(
    schedules: Sequence[Schedule], boundaries: Sequence[Scalar]
) -> Schedule:
    """One schedule after the other, each counting from where it begins.

    Schedule i holds from step ``boundaries[i - 1]`` on, where it is asked for 0.

    Args:
        schedules: One more than there are boundaries.
        boundaries: Rising counts of steps, ``>= 0``.

    Returns:
        A schedule.

    Raises:
        ValueError: If the lengths do not fit or the boundaries do not rise.

    Examples:
        >>> rise, fall = polynomial_decay(0.0, 1.0, 2), polynomial_decay(1.0, 0.0, 4)
        >>> schedule = join_schedules([rise, fall], boundaries=[2])
        >>> print(schedule(jnp.arange(7)))
        [0.   0.5  1.   0.75 0.5  0.25 0.  ]
    """
    if problem := _not_rising(boundaries, pieces=len(schedules)):
        raise ValueError(problem)

    def schedule(step: Array) -> Array:
        value = schedules[0](step)
        for begin, later in zip(boundaries, schedules[1:], strict=True):
            # No schedule is asked for a negative step, where it might be NaN.
            since = jnp.maximum(jnp.asarray(step) - begin, 0)
            value = jnp.where(jnp.asarray(step) < begin, value, later(since))
        return value

    return schedule


def warmup(schedule: Schedule, steps: Scalar, init_value: Scalar = 0.0) -> Schedule:
    """Rise along a line to where a schedule begins, then follow it.

    ``init_value + (schedule(0) - init_value) t / steps`` before step ``steps``, and
    ``schedule(t - steps)`` from there on.

    Args:
        schedule: What to follow after the rise.
        steps: How long the rise takes, ``>= 1``.
        init_value: The value at step 0. At a learning rate of 0 the first update
            does nothing.

    Returns:
        A schedule.

    Raises:
        ValueError: If a Python number lies outside its domain.

    References:
        Goyal et al. (2017), Accurate, large minibatch SGD, section 2.2.
        https://arxiv.org/abs/1706.02677

    Examples:
        >>> schedule = warmup(cosine_decay(1.0, steps=4), steps=2)
        >>> print([f"{schedule(t):.2f}" for t in range(7)])
        ['0.00', '0.50', '1.00', '0.85', '0.50', '0.15', '0.00']
    """
    if problem := not_a_count(1, steps=steps) or outside(
        "(-inf, inf)", init_value=init_value
    ):
        raise ValueError(problem)

    def warmed(step: Array) -> Array:
        step = jnp.asarray(step)
        peak = schedule(jnp.zeros_like(step))
        rise = init_value + (peak - init_value) * _fraction(step, steps)
        return jnp.where(step < steps, rise, schedule(jnp.maximum(step - steps, 0)))

    return warmed


def _float(x: Scalar) -> Array:
    """As an array in float32, or float64 where that is enabled."""
    return jnp.asarray(x).astype(float)


def _fraction(step: Array, steps: Scalar) -> Array:
    """How much of the way is done, from 0 to 1."""
    return jnp.minimum(_float(step) / (1.0 * steps), 1)


def _not_rising(boundaries: Sequence[Scalar], pieces: int) -> str:
    """What is wrong with the boundaries of that many pieces; empty if nothing."""
    if len(boundaries) != pieces - 1:
        return (
            f"boundaries must have one entry fewer than there are pieces, got "
            f"{len(boundaries)} for {pieces}"
        )
    known = [b for b in boundaries if isinstance(b, float | int)]
    if known != sorted(set(known)) or any(not_a_count(0, at=b) for b in known):
        return f"boundaries must rise from >= 0, got {known}"
    return ""
