"""Gradient descent, and momentum: a running sum of past gradients."""

from typing import Any, NamedTuple

import jax

from jaxdl.optim.base import GradientTransformation, as_dtype, chain, keep_dtype
from jaxdl.optim.domains import outside
from jaxdl.optim.learning_rate import scale_by_learning_rate
from jaxdl.optim.moments import first_moment
from jaxdl.types import Params, Scalar, Schedule


def sgd(learning_rate: Scalar | Schedule) -> GradientTransformation:
    """Gradient descent, ``theta - learning_rate * g``; stochastic if the gradient is.

    Args:
        learning_rate: A constant ``>= 0``, or a schedule.

    Returns:
        An optimizer.

    Examples:
        >>> import jax.numpy as jnp
        >>> optimizer = sgd(0.5)
        >>> params, gradient = jnp.array([1.0, 2.0]), jnp.array([1.0, -1.0])
        >>> updates, _ = optimizer.update(gradient, optimizer.init(params), params)
        >>> print(params + updates)
        [0.5 2.5]
    """
    return chain(scale_by_learning_rate(learning_rate))


def momentum(
    learning_rate: Scalar | Schedule,
    decay: Scalar = 0.9,
    *,
    rate_inside: bool = False,
    accumulator_dtype: Any = None,
) -> GradientTransformation:
    """Gradient descent with momentum, the heavy ball.

    With v = 0 before the first step::

        v = decay v + g;                theta = theta - learning_rate v
        v = decay v + learning_rate g;  theta = theta - v    where rate_inside

    These are equal while the learning rate is constant. When a schedule lowers it,
    the first slows down at once; the second keeps the velocity it has.

    Args:
        learning_rate: A constant ``>= 0``, or a schedule.
        decay: The momentum coefficient, in ``[0, 1]``.
        rate_inside: Whether the buffer holds steps in place of gradients.
        accumulator_dtype: Of the velocity; that of each parameter where None.

    Returns:
        An optimizer.

    References:
        Polyak (1964), Some methods of speeding up the convergence of iteration
        methods.
    """
    buffer = add_momentum(decay, accumulator_dtype=accumulator_dtype)
    rate = scale_by_learning_rate(learning_rate)
    return chain(rate, buffer) if rate_inside else chain(buffer, rate)


def nesterov(
    learning_rate: Scalar | Schedule,
    decay: Scalar = 0.9,
    *,
    rate_inside: bool = False,
    accumulator_dtype: Any = None,
) -> GradientTransformation:
    """Gradient descent with Nesterov's momentum.

    With v = 0 before the first step::

        v = decay v + g;   theta = theta - learning_rate (g + decay v)
        v = decay v + learning_rate g;
                           theta = theta - learning_rate g - decay v  if rate_inside

    ``theta`` is the point where the gradient is taken, which Sutskever et al. call
    the look-ahead; with ``rate_inside`` this is their method under any schedule.

    Args:
        learning_rate: A constant ``>= 0``, or a schedule.
        decay: The momentum coefficient, in ``[0, 1]``.
        rate_inside: Whether the buffer holds steps in place of gradients.
        accumulator_dtype: Of the velocity; that of each parameter where None.

    Returns:
        An optimizer.

    References:
        Sutskever, Martens, Dahl, Hinton (2013), On the importance of initialization
        and momentum in deep learning, section 2.
    """
    buffer = add_momentum(decay, nesterov=True, accumulator_dtype=accumulator_dtype)
    rate = scale_by_learning_rate(learning_rate)
    return chain(rate, buffer) if rate_inside else chain(buffer, rate)


class MomentumState(NamedTuple):
    """The velocity; same tree structure as the parameters."""

    trace: Params


def add_momentum(
    decay: Scalar, *, nesterov: bool = False, accumulator_dtype: Any = None
) -> GradientTransformation:
    """Add to the updates what is left of the ones before.

    With update g at step t = 1, 2, ... and velocity v = 0 before the first::

        v = g + decay v
        u = v                   u = g + decay v   where nesterov

    Under a constant g the velocity tends to ``g / (1 - decay)``. Put before the
    learning rate in a chain, the buffer holds gradients; put after it, it holds
    steps. The two are equal while the learning rate is constant.

    Args:
        decay: The momentum coefficient, in ``[0, 1]``; 1 forgets nothing.
        nesterov: Whether to look ahead by one more step.
        accumulator_dtype: Of the velocity; that of each parameter where None.

    Returns:
        A transformation.

    Raises:
        ValueError: If ``decay`` is a Python number outside its domain.

    References:
        Polyak (1964), Some methods of speeding up the convergence of iteration
        methods. Sutskever, Martens, Dahl, Hinton (2013), On the importance of
        initialization and momentum in deep learning, section 2.

    Examples:
        >>> import jax.numpy as jnp
        >>> transform = add_momentum(0.5)
        >>> state = transform.init(jnp.zeros(()))
        >>> for _ in range(3):
        ...     updates, state = transform.update(jnp.array(1.0), state)
        ...     print(updates)
        1.0
        1.5
        1.75
    """
    if problem := outside("[0, 1]", decay=decay):
        raise ValueError(problem)

    def init(params):
        return MomentumState(first_moment(params, accumulator_dtype))

    def update(updates, state, params=None):
        del params

        def accumulate(g, v):
            return g + decay * v

        trace = jax.tree.map(accumulate, updates, state.trace)
        ahead = jax.tree.map(accumulate, updates, trace) if nesterov else trace
        return (
            jax.tree.map(keep_dtype, ahead, updates),
            MomentumState(
                jax.tree.map(lambda v, old: as_dtype(v, old.dtype), trace, state.trace)
            ),
        )

    return GradientTransformation(init, update)
