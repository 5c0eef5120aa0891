"""Run a sweep: every point once, the same numbers whatever interrupts it."""

import os
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxdl.progress import bar
from jaxdl.sweep import store
from jaxdl.sweep.files import DamagedError
from jaxdl.sweep.grid import Points, describe
from jaxdl.sweep.lock import locked
from jaxdl.sweep.outcome import Failure, Outcome, found_status
from jaxdl.sweep.plan import (
    Batch,
    Plan,
    check,
    filled,
    in_words,
    plan,
    prepare,
    resolved,
)
from jaxdl.sweep.program import Point

AHEAD = 1  # rounds that the devices are given before the first of them is fetched


def run(
    point: Point,
    sweep: Points,
    directory: str | os.PathLike[str] | None = None,
    *,
    seed: int = 0,
    batch_size: int | None = None,
    memory: int | None = None,
    method: str = "auto",
    shard: tuple[int, int] = (0, 1),
    progress: bool | Callable[[int], object] = True,
    callback: Callable[[Mapping[str, np.ndarray]], object] | None = None,
) -> Outcome:
    """Compute a function at every point of a sweep, many at once.

    Points of equal shapes share one compiled program and go through it in batches of
    one size, one batch for each local device at a time. With a directory, each batch
    is on the disk before the next one is waited for, and the same call goes on where
    the last one ended, however it ended: killed, interrupted, or by an error. The
    numbers are equal bit by bit whatever was interrupted, however batches are shared
    between shards and whatever the number of devices, as long as the sizes of batches
    (kept in the directory), the kind of device and the version of JAX are the same.

    Args:
        point: ``point(key, **values)`` to a pytree of metrics, for one point; pure.
            The key is ``fold_in(key(seed), number of the point)``. Axes of values
            come as traced arrays, axes of shapes as Python values.
        sweep: An axis, or axes joined by `product` and `zipped`.
        directory: Where to keep results; it is made if it is not there. None keeps
            them in memory only.
        seed: Of the key that all keys come from.
        batch_size: As in `plan`; None also stands for the sizes in the directory.
        memory: As in `plan`.
        method: As in `plan`; ``"fastest"`` also stands for that of the directory, and
            two machines can find different ones.
        shard: ``(i, n)`` computes every n-th batch from batch ``i`` on, for machines
            that know nothing of each other; each needs a directory of its own, and
            `merge` brings these together. Sizes of batches must be equal: give
            ``batch_size`` where machines differ.
        progress: Whether to show a bar; or a function of the number of points that
            are newly done.
        callback: A function of the columns of each finished batch, as for a tracker.

    Returns:
        The results, and how it went. Points with NaN or infinite metrics are among
        the results, are counted, and are listed in ``status.nonfinite``.

    Raises:
        ValueError: If an argument is not as in `plan`, or the directory cannot be
            written to, has another writer, or another sweep; the message names what
            differs.

    Warns:
        RuntimeWarning: At the end, if a program failed, which does not stop the
            others and is tried again by the next call; and if a damaged file was
            found, whose batch is computed again.

    Examples:
        >>> from jaxdl.sweep import product, values
        >>> def point(key, rate, steps):
        ...     return {"error": (1 - rate) ** steps}
        >>> grid = product(values("rate", [0.5, 1.0]), values("steps", [1, 2]))
        >>> run(point, grid, progress=False).results["error"]
        array([0.5 , 0.25, 0.  , 0.  ], dtype=float32)
    """
    check(point, sweep, batch_size, memory, method, shard)
    if not isinstance(seed, int | np.integer) or isinstance(seed, bool):
        raise ValueError(f"seed must be an integer, got {seed!r}")
    settings = {
        "batch_size": batch_size,
        "memory": memory,
        "method": method,
        "shard": shard,
    }
    watch = (progress, callback)
    if directory is None:
        return _run(point, sweep, None, int(seed), settings, watch)
    folder = Path(directory)
    with locked(folder):
        return _run(point, sweep, folder, int(seed), settings, watch)


def _run(point, sweep, folder, seed, settings, watch):
    """The run, with the directory locked."""
    planned, programs, run_, kept = _begun(point, sweep, folder, seed, settings)
    batches = dict(kept.batches)
    failed = {i: bucket.failed for i, bucket in enumerate(planned.buckets)}
    failed = {i: why for i, why in failed.items() if why}
    mine = {n for i in range(len(planned.buckets)) for n in planned.batches(i)}
    before = sum(len(batches[n]["point"]) for n in mine & set(batches))
    total = sum(len(planned.batch(n).points) for n in mine)
    computed = 0
    if folder is not None:
        store.write_failures(folder, _failures(planned, failed))
    progress, callback = watch
    with bar(total, "sweep", show=progress is True) as drawn:
        report = progress if callable(progress) else drawn.update
        if before:
            report(before)
        for batch, found in _computed(planned, programs, seed, set(batches), failed):
            if found is None:
                if folder is not None:
                    store.write_failures(folder, _failures(planned, failed))
                continue
            if folder is not None:
                store.write_batch(folder, run_, batch.number, found)
            batches[batch.number] = found
            computed += len(batch.points)
            report(len(batch.points))
            if callback is not None:
                callback(found)
    results = store.assemble(sweep, run_.metrics, batches)
    failures = _failures(planned, failed)
    _warn(failures, kept.damaged, folder)
    status = found_status(
        results,
        run_.metrics,
        n_points=len(sweep),
        batches=(len(batches), planned.n_batches),
        failures=failures,
        damaged=(),
    )
    return Outcome(results, status, computed, kept.damaged)


def _begun(
    point: Point,
    sweep: Points,
    folder: Path | None,
    seed: int,
    settings: dict[str, Any],
) -> tuple[Plan, dict[int, Any], store.Run, store.Kept]:
    """The plan, its programs, and what there is already."""
    sizes, there, damaged = settings["batch_size"], None, ()
    if folder is not None:
        store.remove_leftovers(folder)
        try:
            there = store.read_run(folder) if (folder / store.RUN).exists() else None
        except DamagedError:
            damaged = (store.RUN,)
    method = resolved(settings["method"])
    if method == "fastest":
        known = there.config["method"] if there else None
        method = known or plan(point, sweep, **settings).method
    config = _config(sweep, seed, method)
    if folder is not None and there is not None:
        known = there.config["batch_size"]
        wanted = known if sizes is None else [sizes] * len(known)
        # Before anything is compiled, and before sizes of other buckets are used.
        here = there._replace(config={**config, "batch_size": wanted})
        store.joined(here, there, folder)
        sizes = wanted
    planned, programs = prepare(
        point,
        sweep,
        sizes=sizes,
        memory=settings["memory"],
        method=method,
        shard=settings["shard"],
    )
    config["batch_size"] = [bucket.batch_size for bucket in planned.buckets]
    run_ = store.Run(
        config,
        tuple(b.traced.digest if b.traced else "" for b in planned.buckets),
        planned.n_batches,
        sweep,
        planned.metrics,
    )
    if folder is None:
        return planned, programs, run_, store.Kept({}, ())
    if there is not None:
        run_ = store.joined(run_, there, folder)
    kept = store.read_batches(folder, run_)
    if there is None or there.programs != run_.programs:
        store.write_run(folder, run_)
    return planned, programs, run_, kept._replace(damaged=(*damaged, *kept.damaged))


def _config(sweep: Points, seed: int, method: str) -> dict[str, Any]:
    """All that numbers depend on, but for programs and sizes of batches."""
    said = describe(sweep)
    layout = said.pop("axes")
    return {
        "axes": layout,
        **{f"axis {name}": text for name, text in said.items()},
        "seed": seed,
        "method": method,
        "platform": jax.local_devices()[0].device_kind,
        "jax": jax.__version__,
        "64 bits": bool(jax.config.jax_enable_x64),
        "matmul precision": jax.config.jax_default_matmul_precision,
        "random numbers": str(jax.config.jax_default_prng_impl),
    }


def _computed(
    planned: Plan,
    programs: Mapping[int, Any],
    seed: int,
    done: set[int],
    failed: dict[int, str],
) -> Iterator[tuple[Batch, dict[str, np.ndarray] | None]]:
    """Each batch that is not done; None for one whose program fails as it runs."""
    root = jax.random.key(seed)
    for i, bucket in enumerate(planned.buckets):
        if i not in programs:
            continue
        pending = [planned.batch(n) for n in planned.batches(i) if n not in done]
        rounds = deque(
            pending[k : k + planned.n_devices]
            for k in range(0, len(pending), planned.n_devices)
        )
        waiting: deque[tuple[list[Batch], Any]] = deque()
        while rounds or waiting:
            batches = rounds[0] if not waiting else waiting[0][0]
            try:
                while rounds and len(waiting) <= AHEAD:
                    batches = rounds.popleft()
                    fill = [batches[-1]] * (planned.n_devices - len(batches))
                    points = [batch.points for batch in (*batches, *fill)]
                    begun = programs[i](root, *filled(planned, points, bucket))
                    waiting.append((batches, begun))
                batches, begun = waiting.popleft()
                leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(begun)]
            except Exception as error:  # whatever the device raises
                failed[i] = in_words(error)
                yield batches[0], None
                break
            for k, batch in enumerate(batches):
                start = k * bucket.batch_size
                rows = slice(start, start + len(batch.points))
                metrics = zip(planned.metrics, leaves, strict=True)
                yield (
                    batch,
                    {
                        "point": batch.points,
                        **{metric.name: leaf[rows].copy() for metric, leaf in metrics},
                    },
                )


def _failures(planned: Plan, failed: Mapping[int, str]) -> list[Failure]:
    """The programs that failed."""
    return [
        Failure(planned.buckets[i].shapes, planned.buckets[i].n_points, why)
        for i, why in sorted(failed.items())
    ]


def _warn(failures, damaged, folder):
    """Say at the end what the numbers do not."""
    for failure in failures:
        warnings.warn(
            f"no results for {failure.n_points} points of "
            f"{failure.shapes or 'the sweep'}: {failure.error}",
            RuntimeWarning,
            stacklevel=4,
        )
    if damaged:
        names = ", ".join(str(folder / name) for name in damaged)
        warnings.warn(
            f"damaged, and written again: {names}", RuntimeWarning, stacklevel=4
        )
