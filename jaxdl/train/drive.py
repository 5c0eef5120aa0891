"""The host's side of training: between compiled stretches it looks, keeps and stops."""

import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdl.progress import bar
from jaxdl.train.checkpoint import digest, load_checkpoint, read_about, save_checkpoint
from jaxdl.train.early_stopping import restore
from jaxdl.train.sampling import divisor_near
from jaxdl.train.steps import Carry, Inputs, Plan, going
from jaxdl.types import Array, Params


class Snapshot(NamedTuple):
    """Where training is at the end of a chunk, as a callback sees it.

    In an ensemble all but ``step`` have the member axis first.
    """

    step: int  # updates done
    params: Params  # after them
    state: Any  # the model's state
    optimizer: Any  # the optimizer's state
    history: dict[str, Array]  # of the records of this chunk
    failed_at: Array  # () int32, the first update that was not finite; 0: none
    stopped_at: Array  # () int32, updates done at early stopping; 0: it goes on


Callback = Callable[[Snapshot], object]
"""Called by the host at the end of each chunk; training stops if it returns True."""


class Fit(NamedTuple):
    """A training run. In an ensemble all but ``steps`` have the member axis first."""

    params: Params  # the last finite ones; of the best record under early stopping
    state: Any  # the model's state then
    optimizer: Any  # the optimizer's state after the last update
    steps: Array  # (r,) int32, updates done at each record
    history: dict[str, Array]  # (r, ...) each; NaN from failure or after stopping on
    failed_at: Array  # () int32, the first update that was not finite; 0: none
    stopped_at: Array  # () int32, updates done at early stopping; 0: it was not
    best_step: Array  # () int32, updates done at the best record; 0: none


@dataclass(frozen=True)
class Host:
    """What the host does between stretches."""

    chunk: int  # about how many steps a stretch has
    progress: bool | Callable[[int], object]
    callback: Callback | None
    checkpoint: str | os.PathLike[str] | None


class _Reached(NamedTuple):
    """What has been computed; replaced as a whole, so that an interruption fits."""

    done: int  # records
    carry: Carry
    history: tuple[dict[str, Array], ...]  # in parts


Stretch = Callable[[int, Carry, Inputs], tuple[Carry, dict[str, Array]]]
"""``stretch(n_records, carry, inputs) -> (carry, history)``."""


def drive(
    stretch: Stretch,
    plan: Plan,
    carry: Carry,
    inputs: Inputs,
    host: Host,
    *,
    record_axis: int = 0,
) -> Fit:
    """Call a compiled stretch until all records are there or all members have ended.

    Args:
        stretch: `advance`, compiled, perhaps of many members.
        plan: What is trained.
        carry: From `begin`.
        inputs: What the stretch gets.
        host: What to do between stretches.
        record_axis: The axis of records in each array of the history.

    Returns:
        The run.

    Raises:
        ValueError: If there is something to do for a host, but no host; or the
            checkpoint is not of this run.
    """  # noqa: DOC502 - _check_no_host and _load raise it
    traced = is_traced((carry, inputs))
    total, every = plan.n_records, plan.record_every
    size = total if traced else divisor_near(total, host.chunk // every)
    reached = kept = _Reached(0, carry, ())
    about = {}
    if traced:
        _check_no_host(host)
    elif host.checkpoint is not None:
        carry = jax.tree.map(_strong, carry)
        reached = kept = _Reached(0, carry, ())
        about = _about(plan, carry, inputs)
        if Path(host.checkpoint).exists():
            like = jax.eval_shape(partial(stretch, size), carry, inputs)
            reached = kept = _load(host.checkpoint, about, like, record_axis)
    shown = host.progress is True and not traced
    with bar(total * every, "training", show=shown) as drawn:
        report = host.progress if callable(host.progress) else drawn.update
        if reached.done:
            report(reached.done * every)
        over = not traced and _ended(reached.carry)
        try:
            while reached.done < total and not over:
                n = min(size, total - reached.done)
                carry, history = stretch(n, reached.carry, inputs)
                done, parts = reached.done + n, (*reached.history, history)
                reached = _Reached(done, carry, parts)
                if traced or is_traced(carry):
                    traced = True
                    _check_no_host(host)
                    continue
                if host.checkpoint is not None:
                    _save(about, reached, host, record_axis)
                    kept = reached
                report(n * every)
                if host.callback is not None and host.callback(
                    _snapshot(done * every, carry, history)
                ):
                    break
                over = _ended(carry)
        finally:
            if host.checkpoint is not None and kept is not reached:
                _save(about, reached, host, record_axis)
    return _result(plan, reached, record_axis)


def _ended(carry: Carry) -> bool:
    """Whether all members have failed or stopped, with a warning if all failed."""
    if bool(jnp.any(going(carry))):
        return False
    if bool(jnp.all(carry.failed_at > 0)):
        warnings.warn(
            f"training stopped: update {int(jnp.min(carry.failed_at))} was not finite "
            "(lower the learning rate, or look at the data)",
            RuntimeWarning,
            stacklevel=4,
        )
    return True


def _check_no_host(host: Host) -> None:
    """Refuse what only a host can do.

    Raises:
        ValueError: If there is such a thing.
    """
    for name in ("callback", "checkpoint"):
        if getattr(host, name) is not None:
            raise ValueError(
                f"{name} must be None under jit or vmap, where there is no host for "
                "it; use evaluate, or fit_ensemble"
            )


def _result(plan: Plan, reached: _Reached, record_axis: int) -> Fit:
    """The run, as far as it came."""
    carry = reached.carry
    params, state = carry.params, carry.state
    stopped_at = best_step = jnp.zeros_like(carry.failed_at)
    if carry.best is not None:
        params, state = restore(carry.best, params, state)
        stopped_at, best_step = carry.best.stopped_at, carry.best.step
    return Fit(
        params,
        state,
        carry.optimizer,
        (1 + jnp.arange(reached.done, dtype=jnp.int32)) * plan.record_every,
        _joined(reached, record_axis),
        carry.failed_at,
        stopped_at,
        best_step,
    )


def _joined(reached: _Reached, record_axis: int) -> dict[str, Array]:
    """The history in one piece."""
    return jax.tree.map(
        lambda *rows: jnp.concatenate(rows, record_axis), *reached.history
    )


def _snapshot(step: int, carry: Carry, history: dict[str, Array]) -> Snapshot:
    """What a callback gets."""
    where = carry.params, carry.state, carry.optimizer
    stopped_at = jnp.zeros_like(carry.failed_at)
    if carry.best is not None:
        stopped_at = carry.best.stopped_at
    return Snapshot(step, *where, history, carry.failed_at, stopped_at)


def _about(plan: Plan, carry: Carry, inputs: Inputs) -> dict[str, Any]:
    """What makes two runs the same, as far as one can see without reading code."""
    sampler = getattr(plan.sampler, "__qualname__", repr(plan.sampler))
    rule = plan.early_stopping
    return {
        "steps": plan.n_records * plan.record_every,
        "record_every": plan.record_every,
        "batch_size": plan.batch_size,
        "sampler": sampler,
        "early_stopping": None if rule is None else list(rule),
        "optimizer arguments": list(plan.extra),
        "params": digest((carry.params, carry.state)),
        "optimizer": digest(carry.optimizer),
        **{name: digest(leaf) for name, leaf in inputs._asdict().items()},
    }


def _save(about: dict, reached: _Reached, host: Host, record_axis: int) -> None:
    """Keep what has been computed."""
    assert host.checkpoint is not None
    if reached.done:
        tree = {"carry": reached.carry, "history": _joined(reached, record_axis)}
        save_checkpoint(host.checkpoint, tree, about | {"records": reached.done})


def _load(
    path: str | os.PathLike[str], about: dict[str, Any], like: Any, record_axis: int
) -> _Reached:
    """What a run before this one has computed; ``like`` is what a stretch returns.

    Raises:
        ValueError: If that run was not the same as this one.
    """
    found = read_about(path)
    done = found.pop("records", None)
    for name in sorted({*about, *found}):
        here, there = about.get(name), found.get(name)
        if here != there:
            raise ValueError(
                f"checkpoint {path} is of another run: {name} is {here!r} here and "
                f"{there!r} there; take another path to begin anew"
            )

    def so_far(leaf):
        shape = list(leaf.shape)
        shape[record_axis] = done
        return jax.ShapeDtypeStruct(shape, leaf.dtype)

    carry, history = like
    like = {"carry": carry, "history": jax.tree.map(so_far, history)}
    tree = load_checkpoint(path, like)
    return _Reached(done, tree["carry"], (tree["history"],))


def _strong(leaf: Any) -> Any:
    """The array with a dtype of its own, as a file keeps it: not weakly typed."""
    array = jnp.asarray(leaf)
    return array.astype(array.dtype) if getattr(array, "weak_type", False) else array


def is_traced(arrays: Any) -> bool:
    """Whether any array is a tracer, which lives on no device.

    Args:
        arrays: Any pytree.

    Returns:
        The answer.
    """
    for leaf in jax.tree.leaves(arrays):
        if isinstance(leaf, jax.Array):
            try:
                leaf.devices()
            except jax.errors.ConcretizationTypeError:
                return True
    return False
