"""Damping that follows how well the quadratic model foretells the loss."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdl import tree
from jaxdl.curvature.hessians import Loss
from jaxdl.optim.base import (
    GradientTransformation,
    apply_updates,
    cast_like,
    count_up,
    with_extra_args,
    zero_step,
)
from jaxdl.optim.domains import outside
from jaxdl.optim.inverse_curvature import Curvature, operator_at
from jaxdl.types import Array, Scalar


class AdaptDampingState(NamedTuple):
    """The damping, and what became of the last step."""

    damping: Array  # () that of the next update
    accepted: Array  # () bool, whether the last step was taken
    gain_ratio: Array  # () of the last step; NaN before the first
    rejected: Array  # () int32, steps not taken since init
    inner_state: Any


def adapt_damping(
    factory: Callable[[Scalar], GradientTransformation],
    curvature: Curvature,
    loss: Loss,
    damping: Scalar = 1.0,
    *,
    increase: Scalar = 2.0,
    decrease: Scalar = 1 / 3,
    min_damping: Scalar = 1e-12,
    max_damping: Scalar = 1e12,
) -> GradientTransformation:
    """Damp by the gain ratio, and take no step that raises the loss.

    For a step u from theta, with gradient g and curvature matrix A::

        gain = (loss(theta) - loss(theta + u)) / -(<g, u> + <u, A u> / 2)

    The damping is multiplied by ``decrease`` where the gain is above 3/4, and by
    ``increase`` where it is below 1/4 or the step is rejected. A step is rejected
    unless ``loss(theta + u) <= loss(theta)``, so also where it is NaN: the update is
    then 0 and the inner state stays. Nothing is tried again in the same update; the
    next has more damping.

    The update takes the extra arguments ``batch``, or ``operator`` and ``value_fn``.
    ``value_fn(params)`` is used in place of ``loss(params, batch)`` where it is given,
    as the trainers do for losses that have a state; and ``value``, its value at
    params, saves computing it. A loss of another batch at each update is as noisy a
    judge as the gradient.

    Args:
        factory: From a damping to an optimizer whose update is u, such as
            ``lambda damping: newton(loss, damping=damping)``. It gets A as its extra
            argument ``operator``.
        curvature: ``curvature(params, batch) -> A``, undamped, as in
            `scale_by_inverse_curvature`.
        loss: ``loss(params, batch) -> ()``.
        damping: That of the first update, ``>= 0``, in the units of the eigenvalues.
        increase: ``>= 1``.
        decrease: In ``[0, 1]``.
        min_damping: ``>= 0``; from a damping of 0 there is no way up.
        max_damping: ``>= damping``.

    Returns:
        A transformation that needs the parameters. To be put last in a chain, for what
        changes its updates changes what they do to the loss.

    Raises:
        ValueError: If a Python number lies outside its domain, or what the update
            needs is not there.

    References:
        Marquardt (1963), An algorithm for least-squares estimation of nonlinear
        parameters, Journal of SIAM 11(2), 431-441. Nocedal, Wright (2006), Numerical
        Optimization, algorithm 4.1, where these bounds on the gain ratio move a radius.

    Examples:
        >>> from functools import partial
        >>> from jaxdl import curvature, optim
        >>> def loss(theta, batch):
        ...     return theta**4 / 4 - theta**2 / 2
        >>> optimizer = adapt_damping(lambda damping: optim.newton(loss, 1.0, damping),
        ...                           partial(curvature.hvp, loss), loss)
        >>> theta = jnp.array(0.1)  # by a maximum, where newton would go
        >>> state = optimizer.init(theta)
        >>> for _ in range(15):
        ...     gradient = jax.grad(loss)(theta, None)
        ...     updates, state = optimizer.update(gradient, state, theta, batch=None)
        ...     theta = theta + updates
        >>> print(f"{jnp.abs(theta):.3f}")
        1.000
    """
    if (
        problem := outside("[0, inf)", damping=damping, min_damping=min_damping)
        or outside("[1, inf)", increase=increase)
        or outside("[0, 1]", decrease=decrease)
        or outside("(0, inf)", max_damping=max_damping)
        or _not_between(damping, min_damping, max_damping)
    ):
        raise ValueError(problem)
    factory(damping)  # arrays are not checked, so let it see a Python number once

    def init(params):
        start = jnp.asarray(damping).astype(float)
        return AdaptDampingState(
            start,
            jnp.array(True),
            jnp.full_like(start, jnp.nan),
            zero_step(),
            factory(start).init(params),
        )

    def update(updates, state, params=None, *, operator=None, **extra):
        if params is None or not {"batch", "value_fn"} & set(extra):
            raise ValueError(
                "adapt_damping needs the parameters and batch=... or value_fn=..., but "
                f"update got {'no ' if params is None else ''}parameters and "
                f"{sorted(extra)}"
            )

        def value_at(params):
            value_fn = extra.get("value_fn")
            return (
                loss(params, extra["batch"]) if value_fn is None else value_fn(params)
            )

        operator = operator_at(curvature, operator, updates, params, extra)
        inner = with_extra_args(factory(state.damping))
        step, inner_state = inner.update(
            updates, state.inner_state, params, operator=operator, **extra
        )
        before = extra.get("value")
        before = value_at(params) if before is None else before
        after = value_at(apply_updates(params, step))
        foretold = -(tree.dot(updates, step) + operator.quadratic_form(step) / 2)
        gain = (before - after) / foretold
        accepted = after <= before

        factor = jnp.where(gain > 0.75, decrease, jnp.where(gain < 0.25, increase, 1.0))
        factor = jnp.where(accepted, factor, increase)
        damping = jnp.clip(state.damping * factor, min_damping, max_damping)
        state = AdaptDampingState(
            damping.astype(state.damping.dtype),
            accepted,
            gain.astype(state.gain_ratio.dtype),
            jnp.where(accepted, state.rejected, count_up(state.rejected)),
            jax.tree.map(
                lambda new, old: jnp.where(accepted, new, old),
                cast_like(inner_state, state.inner_state),
                state.inner_state,
            ),
        )
        return jax.tree.map(lambda u: jnp.where(accepted, u, 0), step), state

    return GradientTransformation(init, update)


def _not_between(damping: Any, low: Any, high: Any) -> str:
    """What is wrong with the order of those that are Python numbers."""
    known = [x for x in (low, damping, high) if isinstance(x, float | int)]
    if known == sorted(known):
        return ""
    return (
        "damping must lie between min_damping and max_damping, "
        f"got {damping}, {low} and {high}"
    )
