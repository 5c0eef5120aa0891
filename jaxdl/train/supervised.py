"""Losses and evaluations of a batch, from functions of one example."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxdl.train.groups import ByGroup, divide, group_ratio
from jaxdl.train.steps import Evaluate, Loss
from jaxdl.types import Array, Params

Metric = Callable[[Any, Any], Array] | ByGroup
"""``metric(outputs, y)`` of one example, or what `by_group` makes of it."""


def supervised(
    apply: Callable[[Params, Array], Array],
    loss: Callable[[Array, Array], Array],
    **metrics: Metric,
) -> Loss:
    """The mean loss over a batch ``(x, y)``, in the form that `fit` takes.

    Labels outside of the model's classes make no error inside a compiled program; look
    at the data with `check_labels` before.

    Args:
        apply: ``apply(params, x)``, the outputs for one example.
        loss: ``loss(outputs, y)`` of one example, such as
            `jaxdl.losses.cross_entropy`.
        **metrics: More functions of that form, whose means are recorded; or
            `by_group` of such, which needs batches ``(x, y, groups)``.

    Returns:
        ``loss(params, state, batch, key) -> (scalar, (state, metrics))``; the state
        and the key are not used.
    """

    def batch_loss(params, state, batch, key):
        del key
        x, y, *groups = batch
        outputs = jax.vmap(apply, (None, 0))(params, x)
        means = {name: _mean(f, outputs, y, groups) for name, f in metrics.items()}
        return _mean(loss, outputs, y, groups), (state, means)

    return batch_loss


def evaluator(apply: Callable[[Params, Array], Array], **metrics: Metric) -> Evaluate:
    """Means of metrics over held-out data ``(x, y)``, in the form that `fit` takes.

    Args:
        apply: As in `supervised`.
        **metrics: As in `supervised`.

    Returns:
        ``evaluate(params, state, held_out) -> metrics``; the state is not used.

    Examples:
        >>> from jaxdl import losses
        >>> evaluate = evaluator(jnp.multiply, test_loss=losses.squared_error)
        >>> print(evaluate(2.0, None, (jnp.ones(3), jnp.zeros(3))))
        {'test_loss': Array(2., dtype=float32)}
    """

    def evaluate(params, state, held_out):
        del state
        x, y, *groups = held_out
        outputs = jax.vmap(apply, (None, 0))(params, x)
        means = {name: _mean(f, outputs, y, groups) for name, f in metrics.items()}
        return divide(means)

    return evaluate


def _mean(metric: Metric, outputs: Any, y: Any, groups: list[Array]) -> Any:
    """The mean of a metric over a batch, for each group in parts.

    Raises:
        ValueError: If there should be groups, and are not.
    """
    if not isinstance(metric, ByGroup):
        return jnp.mean(jax.vmap(metric)(outputs, y))
    if len(groups) != 1:
        raise ValueError(
            f"data must be (x, y, groups) for by_group, got {2 + len(groups)} entries"
        )
    values = jax.vmap(metric.metric)(outputs, y)
    return group_ratio(values, groups[0], metric.n_groups)
