"""One compiled stretch of training: a scan over steps, free of side effects."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from jaxdl.optim import apply_updates
from jaxdl.train.early_stopping import Best, EarlyStopping, begin_best, update_best
from jaxdl.train.groups import divide
from jaxdl.train.sampling import Sampler, divisor_near
from jaxdl.types import Array, Key, Params

Loss = Callable[[Params, Any, Any, Key], tuple[Array, tuple[Any, dict[str, Any]]]]
"""``loss(params, state, batch, key) -> (scalar, (state, metrics))``."""

Evaluate = Callable[[Params, Any, Any], dict[str, Any]]
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
    optimizer: Optimizer | Callable[..., Optimizer]  # made of hyperparameters, if any
    extra: tuple[str, ...]  # names of what its update takes besides
    evaluate: Evaluate | None
    batch_size: int | None
    sampler: Sampler
    record_every: int
    n_records: int
    early_stopping: EarlyStopping | None


class Inputs(NamedTuple):
    """All that training reads, the same at each stretch."""

    data: Any  # n examples along the first axis of each leaf
    held_out: Any
    key: Key
    rows: Array | None  # (r,) integers, the rows of ``data`` to train on; None: all
    hyperparameters: Any  # a tuple or a dict of arguments, or None


class Carry(NamedTuple):
    """All that training changes."""

    step: Array  # () int32, updates tried so far
    params: Params
    optimizer: Any  # the optimizer's state
    state: Any  # the model's state
    failed_at: Array  # () int32, the first update that was not finite; 0: none
    best: Best | None  # for early stopping


def made(
    optimizer: Optimizer | Callable[..., Optimizer], hyperparameters: Any
) -> Optimizer:
    """The optimizer of a run.

    Args:
        optimizer: It, or a function that makes it.
        hyperparameters: None for the former; else positional arguments, or a dict of
            arguments by name.

    Returns:
        The optimizer.
    """
    make: Any = optimizer
    if hyperparameters is None:
        return make
    if isinstance(hyperparameters, dict):
        return make(**hyperparameters)
    return make(*hyperparameters)


def begin(plan: Plan, params: Params, state: Any, hyperparameters: Any) -> Carry:
    """The carry before the first step."""
    zero = jnp.zeros((), jnp.int32)
    params = jax.tree.map(jnp.asarray, params)
    optimizer = made(plan.optimizer, hyperparameters).init(params)
    best = begin_best(plan.early_stopping, params, state)
    return Carry(zero, params, optimizer, state, zero, best)


def going(carry: Carry) -> Array:
    """Whether training has neither failed nor been stopped."""
    fine = carry.failed_at == 0
    return fine if carry.best is None else fine & (carry.best.stopped_at == 0)


def advance(
    plan: Plan, n_records: int, carry: Carry, inputs: Inputs
) -> tuple[Carry, dict[str, Array]]:
    """Train for ``n_records * plan.record_every`` steps.

    An update is taken only if the loss and the new parameters are finite and every
    update before it was; otherwise the run stays where it is to the end.

    Args:
        plan: What to do; static.
        n_records: How many records; static.
        carry: From `begin` or from the call before.
        inputs: What to learn from.

    Returns:
        The next carry, and the history: ``(n_records, ...)`` for each metric.
    """
    batch_key, loss_key = jax.random.split(inputs.key)
    optimizer = made(plan.optimizer, inputs.hyperparameters)
    n = jax.tree.leaves((inputs.rows, inputs.data))[0].shape[0]
    whole = inputs.data
    if plan.batch_size is None and inputs.rows is not None:
        whole = _take(whole, inputs.rows)

    def step(carry: Carry, rows):
        batch = whole if rows is None else _take(inputs.data, rows)
        key = jax.random.fold_in(loss_key, carry.step)

        def loss(params, batch=batch):
            return plan.loss(params, carry.state, batch, key)

        gradient = jax.value_and_grad(loss, has_aux=True)
        (value, (state, metrics)), grads = gradient(carry.params)
        offered = {
            "value": value,
            "grad": grads,
            # It takes the batch, since optax passes on to it what it is given besides.
            "value_fn": lambda params, batch=batch: loss(params, batch)[0],
            "batch": batch,
        }
        updates, opt_state = optimizer.update(
            grads,
            carry.optimizer,
            carry.params,
            **{name: offered[name] for name in plan.extra},
        )
        params = apply_updates(carry.params, updates)
        fine = jnp.isfinite(value) & _all_finite(params)
        failed_at = jnp.where(going(carry) & ~fine, carry.step + 1, carry.failed_at)
        proposed = Carry(
            carry.step + 1, params, opt_state, state, failed_at, carry.best
        )
        return _if(going(proposed), proposed, carry), {"loss": value, **metrics}

    def record(carry: Carry, rows):
        carry, metrics = jax.lax.scan(step, carry, rows, plan.record_every)
        metrics = jax.tree.map(lambda value: jnp.mean(value, axis=0), metrics)
        if plan.evaluate is not None:
            metrics |= plan.evaluate(carry.params, carry.state, inputs.held_out)
        goes = going(carry)
        metrics = {
            name: jnp.where(goes, value, jnp.nan)
            for name, value in divide(metrics).items()
        }
        if carry.best is not None and plan.early_stopping is not None:
            best = update_best(
                plan.early_stopping,
                carry.best,
                metrics,
                carry.step,
                goes,
                carry.params,
                carry.state,
                plan.record_every,
            )
            carry = carry._replace(best=best)
        return carry, metrics

    def records(carry: Carry, count: int):
        if plan.batch_size is None:
            return jax.lax.scan(record, carry, None, count)
        shape = (count, plan.record_every, plan.batch_size)
        rows = plan.sampler(batch_key, carry.step, shape[0] * shape[1], n, shape[2])
        if inputs.rows is not None:
            rows = inputs.rows[rows]
        return jax.lax.scan(record, carry, rows.reshape(shape))

    count = _records_a_draw(plan, n_records, n)
    if count == n_records:
        return records(carry, n_records)
    parts, (many, rest) = [], divmod(n_records, count)
    carry, history = jax.lax.scan(lambda c, _: records(c, count), carry, None, many)
    parts.append(jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), history))
    if rest:
        carry, history = records(carry, rest)
        parts.append(history)
    return carry, jax.tree.map(lambda *rows: jnp.concatenate(rows), *parts)


def _records_a_draw(plan: Plan, n_records: int, n: int) -> int:
    """For how many records to draw row numbers at once.

    Many, since a sampler permutes all rows for the first step of an epoch; but not so
    many that the row numbers take much memory.
    """
    if plan.batch_size is None:
        return n_records
    wanted = max(2**18, n) // (plan.record_every * plan.batch_size)
    return divisor_near(n_records, wanted)


def _take(data: Any, rows: Array) -> Any:
    """Those rows of each leaf."""
    return jax.tree.map(lambda a: a[rows], data)


def _if(condition: Array, proposed: Carry, before: Carry) -> Carry:
    """The proposed carry; where the condition fails, one that stayed where it was."""
    names = ("params", "optimizer", "state")
    kept = {
        name: jax.tree.map(
            lambda new, old: old if new is old else jnp.where(condition, new, old),
            getattr(proposed, name),
            getattr(before, name),
        )
        for name in names
    }
    return proposed._replace(**kept)


def _all_finite(params: Params) -> Array:
    """Whether all entries of all floating-point leaves are finite."""
    fine = [
        jnp.all(jnp.isfinite(leaf))
        for leaf in jax.tree.leaves(params)
        if jnp.issubdtype(leaf.dtype, jnp.inexact)
    ]
    return jnp.all(jnp.stack(fine)) if fine else jnp.asarray(True)
