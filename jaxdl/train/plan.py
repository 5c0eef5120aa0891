"""Check a training run before it is compiled."""

import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxdl.train.early_stopping import EarlyStopping, check_early_stopping
from jaxdl.train.sampling import Sampler, epoch_batches
from jaxdl.train.steps import Evaluate, Loss, Optimizer, Plan
from jaxdl.types import Array

_OFFERED = ("value", "grad", "value_fn", "batch")  # by `advance`


def make_plan(
    loss: Loss,
    optimizer: Optimizer | Callable[..., Optimizer],
    evaluate: Evaluate | None,
    *,
    steps: int,
    batch_size: int | None,
    sampler: Sampler,
    record_every: int,
    early_stopping: EarlyStopping | None,
    data: Any,
    rows: Array | None,
    example: Optimizer,
) -> Plan:
    """Check the sizes of a training run.

    Args:
        loss: As in `fit`.
        optimizer: As in `fit`, or what makes one of hyperparameters.
        evaluate: As in `fit`.
        steps: As in `fit`.
        batch_size: As in `fit`.
        sampler: As in `fit`.
        record_every: As in `fit`.
        early_stopping: As in `fit`.
        data: As in `fit`, or its shapes, of one member.
        rows: As in `fit`, or their shape, of one member.
        example: The optimizer, or one that ``optimizer`` makes.

    Returns:
        The plan.

    Raises:
        ValueError: If the sizes do not fit each other.
    """
    for name, count in (("steps", steps), ("record_every", record_every)):
        if not isinstance(count, int) or count < 1:
            raise ValueError(f"{name} must be a positive integer, got {count!r}")
    if steps % record_every:
        raise ValueError(f"record_every must divide steps={steps}, got {record_every}")
    lengths = {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves(data)}
    if len(lengths) != 1 or lengths & {(), (0,)}:
        raise ValueError(
            "data must hold arrays with the same number of examples, at least one, "
            f"along their first axis; got lengths {sorted(lengths)}"
        )
    ((n,),) = lengths
    if rows is not None:
        if len(rows.shape) != 1 or not jnp.issubdtype(rows.dtype, jnp.integer):
            raise ValueError(
                "rows must be (r,) integers, of each member, got shape "
                f"{rows.shape} and dtype {rows.dtype}"
            )
        n = rows.shape[0]
    least, most = 1, n if sampler is epoch_batches else float("inf")
    if batch_size is None:
        if sampler is not epoch_batches:
            raise ValueError("batch_size must be given for a sampler, got None")
    elif not least <= batch_size <= most:
        raise ValueError(f"batch_size must lie in 1..{most}, got {batch_size}")
    check_early_stopping(early_stopping)
    return Plan(
        loss,
        optimizer,
        _extra_arguments(example),
        evaluate,
        batch_size,
        sampler,
        record_every,
        steps // record_every,
        early_stopping,
    )


def _extra_arguments(optimizer: Optimizer) -> tuple[str, ...]:
    """Which of the arguments that training offers the optimizer's update takes."""
    parameters = inspect.signature(optimizer.update).parameters
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
        return _OFFERED
    by_name = list(parameters)[2:]  # after the gradients and the state
    return tuple(name for name in _OFFERED if name in by_name)
