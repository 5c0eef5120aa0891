"""One compiled stretch of training: a scan over steps, free of side effects."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from jaxdl.optim import apply_updates
from jaxdl.train.sampling import epoch_batches
from jaxdl.types import Array, Key, Params

Loss = Callable[[Params, Any, Any, Key], tuple[Array, tuple[Any, dict[str, Array]]]]
"""``loss(params, state, batch, key) -> (scalar, (state, metrics))``."""

Evaluate = Callable[[Params, Any, Any], dict[str, Array]]
"""``evaluate(params, state, held_out) -> metrics``."""


class Optimizer(Protocol):
    """A gradient transformation of `jaxdl.optim` or of optax."""

    @property
    def init(self) -> Callable[..., Any]:
        """From parameters to the optimizer's state."""
        ...

    @property
    def update(self) -> Callable[..., tuple[Any, Any]]:
        """From gradients, state and parameters to updates and the next state."""
        ...


class Plan(NamedTuple):
    """What a training run does; hashable, so that compiled programs are found again."""

    loss: Loss
    optimizer: Optimizer
    evaluate: Evaluate | None
    batch_size: int | None
    record_every: int
    n_records: int


class Carry(NamedTuple):
    """All that training changes."""

    step: Array  # () int32, updates tried so far
    params: Params
    optimizer: Any  # the optimizer's state
    state: Any  # the model's state
    failed_at: Array  # () int32, the first update that was not finite; 0: none


def begin(params: Params, state: Any, optimizer: Optimizer) -> Carry:
    """The carry before the first step."""
    zero = jnp.zeros((), jnp.int32)
    params = jax.tree.map(jnp.asarray, params)
    return Carry(zero, params, optimizer.init(params), state, zero)


def advance(
    plan: Plan, n_records: int, carry: Carry, data: Any, held_out: Any, key: Key
) -> tuple[Carry, dict[str, Array]]:
    """Train for ``n_records * plan.record_every`` steps.

    An update is taken only if the loss and the new parameters are finite and every
    update before it was; otherwise the run stays where it is to the end.

    Args:
        plan: What to do; static.
        n_records: How many records; static.
        carry: From `begin` or from the call before.
        data: Pytree of arrays with the n examples along their first axis.
        held_out: What ``plan.evaluate`` gets; any pytree of arrays.
        key: The key of the whole run, the same for each stretch.

    Returns:
        The next carry, and the history: ``(n_records, ...)`` for each metric.
    """
    batch_key, loss_key = jax.random.split(key)
    n = jax.tree.leaves(data)[0].shape[0]

    def step(carry: Carry, rows):
        batch = data if rows is None else jax.tree.map(lambda a: a[rows], data)
        gradient = jax.value_and_grad(plan.loss, has_aux=True)
        (value, (state, metrics)), grads = gradient(
            carry.params, carry.state, batch, jax.random.fold_in(loss_key, carry.step)
        )
        updates, optimizer = plan.optimizer.update(grads, carry.optimizer, carry.params)
        params = apply_updates(carry.params, updates)
        fine = jnp.isfinite(value) & _all_finite(params)
        failed_at = jnp.where(
            (carry.failed_at == 0) & ~fine, carry.step + 1, carry.failed_at
        )
        proposed = (params, optimizer, state)
        before = (carry.params, carry.optimizer, carry.state)
        kept = jax.tree.map(
            lambda new, old: old if new is old else jnp.where(failed_at == 0, new, old),
            proposed,
            before,
        )
        params, optimizer, state = kept
        carry = Carry(carry.step + 1, params, optimizer, state, failed_at)
        return carry, {"loss": value, **metrics}

    def record(carry: Carry, _):
        rows = None
        if plan.batch_size is not None:
            rows = epoch_batches(
                batch_key, carry.step, plan.record_every, n, plan.batch_size
            )
        carry, metrics = jax.lax.scan(step, carry, rows, plan.record_every)
        metrics = {name: jnp.mean(value, axis=0) for name, value in metrics.items()}
        if plan.evaluate is not None:
            metrics |= plan.evaluate(carry.params, carry.state, held_out)
        metrics = {
            name: jnp.where(carry.failed_at == 0, value, jnp.nan)
            for name, value in metrics.items()
        }
        return carry, metrics

    return jax.lax.scan(record, carry, None, n_records)


def _all_finite(params: Params) -> Array:
    """Whether all entries of all floating-point leaves are finite."""
    fine = [
        jnp.all(jnp.isfinite(leaf))
        for leaf in jax.tree.leaves(params)
        if jnp.issubdtype(leaf.dtype, jnp.inexact)
    ]
    return jnp.all(jnp.stack(fine)) if fine else jnp.asarray(True)
