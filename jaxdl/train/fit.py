"""Train, and say at which step it went wrong."""

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import jax

from jaxdl.train.drive import Callback, Fit, Host, drive
from jaxdl.train.early_stopping import EarlyStopping
from jaxdl.train.plan import make_plan
from jaxdl.train.sampling import Sampler, epoch_batches
from jaxdl.train.steps import Evaluate, Inputs, Loss, Optimizer, advance, begin
from jaxdl.types import Array, Key, Params


def fit(
    key: Key,
    loss: Loss,
    params: Params,
    optimizer: Optimizer,
    data: Any,
    *,
    steps: int,
    batch_size: int | None = None,
    sampler: Sampler = epoch_batches,
    rows: Array | None = None,
    state: Any = None,
    evaluate: Evaluate | None = None,
    held_out: Any = None,
    record_every: int = 1,
    early_stopping: EarlyStopping | None = None,
    chunk: int = 1000,
    progress: bool | Callable[[int], object] = False,
    callback: Callback | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
) -> Fit:
    """Minimize a loss by gradient steps.

    The steps run as compiled scans of about ``chunk`` steps; between them the host
    moves the progress bar. If a loss or a parameter is not finite, training stops
    with a warning that names the step and keeps the last finite parameters. Under
    ``vmap`` or ``jit`` of the caller there is no host to look: the run goes to its
    end, a member that fails or stops early stays where it was, and ``failed_at`` and
    ``stopped_at`` say so.

    An optimizer whose update takes them, by name or as ``**extra``, is given
    ``value`` (of the loss, at the parameters), ``grad``, ``batch``, and
    ``value_fn(params, batch)``, the loss with the state and the key of this step, by
    default of its batch. So ``optax.lbfgs`` and line searches work as they are.

    Args:
        key: PRNG key, for mini-batches and for the loss.
        loss: ``loss(params, state, batch, key) -> (scalar, (state, metrics))``,
            metrics a dict of arrays. `jaxdl.train.supervised` builds one.
        params: Where to start: any pytree of floating-point arrays.
        optimizer: A gradient transformation of `jaxdl.optim` or of optax.
        data: Pytree of arrays with the n examples along their first axis. Integer
            labels are not checked here (see `jaxdl.train.check_labels`).
        steps: How many updates, ``>= 1``.
        batch_size: Examples a step; None for all of them.
        sampler: How batches are drawn: `jaxdl.train.epoch_batches`, without
            replacement within an epoch, or `jaxdl.train.random_batches`, with.
        rows: ``(r,)`` integers in 0..n-1, the examples to train on, some perhaps more
            than once (see `jaxdl.train.bootstrap_rows`); None for all.
        state: The model's state, such as running statistics; None for none.
        evaluate: ``evaluate(params, state, held_out) -> dict`` of arrays, called
            after the last update of each record. `jaxdl.train.evaluator` builds one.
        held_out: What ``evaluate`` gets, such as test data; any pytree of arrays.
        record_every: Updates a record; divides ``steps``. A record is the mean of
            ``"loss"`` and of each metric over its updates, taken before each, and
            what ``evaluate`` returns after the last.
        early_stopping: When to stop before the end; the parameters are then those of
            the best record, not the last.
        chunk: About how many steps to run between two looks of the host.
        progress: Whether to show a progress bar; or a function to call with the
            number of steps just done.
        callback: ``callback(snapshot)``, called at the end of each chunk, such as
            `jaxdl.train.Tracker`; training stops if it returns True. Set ``chunk`` to
            how often it shall look.
        checkpoint: A file to write at the end of each chunk, before the callback, and
            when interrupted. If it is there, training goes on from it and comes to
            the same bits as a run without interruption. What the loss and the
            optimizer compute cannot be compared; all else is.

    Returns:
        Parameters, states and history. After failing or stopping the history is NaN,
        and ends with its chunk.

    Raises:
        ValueError: If the sizes do not fit each other, or the checkpoint is damaged
            or of another run.

    Examples:
        >>> import jax.numpy as jnp
        >>> from jaxdl import optim
        >>> def loss(w, state, batch, key):
        ...     return jnp.mean((batch - w) ** 2) / 2, (state, {})
        >>> run = fit(jax.random.key(0), loss, jnp.array(9.0), optim.sgd(0.5),
        ...           jnp.arange(5.0), steps=40)
        >>> print(f"{run.params:.3f}")
        2.000
    """  # noqa: DOC502 - make_plan and drive raise it
    plan = make_plan(
        loss,
        optimizer,
        evaluate,
        steps=steps,
        batch_size=batch_size,
        sampler=sampler,
        record_every=record_every,
        early_stopping=early_stopping,
        data=data,
        rows=rows,
        example=optimizer,
    )
    return drive(
        partial(_advance, plan),
        plan,
        begin(plan, params, state, None),
        Inputs(data, held_out, key, rows, None),
        Host(chunk, progress, callback, checkpoint),
    )


_advance = jax.jit(advance, static_argnums=(0, 1))
