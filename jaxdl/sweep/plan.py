"""What a sweep will do: its points in buckets, its buckets in batches.

A bucket has the points of equal shapes, in order, and one compiled program. Its
batches have one fixed size; the last one repeats its last point. Which points share a
batch follows from the sweep and the sizes of batches alone, so no number depends on
what was done before, by whom, or in which order.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxdl.sweep.grid import Axis, Points, Sweep, axes_of, columns, places
from jaxdl.sweep.program import (
    METHODS,
    Metric,
    Point,
    Traced,
    compiled,
    memory_of,
    trace,
)

CHOICES = ("auto", "fastest")
LARGEST = 1024  # points in a batch, unless asked for: what a kill can lose
TIMED = 2  # runs of a batch, of which the faster one counts
CPU_MEMORY = 2**30  # bytes, where the platform does not say what it has
SHARE = 0.8  # of a device's memory


class Batch(NamedTuple):
    """Some points that are computed at once on one device."""

    number: int  # in the sweep
    bucket: int
    points: np.ndarray  # their numbers, without the repeated ones


@dataclass(frozen=True)
class Bucket:
    """The points of one program."""

    shapes: dict[str, Any]
    start: int  # in the order of the plan
    n_points: int
    batch_size: int = 1
    first_batch: int = 0
    memory: int = 0  # bytes a device, as measured; 0 where it is not known
    seconds: float | None = None  # a batch, where it was timed
    traced: Traced | None = None
    failed: str = ""  # why it has no program

    @property
    def n_batches(self) -> int:
        """How many batches its points fill."""
        return -(-self.n_points // self.batch_size)


@dataclass(frozen=True, eq=False)
class Plan:
    """What a sweep will do; ``print(plan)`` says it."""

    sweep: Points
    order: np.ndarray  # numbers of the points, bucket by bucket
    buckets: tuple[Bucket, ...]
    method: str
    platform: str
    n_devices: int
    memory: int  # the budget, bytes a device
    shard: tuple[int, int]

    @property
    def n_batches(self) -> int:
        """Batches of all shards."""
        return sum(bucket.n_batches for bucket in self.buckets)

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """What each point returns; none if no bucket has a program."""
        known = (bucket.traced for bucket in self.buckets if bucket.traced)
        return next((traced.metrics for traced in known), ())

    @property
    def seconds(self) -> float | None:
        """How long this shard takes; None where a bucket was not timed."""
        total = 0.0
        for i, bucket in enumerate(self.buckets):
            if bucket.failed:
                continue
            if bucket.seconds is None:
                return None
            rounds = -(-len(self.batches(i)) // self.n_devices)
            total += rounds * bucket.seconds
        return total

    def batches(self, bucket: int) -> range:
        """The numbers of a bucket's batches in this shard."""
        of = self.buckets[bucket]
        i, n = self.shard
        first = of.first_batch + (i - of.first_batch) % n
        return range(first, of.first_batch + of.n_batches, n)

    def batch(self, number: int) -> Batch:
        """One batch of the sweep."""
        ends = [bucket.first_batch + bucket.n_batches for bucket in self.buckets]
        i = int(np.searchsorted(ends, number, side="right"))
        bucket = self.buckets[i]
        first = (number - bucket.first_batch) * bucket.batch_size
        stop = min(first + bucket.batch_size, bucket.n_points)
        return Batch(number, i, self.order[bucket.start + first : bucket.start + stop])

    def __str__(self) -> str:
        """A dry run in words."""
        i, n = self.shard
        lines = [
            f"{len(self.order)} points, {len(self.buckets)} programs, "
            f"{self.n_batches} batches by {self.method} on {self.n_devices} x "
            f"{self.platform}, at most {self.memory / 2**20:.0f} MiB each"
        ]
        if n > 1:
            mine = sum(len(self.batches(k)) for k in range(len(self.buckets)))
            lines.append(f"shard {i} of {n}: {mine} batches")
        for bucket in self.buckets:
            shapes = ", ".join(f"{k}={v!r}" for k, v in bucket.shapes.items())
            line = (
                f"  {shapes or 'all'}: {bucket.n_points} points in {bucket.n_batches} "
                f"batches of {bucket.batch_size}"
            )
            if bucket.memory:
                line += f", {bucket.memory / 2**20:.3g} MiB"
            if bucket.seconds is not None:
                line += f", {bucket.seconds:.3g} s a batch"
            lines.append(line + (f"; FAILS: {bucket.failed}" if bucket.failed else ""))
        if self.seconds is not None:
            lines.append(f"estimate: {self.seconds:.3g} s")
        return "\n".join(lines)


def plan(
    point: Point,
    sweep: Points,
    *,
    batch_size: int | None = None,
    memory: int | None = None,
    method: str = "auto",
    shard: tuple[int, int] = (0, 1),
    estimate: bool = False,
) -> Plan:
    """Plan a sweep: trace and compile its programs, and run none of them.

    Args:
        point: ``point(key, **values)`` to a pytree of metrics; pure.
        sweep: An axis, or axes joined by `product` and `zipped`.
        batch_size: Points that a device computes at once; None for what the measured
            memory allows, 1024 at most, and at least a batch for each device and
            shard where there are so many points.
        memory: Bytes that a program may need on a device; None for 80 % of the
            device's, or 1 GiB where it does not say.
        method: ``"vmap"``; or ``"map"``, one point after the other in one program,
            which needs far less memory, and on a CPU can be faster where a batch of
            points does not fit its caches; ``"fastest"`` compiles both, times a batch
            of each and takes the faster; ``"auto"`` is ``"vmap"``.
        shard: ``(i, n)`` for the part ``i`` of ``n``, from 0.
        estimate: Whether to run one batch of each program and tell the time.

    Returns:
        The plan. A program that cannot be traced or compiled, or that needs more
        memory with one point, is in it, with its error.

    Raises:
        ValueError: If an argument is not as above, or programs return metrics that
            differ in name, shape or dtype, or are named like an axis.

    Examples:
        >>> def point(key, x, n):
        ...     return {"sum": x * jax.random.normal(key, (n,)).sum()}
        >>> from jaxdl.sweep import product, shapes, values
        >>> grid = product(shapes("n", [2, 4]), values("x", [0.5, 1.0, 2.0]))
        >>> plan(point, grid, batch_size=2).n_batches
        4
    """  # noqa: DOC502 - prepare raises it
    if method == "fastest":
        how = {"batch_size": batch_size, "memory": memory, "shard": shard}
        plans = [
            plan(point, sweep, **how, method=one, estimate=True) for one in METHODS
        ]
        # A method by which more programs fail is not the faster one.
        return min(
            plans, key=lambda p: (sum(bool(b.failed) for b in p.buckets), p.seconds)
        )
    planned, programs = prepare(
        point,
        sweep,
        sizes=batch_size,
        memory=memory,
        method=method,
        shard=shard,
    )
    if not estimate:
        return planned
    buckets = []
    for i, bucket in enumerate(planned.buckets):
        if i in programs:
            numbers = planned.batch(bucket.first_batch).points
            arguments = filled(planned, [numbers] * planned.n_devices, bucket)
            root = jax.random.key(0)
            jax.block_until_ready(programs[i](root, *arguments))
            times = []
            for _ in range(TIMED):
                start = perf_counter()
                jax.block_until_ready(programs[i](root, *arguments))
                times.append(perf_counter() - start)
            bucket = replace(bucket, seconds=min(times))
        buckets.append(bucket)
    return replace(planned, buckets=tuple(buckets))


def prepare(
    point: Point,
    sweep: Points,
    *,
    sizes: int | Sequence[int] | None,
    memory: int | None,
    method: str,
    shard: tuple[int, int],
) -> tuple[Plan, dict[int, Any]]:
    """A plan and its programs.

    Args:
        point: As in `plan`.
        sweep: As in `plan`.
        sizes: A batch size, one for each bucket, or None.
        memory: As in `plan`.
        method: As in `plan`.
        shard: As in `plan`.

    Returns:
        The plan, and the programs by the number of their bucket.

    Raises:
        ValueError: As in `plan`.
    """  # noqa: DOC502 - check and _check_metrics raise it
    check(point, sweep, sizes, memory, method, shard)
    devices = jax.local_devices()
    budget = _budget(devices[0]) if memory is None else int(memory)
    method = resolved(method)
    order, grouped = group(sweep)
    axes = {k: axis for k, axis in axes_of(sweep).items() if not axis.is_shape}
    buckets, programs, first = [], {}, 0
    for i, bucket in enumerate(grouped):
        size = sizes if sizes is None or isinstance(sizes, int) else sizes[i]
        program = None

        def build(n, bucket=bucket):
            return compiled(point, axes, bucket.shapes, n, method, devices)

        try:
            traced = trace(point, axes, bucket.shapes)
            size, needs, program = _fitted(
                build, bucket.n_points, size, budget, len(devices) * shard[1]
            )
            bucket = replace(bucket, traced=traced, memory=needs)
            if program is None:
                failed = f"one point needs {needs} bytes, memory is {budget}"
                bucket = replace(bucket, failed=failed)
        except Exception as error:  # whatever the point raises
            bucket = replace(bucket, failed=in_words(error))
        if size is None:
            size = _even(bucket.n_points, LARGEST, len(devices) * shard[1])
        bucket = replace(bucket, batch_size=size, first_batch=first)
        if program is not None:
            programs[i] = program
        first += bucket.n_batches
        buckets.append(bucket)
    _check_metrics(buckets, axes_of(sweep))
    return (
        Plan(
            sweep,
            order,
            tuple(buckets),
            method,
            devices[0].platform,
            len(devices),
            budget,
            shard,
        ),
        programs,
    )


def group(sweep: Points) -> tuple[np.ndarray, list[Bucket]]:
    """Put points of equal shapes together.

    Args:
        sweep: It.

    Returns:
        All numbers of points, bucket by bucket and each in order, and the buckets, by
        their first points.
    """
    numbers = np.arange(len(sweep))
    axes = {k: axis for k, axis in axes_of(sweep).items() if axis.is_shape}
    where = places(sweep, numbers)
    code = np.zeros(len(sweep), np.int64)
    for name, axis in axes.items():
        code = code * len(axis.levels) + where[name]
        _, code = np.unique(code, return_inverse=True)  # stays below the points
    _, firsts, code, sizes = np.unique(
        code, return_index=True, return_inverse=True, return_counts=True
    )
    rank = np.empty(len(firsts), np.int64)
    rank[np.argsort(firsts)] = np.arange(len(firsts))
    order = np.argsort(rank[code], kind="stable")
    buckets, start = [], 0
    for i in np.argsort(firsts):
        levels = {
            name: axis.levels[int(where[name][firsts[i]])]
            for name, axis in axes.items()
        }
        buckets.append(Bucket(levels, start, int(sizes[i])))
        start += int(sizes[i])
    return order, buckets


def filled(planned: Plan, batches: Sequence[np.ndarray], bucket: Bucket) -> tuple:
    """What a program takes for some batches, one for each device.

    Args:
        planned: The plan.
        batches: Numbers of points, at most the size of a batch each.
        bucket: Theirs.

    Returns:
        Numbers and values; each batch repeats its last point up to its size.
    """
    size = bucket.batch_size
    numbers = np.concatenate([
        points[np.minimum(np.arange(size), len(points) - 1)] for points in batches
    ])
    given = columns(planned.sweep, numbers)
    given = {name: x for name, x in given.items() if name not in bucket.shapes}
    return numbers.astype(np.uint32), given


def resolved(method: str) -> str:
    """The method that ``"auto"`` stands for.

    Args:
        method: As in `plan`.

    Returns:
        One of the methods.
    """
    return "vmap" if method == "auto" else method


def in_words(error: Exception) -> str:
    """An error in at most 2,000 characters, from both ends.

    Args:
        error: It.

    Returns:
        Its type and message.
    """
    text = f"{type(error).__name__}: {error}"
    return text if len(text) <= 2000 else f"{text[:495]} ... {text[-1500:]}"


def check(
    point: Any, sweep: Any, sizes: Any, memory: Any, method: Any, shard: Any
) -> None:
    """Refuse what is no argument of `plan`.

    Args:
        point: As in `plan`.
        sweep: As in `plan`.
        sizes: As in `prepare`.
        memory: As in `plan`.
        method: As in `plan`.
        shard: As in `plan`.

    Raises:
        ValueError: If one is not.
    """
    if not callable(point):
        raise ValueError(f"point must be a function, got {point!r}")
    if not isinstance(sweep, Axis | Sweep):
        raise ValueError(f"sweep must be of axes, got {type(sweep).__name__}")
    for name, number in (("batch_size", sizes), ("memory", memory)):
        if name == "batch_size" and isinstance(number, list):
            continue
        if number is not None and not _is_positive(number):
            raise ValueError(
                f"{name} must be a positive integer or None, got {number!r}"
            )
    if method not in (*CHOICES, *METHODS):
        raise ValueError(
            f"method must be one of {(*CHOICES, *METHODS)}, got {method!r}"
        )
    if (
        not isinstance(shard, tuple)
        or len(shard) != 2
        or not all(isinstance(x, int) for x in shard)
        or not 0 <= shard[0] < shard[1]
    ):
        raise ValueError(f"shard must be (i, n) with 0 <= i < n, got {shard!r}")


def _is_positive(number):
    """Whether it is a positive integer."""
    return isinstance(number, int) and not isinstance(number, bool) and number > 0


def _budget(device):
    """Bytes that a program may need."""
    stats = device.memory_stats() if device.platform != "cpu" else None
    return int(SHARE * stats["bytes_limit"]) if stats else CPU_MEMORY


def _even(count, largest, workers):
    """The size of batches that hardly need filling, and keep all workers busy."""
    batches = -(-count // largest)
    batches = min(-(-batches // workers) * workers, count)
    return -(-count // batches)


def _fitted(
    build: Callable[[int], Any],
    count: int,
    size: int | None,
    budget: int,
    workers: int,
) -> tuple[int, int, Any]:
    """The size of batches, what they need, and their program; None if it is too big."""
    if size is not None:
        program = build(size)
        return size, memory_of(program), program
    size = _even(count, LARGEST, workers)
    while True:
        program = build(size)
        needs = memory_of(program)
        if needs <= budget:
            return size, needs, program
        if size == 1:
            return size, needs, None
        fits = max(1, min(size // 2, size * budget // needs))
        size = _even(count, fits, workers)


def _check_metrics(buckets, axes):
    """Refuse programs that return different things.

    Raises:
        ValueError: If they do, or a metric has the name of an axis.
    """
    known = [bucket for bucket in buckets if bucket.traced]
    for bucket in known:
        here, there = bucket.traced.metrics, known[0].traced.metrics
        if here != there:
            raise ValueError(
                "point must return the same metrics for all shapes, got "
                f"{[tuple(x) for x in here]} for {bucket.shapes} and "
                f"{[tuple(x) for x in there]} for {known[0].shapes}"
            )
        for metric in here:
            if metric.name in axes or metric.name == "point":
                raise ValueError(
                    "point must not name a metric 'point' or like an axis, got "
                    f"{metric.name}"
                )
