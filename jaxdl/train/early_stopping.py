"""Stop where a metric gets no better, and go back to its best."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdl.types import Array, Params


class EarlyStopping(NamedTuple):
    """When to stop: after ``patience`` records without a better one.

    A record is better if its metric is less than the best so far by more than
    ``min_delta``; NaN is never better. Training stops at the first record that comes
    ``patience`` records after the best one, and gives the parameters (and the model's
    state) of the best record. It gives them too if it comes to its end, or fails,
    before.

    References:
        Prechelt (1998), Automatic early stopping using cross validation: quantifying
        the criteria, compares rules of this kind.
        https://doi.org/10.1016/S0893-6080(98)00010-0
    """

    metric: str  # a name in the history whose records are scalars
    patience: int  # records, >= 1
    min_delta: float = 0.0  # in units of the metric, >= 0
    maximize: bool = False  # whether more of the metric is better


class Best(NamedTuple):
    """The best record so far, and whether the wait for a better one is over."""

    value: Array  # () its metric; infinite before the first
    step: Array  # () int32, updates done then; 0: none yet
    stopped_at: Array  # () int32, updates done when training stopped; 0: it goes on
    params: Params
    state: Any  # the model's state


def check_early_stopping(rule: EarlyStopping | None) -> None:
    """Check the numbers of a rule.

    Args:
        rule: The rule, or None.

    Raises:
        ValueError: If one is out of its domain.
    """
    if rule is None:
        return
    if not isinstance(rule, EarlyStopping):
        raise ValueError(f"early_stopping must be an EarlyStopping, got {rule!r}")
    if not isinstance(rule.patience, int) or rule.patience < 1:
        raise ValueError(
            f"early_stopping: patience must be a positive integer, got {rule.patience}"
        )
    if not 0 <= rule.min_delta < math.inf:
        raise ValueError(
            f"early_stopping: min_delta must be finite and >= 0, got {rule.min_delta}"
        )


def begin_best(rule: EarlyStopping | None, params: Params, state: Any) -> Best | None:
    """Before the first record.

    Args:
        rule: The rule, or None for none.
        params: Parameters before the first update.
        state: The model's state then.

    Returns:
        What `update_best` updates; None without a rule.
    """
    if rule is None:
        return None
    worst = jnp.asarray(-jnp.inf if rule.maximize else jnp.inf, float)
    zero = jnp.zeros((), jnp.int32)
    return Best(worst, zero, zero, params, state)


def update_best(
    rule: EarlyStopping,
    best: Best,
    metrics: dict[str, Array],
    step: Array,
    going: Array,
    params: Params,
    state: Any,
    record_every: int,
) -> Best:
    """Compare one record to the best before it.

    Args:
        rule: The rule.
        best: The best so far.
        metrics: The record, NaN if training has stopped or failed.
        step: ``()`` updates done.
        going: ``()`` whether training has neither stopped nor failed before.
        params: Parameters at the record.
        state: The model's state at the record.
        record_every: Updates a record.

    Returns:
        The best, including this record.

    Raises:
        ValueError: If there is no such metric, or it is no scalar.
    """
    if rule.metric not in metrics:
        raise ValueError(
            f"early_stopping: metric must be one of {sorted(metrics)}, "
            f"got {rule.metric!r}"
        )
    value = metrics[rule.metric]
    if jnp.shape(value):
        raise ValueError(
            f"early_stopping: metric {rule.metric!r} must be a scalar, "
            f"got shape {jnp.shape(value)}"
        )
    value = value.astype(best.value.dtype)
    if rule.maximize:
        better = value > best.value + rule.min_delta
    else:
        better = value < best.value - rule.min_delta
    new = (value, step, params, state)
    old = (best.value, best.step, best.params, best.state)
    value, at, params, state = jax.tree.map(
        lambda n, o: o if n is o else jnp.where(better, n, o), new, old
    )
    over = step - at >= rule.patience * record_every
    stopped_at = jnp.where(going & over, step, best.stopped_at)
    return Best(value, at, stopped_at, params, state)


def restore(best: Best, params: Params, state: Any) -> tuple[Params, Any]:
    """The parameters and state of the best record.

    Args:
        best: From `update_best`.
        params: What to take if no record was better than none.
        state: The same for the model's state.

    Returns:
        Parameters and state.
    """

    def choose(good, last):
        found = jnp.expand_dims(best.step > 0, range(best.step.ndim, jnp.ndim(good)))
        return jnp.where(found, good, last)

    return jax.tree.map(choose, (best.params, best.state), (params, state))
