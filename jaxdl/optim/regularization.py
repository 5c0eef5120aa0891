"""Pull parameters to zero: weight decay, and the L1 penalty in two forms."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxdl.optim.base import (
    EmptyState,
    GradientTransformation,
    count_up,
    keep_dtype,
    zero_step,
)
from jaxdl.optim.domains import outside
from jaxdl.optim.learning_rate import ScaleByScheduleState
from jaxdl.optim.masking import masked
from jaxdl.types import Array, Params, Scalar, Schedule

Mask = Any | Callable[[Params], Any] | None
"""Which leaves: a tree of Python booleans, a function that makes one, or None."""


def add_decayed_weights(
    weight_decay: Scalar | Schedule,
    mask: Mask = None,
) -> GradientTransformation:
    """Add a multiple of the parameters to the updates: ``u + weight_decay * theta``.

    Put first in a chain this is the gradient of the L2 penalty
    ``weight_decay / 2 * |theta|^2``; put after the division by the size of the
    gradient and before the learning rate it is decoupled decay. For plain gradient
    descent the two are the same.

    Args:
        weight_decay: A constant ``>= 0``, or a schedule.
        mask: Which leaves decay, as in `masked`; all where None.

    Returns:
        A transformation that needs the parameters.

    Raises:
        ValueError: If ``weight_decay`` is a Python number that is negative or not
            finite.

    References:
        Loshchilov, Hutter (2019), Decoupled weight decay regularization, algorithms
        1 and 2. https://arxiv.org/abs/1711.05101

    Examples:
        >>> from jaxdl import optim
        >>> coupled = optim.chain(add_decayed_weights(0.1), optim.adam(0.01))
        >>> decoupled = optim.chain(optim.scale_by_adam(), add_decayed_weights(0.1),
        ...                         optim.scale_by_learning_rate(0.01))
        >>> theta, gradient = jnp.array([1.0, 100.0]), jnp.ones(2)
        >>> for optimizer in (coupled, decoupled):
        ...     state = optimizer.init(theta)
        ...     updates, _ = optimizer.update(gradient, state, theta)
        ...     print([f"{u:.3f}" for u in updates])
        ['-0.010', '-0.010']
        ['-0.011', '-0.110']
    """
    if problem := outside("[0, inf)", weight_decay=weight_decay):
        raise ValueError(problem)
    transform = _with_params(
        lambda strength, u, p: u + strength * p, weight_decay, "add_decayed_weights"
    )
    return transform if mask is None else masked(transform, mask)


def add_l1_subgradient(strength: Scalar | Schedule) -> GradientTransformation:
    """Add the subgradient of an L1 penalty: ``u + strength * sign(theta)``.

    The penalty is ``strength * sum |theta|``. Iterates cross zero rather than stay
    there; `proximal_l1` makes entries exactly 0.

    Args:
        strength: A constant ``>= 0``, or a schedule.

    Returns:
        A transformation that needs the parameters.

    Raises:
        ValueError: If ``strength`` is a Python number that is negative or not finite.

    Examples:
        >>> transform, theta = add_l1_subgradient(0.5), jnp.array([-2.0, 0.0, 3.0])
        >>> print(transform.update(jnp.zeros(3), transform.init(theta), theta)[0])
        [-0.5  0.   0.5]
    """
    if problem := outside("[0, inf)", strength=strength):
        raise ValueError(problem)
    return _with_params(
        lambda strength, u, p: u + strength * jnp.sign(p),
        strength,
        "add_l1_subgradient",
    )


def proximal_l1(
    learning_rate: Scalar | Schedule, strength: Scalar
) -> GradientTransformation:
    """Shrink the updated parameters towards zero: the proximal step of an L1 penalty.

    To be put last in a chain. With ``z = theta + u`` and
    ``c = learning_rate * strength``, the updates become::

        sign(z) max(|z| - c, 0) - theta

    After gradient descent at the same learning rate this is the proximal gradient
    method (ISTA) for ``loss + strength * sum |theta|``: entries become exactly 0.

    Args:
        learning_rate: That of the optimizer before it: a constant ``>= 0``, or a
            schedule.
        strength: ``>= 0``.

    Returns:
        A transformation that needs the parameters.

    Raises:
        ValueError: If a Python number is negative or not finite.

    References:
        Beck, Teboulle (2009), A fast iterative shrinkage-thresholding algorithm for
        linear inverse problems, equation 1.4.

    Examples:
        >>> from jaxdl import optim
        >>> optimizer = optim.chain(optim.sgd(0.5), proximal_l1(0.5, 1.0))
        >>> theta = jnp.array([0.4, 2.0])
        >>> updates, _ = optimizer.update(jnp.zeros(2), optimizer.init(theta), theta)
        >>> print(theta + updates)
        [0.  1.5]
    """
    if problem := outside("[0, inf)", learning_rate=learning_rate, strength=strength):
        raise ValueError(problem)

    def shrink(rate, u, p):
        z, cut = p + u, rate * strength
        return jnp.sign(z) * jnp.maximum(jnp.abs(z) - cut, 0) - p

    return _with_params(shrink, learning_rate, "proximal_l1")


def _with_params(
    function: Callable[[Any, Array, Array], Array],
    strength: Scalar | Schedule,
    name: str,
) -> GradientTransformation:
    """Map ``function(strength, update, parameter)`` over the leaves.

    None among the updates stays, whatever the parameter.
    """
    schedule = strength if callable(strength) else None

    def init(params):
        del params
        return EmptyState() if schedule is None else ScaleByScheduleState(zero_step())

    def update(updates, state, params=None):
        if params is None:
            raise ValueError(f"{name} needs the parameters, but update got none")
        value = strength if schedule is None else schedule(state.step)
        if schedule is not None:
            state = ScaleByScheduleState(count_up(state.step))

        def leaf(u, p):
            return None if u is None else keep_dtype(function(value, u, p), u)

        updates = jax.tree.map(leaf, updates, params, is_leaf=lambda u: u is None)
        return updates, state

    return GradientTransformation(init, update)
