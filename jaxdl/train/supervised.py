"""Losses of a batch from functions of one example."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxdl.train.steps import Loss
from jaxdl.types import Array, Params


def supervised(
    apply: Callable[[Params, Array], Array],
    loss: Callable[[Array, Array], Array],
    **metrics: Callable[[Array, Array], Array],
) -> Loss:
    """The mean loss over a batch ``(x, y)``, in the form that `fit` takes.

    Args:
        apply: ``apply(params, x)``, the outputs for one example.
        loss: ``loss(outputs, y)`` of one example, such as
            `jaxdl.losses.cross_entropy`.
        **metrics: More functions of that form, whose means are recorded.

    Returns:
        ``loss(params, state, (x, y), key) -> (scalar, (state, metrics))``; the state
        and the key are not used.
    """

    def batch_loss(params, state, batch, key):
        del key
        x, y = batch
        outputs = jax.vmap(apply, (None, 0))(params, x)
        means = {name: _mean(f, outputs, y) for name, f in metrics.items()}
        return _mean(loss, outputs, y), (state, means)

    return batch_loss


def _mean(function: Callable[..., Array], *batched: Any) -> Array:
    """The mean of a function of one example."""
    return jnp.mean(jax.vmap(function)(*batched))
