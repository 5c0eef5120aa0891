"""AdaGrad: divide the gradient by the root of the sum of its squares."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxdl.optim.base import GradientTransformation, as_dtype, chain, keep_dtype
from jaxdl.optim.domains import outside
from jaxdl.optim.learning_rate import scale_by_learning_rate
from jaxdl.optim.moments import second_moment, squared
from jaxdl.types import Params, Scalar, Schedule


def adagrad(
    learning_rate: Scalar | Schedule,
    initial_accumulator_value: Scalar = 0.1,
    eps: Scalar = 1e-7,
    *,
    eps_in_sqrt: bool = True,
) -> GradientTransformation:
    """Gradient over the root of the sum of its squares so far.

    Args:
        learning_rate: A constant ``>= 0``, or a schedule.
        initial_accumulator_value: Where the sum starts, ``>= 0``.
        eps: ``>= 0``.
        eps_in_sqrt: Whether to add ``eps`` under the root or to it.

    Returns:
        An optimizer; `scale_by_adagrad` has the formula.

    References:
        Duchi, Hazan, Singer (2011), Adaptive subgradient methods for online learning
        and stochastic optimization, figure 1 (diagonal).
    """
    return chain(
        scale_by_adagrad(initial_accumulator_value, eps, eps_in_sqrt=eps_in_sqrt),
        scale_by_learning_rate(learning_rate),
    )


class AdagradState(NamedTuple):
    """Sum of the squared gradients; same tree structure as the parameters."""

    sum_of_squares: Params


def scale_by_adagrad(
    initial_accumulator_value: Scalar = 0.1,
    eps: Scalar = 1e-7,
    *,
    eps_in_sqrt: bool = True,
) -> GradientTransformation:
    """Divide the gradient by the root of the sum of its squares so far.

    With gradient g at each update, and s = ``initial_accumulator_value`` before the
    first::

        s = s + |g|^2
        u = g / sqrt(s + eps)           or  g / (sqrt(s) + eps)

    The second form is that of ``eps_in_sqrt=False``. A gradient of constant size
    makes steps that shrink as ``1 / sqrt(t)``.

    Args:
        initial_accumulator_value: Where the sum starts, ``>= 0``.
        eps: ``>= 0``; positive where a gradient may be 0 from the start and
            ``initial_accumulator_value`` is 0.
        eps_in_sqrt: Whether to add ``eps`` under the root or to it.

    Returns:
        A transformation.

    Raises:
        ValueError: If a Python number lies outside its domain.

    References:
        Duchi, Hazan, Singer (2011), Adaptive subgradient methods for online learning
        and stochastic optimization, figure 1 (diagonal).

    Examples:
        >>> transform = scale_by_adagrad(initial_accumulator_value=0.0)
        >>> state = transform.init(jnp.zeros(()))
        >>> for _ in range(4):
        ...     updates, state = transform.update(jnp.array(3.0), state)
        >>> print(updates)
        0.5
    """
    if problem := outside(
        "[0, inf)", initial_accumulator_value=initial_accumulator_value, eps=eps
    ):
        raise ValueError(problem)

    def init(params):
        return AdagradState(second_moment(params, initial_accumulator_value))

    def update(updates, state, params=None):
        del params
        total = jax.tree.map(
            lambda s, g: as_dtype(s + squared(g), s.dtype),
            state.sum_of_squares,
            updates,
        )

        def divide(g, s):
            root = jnp.sqrt(s + eps) if eps_in_sqrt else jnp.sqrt(s) + eps
            return keep_dtype(g / root, g)

        return jax.tree.map(divide, updates, total), AdagradState(total)

    return GradientTransformation(init, update)
