"""A sweep on disk: what has been computed, whole, checked and told apart.

A directory has ``run.sweep`` (the configuration and the axes), ``batch-N.sweep`` for
each finished batch and, if a program failed, ``failures.sweep``. A batch carries the
hash of the configuration and of its program.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxdl.sweep import files
from jaxdl.sweep.files import DamagedError
from jaxdl.sweep.grid import Points, columns, from_plain, to_plain
from jaxdl.sweep.lock import holder, locked
from jaxdl.sweep.outcome import Failure, Status, found_status
from jaxdl.sweep.program import Metric

RUN, FAILURES = "run.sweep", "failures.sweep"
Directory = str | os.PathLike[str]


class Run(NamedTuple):
    """What a directory is for."""

    config: dict[str, Any]  # all that must be equal for the numbers to be
    programs: tuple[str, ...]  # the digest of each; empty where it failed
    n_batches: int
    points: Points
    metrics: tuple[Metric, ...]

    @property
    def identity(self) -> str:
        """The hash of the configuration."""
        text = json.dumps(self.config, sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


class Kept(NamedTuple):
    """What is intact in a directory, and what is not."""

    batches: dict[int, dict[str, np.ndarray]]
    damaged: tuple[str, ...]  # names of files


def results(directory: Directory, *, partial: bool = False) -> dict[str, np.ndarray]:
    """Read a sweep back.

    Args:
        directory: Of a run.
        partial: Whether to take what there is, if that is not all.

    Returns:
        Arrays with an entry for each point, in the order of their numbers: the number
        as ``"point"``, each axis, and each metric under its path in the pytree that
        the point returns (``"value"`` if that is an array).

    Raises:
        ValueError: If there is no sweep, or its description is damaged, or a point is
            missing and ``partial`` is False; the message says what and why.
    """
    run, kept = _opened(directory)
    found = assemble(run.points, run.metrics, kept.batches)
    if len(found["point"]) < len(run.points) and not partial:
        raise ValueError(
            f"partial must be True for a sweep that has not all of its points, got "
            f"{partial}:\n{status(directory)}"
        )
    return found


def table(
    directory: Directory, *, partial: bool = False, parquet: Directory | None = None
) -> dict[str, np.ndarray]:
    """A sweep as a table: one row a point, one number a column.

    Args:
        directory: Of a run.
        partial: As in `results`.
        parquet: A file to write it to, with polars.

    Returns:
        The columns of `results`; an array of a point becomes a column for each entry,
        named like ``history.0`` or ``matrix.1.2``.

    Raises:
        ValueError: As in `results`, or if two columns had the same name.
        ImportError: If ``parquet`` is given and polars is not installed.
    """
    found: dict[str, np.ndarray] = {}
    for name, array in results(directory, partial=partial).items():
        for index in np.ndindex(array.shape[1:]):
            column = ".".join([name, *map(str, index)])
            if column in found:
                raise ValueError(
                    f"metrics must have different columns, got {column} twice"
                )
            found[column] = array[(slice(None), *index)]
    if parquet is not None:
        try:
            polars = import_module("polars")
        except ImportError as error:
            raise ImportError("parquet is written by polars: install it") from error
        polars.DataFrame(found).write_parquet(parquet)
    return found


def status(directory: Directory) -> Status:
    """What a directory has: how much, what failed, what is damaged, what diverged.

    Args:
        directory: Of a run, which may be under way.

    Returns:
        It; ``print(status(directory))`` says it in words.

    Raises:
        ValueError: If there is no sweep, or its description is damaged.
    """  # noqa: DOC502 - _opened raises it
    run, kept = _opened(directory)
    return found_status(
        assemble(run.points, run.metrics, kept.batches),
        run.metrics,
        n_points=len(run.points),
        batches=(len(kept.batches), run.n_batches),
        failures=read_failures(Path(directory)),
        damaged=kept.damaged,
        writer=holder(Path(directory)),
    )


def merge(directories: Sequence[Directory], out: Directory) -> Status:
    """Bring the shards of one sweep together.

    Args:
        directories: Those of the shards, which are left as they are; damaged files in
            them are not taken over.
        out: Another directory, which is made, or has a part of the same sweep.

    Returns:
        The status of ``out``, with the names of the damaged files.

    Raises:
        ValueError: If the directories are of different sweeps, naming what differs;
            or have different numbers for one batch; or ``out`` is among them, or
            cannot be written to.
    """
    if not directories:
        raise ValueError("directories must be one or more, got none")
    target = Path(out)
    sources = [Path(directory) for directory in directories]
    if target.resolve() in [source.resolve() for source in sources]:
        raise ValueError(f"out must not be one of the directories, got {out}")
    with locked(target):
        run = read_run(target) if (target / RUN).exists() else None
        merged = dict(read_batches(target, run).batches) if run else {}
        failures: dict[str, Failure] = {}
        damaged: list[str] = []
        for source in sources:
            found, kept = _opened(source)
            run = found if run is None else joined(found, run, source)
            damaged += [str(source / name) for name in kept.damaged]
            failures |= {repr(f.shapes): f for f in read_failures(source)}
            for number, arrays in kept.batches.items():
                if number not in merged:
                    merged[number] = arrays
                elif not _same(merged[number], arrays):
                    raise ValueError(
                        f"directories must agree, got other numbers for batch {number} "
                        f"in {source}"
                    )
        assert run is not None
        write_run(target, run)
        there = read_batches(target, run).batches
        for number in sorted(set(merged) - set(there)):
            write_batch(target, run, number, merged[number])
        write_failures(target, list(failures.values()))
    found = status(target)
    return found._replace(damaged=(*found.damaged, *damaged))


def assemble(
    points: Points,
    metrics: Sequence[Metric],
    batches: Mapping[int, Mapping[str, np.ndarray]],
) -> dict[str, np.ndarray]:
    """Batches as one array a column, in the order of the points.

    Args:
        points: The sweep.
        metrics: What there is for each point.
        batches: By their numbers.

    Returns:
        The columns.
    """
    parts = list(batches.values())
    numbers = np.concatenate([np.zeros(0, np.int64), *(p["point"] for p in parts)])
    order = np.argsort(numbers, kind="stable")
    found = {"point": numbers[order], **columns(points, numbers[order])}
    for metric in metrics:
        empty = np.zeros((0, *metric.shape), jnp.dtype(metric.dtype))
        found[metric.name] = np.concatenate([empty, *(p[metric.name] for p in parts)])[
            order
        ]
    return found


def joined(here: Run, there: Run, directory: Path) -> Run:
    """One run of two descriptions of it; a program may have failed in one of them.

    Args:
        here: What is to be done.
        there: What has been done.
        directory: Where, for messages.

    Returns:
        The run, with the programs that either has.

    Raises:
        ValueError: If they differ; the message names what.
    """
    differs = [
        f"{name} is {here.config.get(name)!r} here and {there.config.get(name)!r} there"
        for name in {**there.config, **here.config}
        if here.config.get(name) != there.config.get(name)
    ]
    if not differs:
        differs = [
            f"the program of bucket {i} (the code of point, or an array in it) is "
            f"{mine} here and {other} there"
            for i, (mine, other) in enumerate(
                zip(here.programs, there.programs, strict=True)
            )
            if mine and other and mine != other
        ]
    if differs:
        raise ValueError(
            f"directory {directory} has another sweep: {'; '.join(differs)}. Take "
            "another directory, or go on with what was begun"
        )
    pairs = zip(here.programs, there.programs, strict=True)
    programs = tuple(mine or other for mine, other in pairs)
    return here._replace(programs=programs, metrics=here.metrics or there.metrics)


def read_run(directory: Path) -> Run:
    """What a directory is for.

    Args:
        directory: It.

    Returns:
        The run.

    Raises:
        ValueError: If it has no description, or a damaged one.
    """
    path = directory / RUN
    if not path.exists():
        raise ValueError(f"directory must have a sweep, got {directory} without {RUN}")
    about, arrays = files.read(path)
    return Run(
        about["config"],
        tuple(about["programs"]),
        about["n_batches"],
        from_plain(about["points"], arrays),
        tuple(Metric(n, tuple(shape), dtype) for n, shape, dtype in about["metrics"]),
    )


def write_run(directory: Path, run: Run) -> None:
    """Say what a directory is for.

    Args:
        directory: It.
        run: What.
    """
    plain, arrays = to_plain(run.points)
    about = {**run._asdict(), "points": plain}
    files.write(directory / RUN, about, arrays)


def read_batches(directory: Path, run: Run) -> Kept:
    """All batches of a directory.

    Args:
        directory: It.
        run: What it must be for.

    Returns:
        Those that are intact, and the names of the files that are not.

    Raises:
        ValueError: If one is of another run.
    """
    batches, damaged = {}, []
    for path in _batch_files(directory):
        try:
            about, arrays = files.read(path)
        except DamagedError:
            damaged.append(path.name)
            continue
        if about["run"] != run.identity:
            raise ValueError(
                f"directory {directory} must have batches of one sweep, got "
                f"{path.name} of run {about['run']} among those of {run.identity}"
            )
        if _batch_name(about["batch"]) != path.name:
            damaged.append(path.name)
            continue
        batches[about["batch"]] = arrays
    return Kept(batches, tuple(damaged))


def write_batch(
    directory: Path, run: Run, number: int, arrays: Mapping[str, np.ndarray]
) -> None:
    """Keep a finished batch.

    Args:
        directory: Where.
        run: Of what.
        number: Which.
        arrays: Its columns.
    """
    about = {"run": run.identity, "batch": number}
    files.write(directory / _batch_name(number), about, arrays)


def read_failures(directory: Path) -> tuple[Failure, ...]:
    """The programs that failed when the directory was last written to.

    Args:
        directory: It.

    Returns:
        Them; none if the file is damaged, for the next run finds them again.
    """
    try:
        about, _ = files.read(directory / FAILURES)
    except (FileNotFoundError, DamagedError):
        return ()
    return tuple(Failure(*entry) for entry in about["failures"])


def write_failures(directory: Path, failures: Sequence[Failure]) -> None:
    """Keep which programs failed.

    Args:
        directory: Where.
        failures: All of them; the file goes if there are none.
    """
    if failures:
        files.write(directory / FAILURES, {"failures": list(failures)}, {})
    else:
        (directory / FAILURES).unlink(missing_ok=True)


def remove_leftovers(directory: Path) -> None:
    """Remove what writers that were killed left half-written.

    Args:
        directory: One that is locked.
    """
    for path in directory.glob("*.sweep.*.tmp"):
        path.unlink(missing_ok=True)


def _opened(directory: Directory) -> tuple[Run, Kept]:
    """What a directory is for, and what it has."""
    run = read_run(Path(directory))
    return run, read_batches(Path(directory), run)


def _batch_files(directory: Path) -> Iterator[Path]:
    """Files of batches, in order."""
    yield from sorted(directory.glob("batch-*.sweep"))


def _batch_name(number: int) -> str:
    """The file of a batch."""
    return f"batch-{number:08d}.sweep"


def _same(a, b):
    """Whether batches are equal bit by bit."""
    return a.keys() == b.keys() and all(
        a[name].dtype == b[name].dtype and a[name].tobytes() == b[name].tobytes()
        for name in a
    )
