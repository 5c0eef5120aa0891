"""Accumulate the gradients of several small batches into one update."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdl import tree
from jaxdl.optim.base import (
    GradientTransformation,
    as_dtype,
    cast_like,
    count_up,
    keep_dtype,
    with_extra_args,
    zero_step,
)
from jaxdl.optim.domains import not_a_count
from jaxdl.types import Array, Params, Schedule


class AccumulateState(NamedTuple):
    """What was gathered since the last update."""

    mini_step: Array  # () int32, gradients gathered so far, < every
    gradient_step: Array  # () int32, updates done so far
    inner_state: Any
    acc_grads: Params  # sum of the gradients, in float32 or wider


def accumulate(
    inner: GradientTransformation,
    every: int | Schedule,
    *,
    mean: bool = True,
) -> GradientTransformation:
    """Update once in ``every`` calls, from the mean of their gradients.

    The other calls give zeros and leave the inner state alone. With batches of equal
    size this is the update of one batch that is ``every`` times as large.

    Args:
        inner: A transformation of `jaxdl.optim` or of optax.
        every: ``>= 1``, or a schedule of it, from the updates done so far.
        mean: Whether to take the mean; else the sum.

    Returns:
        A transformation.

    Raises:
        ValueError: If ``every`` is a Python number but not a positive integer.

    Examples:
        >>> from jaxdl import optim
        >>> optimizer = accumulate(optim.sgd(1.0), every=2)
        >>> state = optimizer.init(jnp.zeros(()))
        >>> for gradient in (1.0, 3.0, 5.0, 5.0):
        ...     updates, state = optimizer.update(jnp.array(gradient), state)
        ...     print(updates)
        0.0
        -2.0
        0.0
        -5.0
    """
    if not callable(every) and (problem := not_a_count(1, every=every)):
        raise ValueError(problem)
    inner = with_extra_args(inner)

    def init(params):
        zeros = jax.tree.map(lambda p: jnp.zeros_like(p, dtype=_wide(p)), params)
        return AccumulateState(zero_step(), zero_step(), inner.init(params), zeros)

    def update(updates, state, params=None, **extra):
        calls = every(state.gradient_step) if callable(every) else every
        total = jax.tree.map(
            lambda s, g: as_dtype(s + g, s.dtype), state.acc_grads, updates
        )

        def emit():
            grads = jax.tree.map(
                lambda s, g: keep_dtype(s / calls if mean else s, g), total, updates
            )
            new, inner_state = inner.update(grads, state.inner_state, params, **extra)
            return (
                cast_like(new, updates),
                AccumulateState(
                    zero_step(),
                    count_up(state.gradient_step),
                    cast_like(inner_state, state.inner_state),
                    tree.zeros_like(total),
                ),
            )

        def gather():
            waiting = state._replace(
                mini_step=count_up(state.mini_step), acc_grads=total
            )
            return tree.zeros_like(updates), waiting

        return jax.lax.cond(state.mini_step + 1 >= calls, emit, gather)

    return GradientTransformation(init, update)


def _wide(leaf: Any) -> Any:
    """Float32, or the dtype of the leaf where that is wider."""
    return jnp.promote_types(jnp.result_type(leaf), jnp.float32)
