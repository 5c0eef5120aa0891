"""Train, and say at which step it went wrong."""

import math
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdl.progress import bar
from jaxdl.train.steps import Carry, Evaluate, Loss, Optimizer, Plan, advance, begin
from jaxdl.types import Array, Key, Params


class Snapshot(NamedTuple):
    """Where training is at the end of a chunk, as a callback sees it.

    In an ensemble all but ``step`` have the member axis first.
    """

    step: int  # updates done
    params: Params
    state: Any  # the model's state
    optimizer: Any  # the optimizer's state
    history: dict[str, Array]  # of the records of this chunk
    failed_at: Array  # () int32, the first update that was not finite; 0: none


Callback = Callable[[Snapshot], object]
"""Called by the host at the end of each chunk; training stops if it returns True."""


class Fit(NamedTuple):
    """A training run. In an ensemble all but ``steps`` have the member axis first."""

    params: Params  # the last finite ones
    state: Any  # the model's state
    optimizer: Any  # the optimizer's state
    steps: Array  # (r,) int32, updates done at each record
    history: dict[str, Array]  # (r, ...) each; NaN from the failure on
    failed_at: Array  # () int32, the first update that was not finite; 0: none


def fit(
    key: Key,
    loss: Loss,
    params: Params,
    optimizer: Optimizer,
    data: Any,
    *,
    steps: int,
    batch_size: int | None = None,
    state: Any = None,
    evaluate: Evaluate | None = None,
    held_out: Any = None,
    record_every: int = 1,
    chunk: int = 1000,
    progress: bool | Callable[[int], object] = False,
    callback: Callback | None = None,
) -> Fit:
    """Minimize a loss by gradient steps.

    The steps run as compiled scans of about ``chunk`` steps; between them the host
    moves the progress bar. If a loss or a parameter is not finite, training stops
    with a warning that names the step and keeps the last finite parameters. Under
    ``vmap`` or ``jit`` of the caller there is no host to look: the run goes to its
    end, a member that fails stays where it was, and ``failed_at`` says so.

    Args:
        key: PRNG key, for mini-batches and for the loss.
        loss: ``loss(params, state, batch, key) -> (scalar, (state, metrics))``,
            metrics a dict of arrays. `jaxdl.train.supervised` builds one.
        params: Where to start: any pytree of floating-point arrays.
        optimizer: A gradient transformation of `jaxdl.optim` or of optax.
        data: Pytree of arrays with the n examples along their first axis.
        steps: How many updates, ``>= 1``.
        batch_size: Examples a step, drawn without replacement within an epoch; None
            for all of them.
        state: The model's state, such as running statistics; None for none.
        evaluate: ``evaluate(params, state, held_out) -> dict`` of arrays, called
            after the last update of each record.
        held_out: What ``evaluate`` gets, such as test data; any pytree of arrays.
        record_every: Updates a record; divides ``steps``. A record is the mean of
            ``"loss"`` and of each metric over its updates, taken before each, and
            what ``evaluate`` returns after the last.
        chunk: About how many steps to run between two looks of the host.
        progress: Whether to show a progress bar; or a function to call with the
            number of steps just done.
        callback: ``callback(snapshot)``, called at the end of each chunk, such as
            `jaxdl.train.Tracker`; training stops if it returns True. Set ``chunk`` to
            how often it shall look.

    Returns:
        Parameters, states and history; after a failure, history up to its chunk.

    Raises:
        ValueError: If the sizes do not fit each other.

    Examples:
        >>> from jaxdl import optim
        >>> def loss(w, state, batch, key):
        ...     return jnp.mean((batch - w) ** 2) / 2, (state, {})
        >>> run = fit(jax.random.key(0), loss, jnp.array(9.0), optim.sgd(0.5),
        ...           jnp.arange(5.0), steps=40)
        >>> print(f"{run.params:.3f}")
        2.000
    """  # noqa: DOC502 - make_plan raises it
    plan = make_plan(loss, optimizer, evaluate, steps, batch_size, record_every, data)
    return drive(
        lambda n, carry: _advance(plan, n, carry, data, held_out, key),
        plan,
        begin(params, state, optimizer),
        chunk=chunk,
        progress=progress,
        callback=callback,
        traced=_is_traced((key, params, state, data, held_out)),
    )


_advance = jax.jit(advance, static_argnums=(0, 1))


def make_plan(
    loss: Loss,
    optimizer: Optimizer,
    evaluate: Evaluate | None,
    steps: int,
    batch_size: int | None,
    record_every: int,
    data: Any,
) -> Plan:
    """Check the sizes of a training run.

    Args:
        loss: As in `fit`.
        optimizer: As in `fit`.
        evaluate: As in `fit`.
        steps: As in `fit`.
        batch_size: As in `fit`.
        record_every: As in `fit`.
        data: As in `fit`, or its shapes, of one member.

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
    if batch_size is not None and not 1 <= batch_size <= n:
        raise ValueError(f"batch_size must lie in 1..{n}, got {batch_size}")
    return Plan(
        loss, optimizer, evaluate, batch_size, record_every, steps // record_every
    )


def drive(
    stretch: Callable[[int, Carry], tuple[Carry, dict[str, Array]]],
    plan: Plan,
    carry: Carry,
    *,
    chunk: int,
    progress: bool | Callable[[int], object],
    callback: Callback | None,
    traced: bool = False,
    record_axis: int = 0,
) -> Fit:
    """Call a compiled stretch until all records are there or all members failed.

    Args:
        stretch: ``stretch(n_records, carry) -> (carry, history)``.
        plan: What is trained.
        carry: From `begin`.
        chunk: About how many steps a stretch has.
        progress: As in `fit`.
        callback: As in `fit`.
        traced: Whether the arrays are traced, so that the host cannot look.
        record_axis: The axis of records in each array of the history.

    Returns:
        The run.

    Raises:
        ValueError: If there is a callback, but no host to call it.
    """
    if traced and callback is not None:
        raise ValueError(
            "callback must be None under jit or vmap, where there is no host to call "
            "it; use evaluate, or fit_ensemble"
        )
    total = plan.n_records
    size = total if traced else _stretch_size(total, chunk // plan.record_every)
    done, parts = 0, []
    shown = progress is True and not traced
    with bar(total * plan.record_every, "training", show=shown) as drawn:
        report = progress if callable(progress) else drawn.update
        while done < total:
            n = min(size, total - done)
            carry, history = stretch(n, carry)
            done += n
            parts.append(history)
            if traced or _is_traced(carry):
                continue
            report(n * plan.record_every)
            step = done * plan.record_every
            if callback is not None and callback(_snapshot(step, carry, history)):
                break
            if bool(jnp.all(carry.failed_at > 0)):
                step = int(jnp.min(carry.failed_at))
                warnings.warn(
                    f"training stopped: update {step} was not finite (lower the "
                    "learning rate, or look at the data)",
                    RuntimeWarning,
                    stacklevel=3,
                )
                break
    history = jax.tree.map(lambda *rows: jnp.concatenate(rows, record_axis), *parts)
    steps = (1 + jnp.arange(done, dtype=jnp.int32)) * plan.record_every
    return Fit(
        carry.params, carry.state, carry.optimizer, steps, history, carry.failed_at
    )


def _snapshot(step: int, carry: Carry, history: dict[str, Array]) -> Snapshot:
    """What a callback gets."""
    where = carry.params, carry.state, carry.optimizer
    return Snapshot(step, *where, history, carry.failed_at)


def _stretch_size(total: int, wanted: int) -> int:
    """A divisor of ``total`` near ``wanted``: one program; else ``wanted`` itself."""
    wanted = max(1, min(wanted, total))
    for size in range(wanted, math.ceil(wanted / 2) - 1, -1):
        if total % size == 0:
            return size
    return wanted


def _is_traced(arrays: Any) -> bool:
    """Whether any array is a tracer, which lives on no device."""
    for leaf in jax.tree.leaves(arrays):
        if isinstance(leaf, jax.Array):
            try:
                leaf.devices()
            except jax.errors.ConcretizationTypeError:
                return True
    return False
