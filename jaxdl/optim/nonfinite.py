"""Skip updates whose gradient is not finite, and count them."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdl import tree
from jaxdl.optim.base import (
    GradientTransformation,
    cast_like,
    count_up,
    with_extra_args,
    zero_step,
)
from jaxdl.optim.domains import not_a_count
from jaxdl.types import Array


class ApplyIfFiniteState(NamedTuple):
    """What was skipped."""

    notfinite_count: Array  # () int32, in a row until now
    last_finite: Array  # () bool
    total_notfinite: Array  # () int32, since init
    inner_state: Any


def apply_if_finite(
    inner: GradientTransformation, max_consecutive_errors: int
) -> GradientTransformation:
    """Skip an update if an entry of the gradient is NaN or infinite.

    A skipped update is zero and leaves the inner state alone. After
    ``max_consecutive_errors`` in a row the next is let through, so that the failure
    shows.

    Args:
        inner: A transformation of `jaxdl.optim` or of optax.
        max_consecutive_errors: ``>= 0``.

    Returns:
        A transformation; its state has the counts ``notfinite_count`` (in a row) and
        ``total_notfinite``.

    Raises:
        ValueError: If ``max_consecutive_errors`` is a Python number but not an
            integer ``>= 0``.

    Examples:
        >>> from jaxdl import optim
        >>> optimizer = apply_if_finite(optim.sgd(1.0), max_consecutive_errors=5)
        >>> state = optimizer.init(jnp.zeros(()))
        >>> for gradient in (1.0, jnp.nan, 2.0):
        ...     updates, state = optimizer.update(jnp.array(gradient), state)
        ...     print(updates, state.total_notfinite)
        -1.0 0
        0.0 1
        -2.0 1
    """
    if problem := not_a_count(0, max_consecutive_errors=max_consecutive_errors):
        raise ValueError(problem)
    inner = with_extra_args(inner)

    def init(params):
        return ApplyIfFiniteState(
            zero_step(), jnp.array(True), zero_step(), inner.init(params)
        )

    def update(updates, state, params=None, **extra):
        leaves = jax.tree.leaves(updates)
        finite = jnp.all(jnp.array([jnp.all(jnp.isfinite(g)) for g in leaves]))
        in_a_row = jnp.where(finite, 0, count_up(state.notfinite_count))
        total = jnp.where(
            finite, state.total_notfinite, count_up(state.total_notfinite)
        )

        def accept():
            new, inner_state = inner.update(updates, state.inner_state, params, **extra)
            return cast_like(new, updates), cast_like(inner_state, state.inner_state)

        def skip():
            return tree.zeros_like(updates), state.inner_state

        updates, inner_state = jax.lax.cond(
            finite | (in_a_row > max_consecutive_errors), accept, skip
        )
        return updates, ApplyIfFiniteState(in_a_row, finite, total, inner_state)

    return GradientTransformation(init, update)
