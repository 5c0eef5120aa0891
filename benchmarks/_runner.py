"""The command line of all benchmarks, and a run from problem to table."""

import argparse
import hashlib
import json
import os
import platform
import shlex
import sys
from argparse import ArgumentTypeError
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import _table
from benchmarks._measure import (
    Entry,
    Row,
    find_setting,
    measure_memory,
    time_in_turns,
)
from benchmarks._processes import GIVES_BACK, ROOT, Failed, Tool, Worker
from jaxdl.progress import bar

README = ROOT / "benchmarks" / "README.md"
RESULTS = ROOT / "results" / "benchmarks"


@dataclass(frozen=True)
class Benchmark:
    """What to compare, on what, and when an answer counts."""

    name: str
    description: str  # the problem, for the table
    problem: Callable[[], Mapping[str, np.ndarray]]
    subject: Tool
    peers: tuple[Tool, ...]
    rows: tuple[Row, ...]
    reference: Tool
    facts: Callable[[Path], dict[str, Any]]  # what ladders may know of the truth
    judge_with: Callable[[Worker], Mapping[str, Any]] | None = None
    limit: float = 120.0  # seconds for one call
    memory: bool = False  # measure the peak of a call, too
    # by the row's name, from the truth: the least seconds, and where they come from
    floors: Callable[[Mapping[str, Any]], Mapping[str, _table.Floor]] = lambda _: {}
    summary: Callable[[_table.Results], Sequence[str]] = lambda _: ()


def main(benchmark: Benchmark, words: Sequence[str] | None = None) -> int:
    """Answer the command line.

    Args:
        benchmark: What to run.
        words: Of the command line; None for those of this process.

    Returns:
        The exit code: 0; 2 if jaxdl or the reference fails.
    """
    options = parse(benchmark, words)
    chosen = [row for row in benchmark.rows if row.name in options.rows]
    peers = [tool for tool in benchmark.peers if tool.name in options.peers]
    command = f"python -m benchmarks.{benchmark.name} " + shlex.join(
        sys.argv[1:] if words is None else words
    )
    try:
        text = run(
            benchmark,
            chosen,
            peers,
            options.rounds,
            options.out,
            command,
            _cores(options.cores),
        )
    except Failed as failure:
        print(f"error: {failure}", file=sys.stderr)
        return 2
    print(text)
    complete = len(chosen) == len(benchmark.rows) and len(peers) == len(benchmark.peers)
    if options.write and not complete:
        print("README.md was left alone: not all rows and peers", file=sys.stderr)
    elif options.write:
        _table.insert(README, benchmark.name, text)
    return 0


def parse(benchmark: Benchmark, words: Sequence[str] | None) -> argparse.Namespace:
    """What the words of a command line ask for.

    Args:
        benchmark: Whose rows and peers there are.
        words: Those after the module's name; None for those of this process.

    Returns:
        ``rounds``, ``rows``, ``peers``, ``cores``, ``out`` and ``write``.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{benchmark.name}",
        description=f"{benchmark.description} Times jaxdl and its peers in turns, on "
        "the same core, and compares them within each round.",
        epilog="Peers have environments of their own: `make bench` makes them and then "
        "runs this. Without them, --no-peers compares with plain JAX.",
    )
    rows = [row.name for row in benchmark.rows]
    peers = [tool.name for tool in benchmark.peers]
    parser.add_argument(
        "--rounds",
        type=_positive,
        default=7,
        metavar="N",
        help="how often to time each entry (default: %(default)s)",
    )
    parser.add_argument(
        "--rows",
        type=_names("row", rows),
        default=rows,
        metavar="NAME,...",
        help=f"which rows: {', '.join(rows)} (default: all)",
    )
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--peers",
        type=_names("peer", peers),
        default=peers,
        metavar="NAME,...",
        help=f"which peers: {', '.join(peers)} (default: all)",
    )
    here = [tool.name for tool in benchmark.peers if not tool.environment]
    group.add_argument(
        "--no-peers",
        dest="peers",
        action="store_const",
        const=here,
        help=f"only those that need no other environment: {', '.join(here)}",
    )
    parser.add_argument(
        "--cores",
        type=_positive,
        default=1,
        metavar="N",
        help="how many cores a tool has; with more than one the clock is read, "
        "which is right on a quiet machine only (default: %(default)s)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=RESULTS / benchmark.name,
        metavar="DIR",
        help="for raw numbers, answers and logs (default: results/benchmarks/...)",
    )
    parser.add_argument(
        "--write",
        action="store_true",
        help="put the table into benchmarks/README.md, if it is complete",
    )
    return parser.parse_args(words)


def run(
    benchmark: Benchmark,
    rows: Sequence[Row],
    peers: Sequence[Tool],
    rounds: int,
    folder: Path,
    command: str,
    cores: Sequence[int],
) -> str:
    """Find out the truth, find settings, take times.

    Args:
        benchmark: The benchmark.
        rows: Which of its rows.
        peers: Which of its peers.
        rounds: How often to time each entry.
        folder: For raw numbers, answers and logs.
        command: What a reader types to repeat it.
        cores: Where all processes run; empty for anywhere.

    Returns:
        The table, and where it comes from, as Markdown. `Failed` comes from a
        reference or subject that does not work.
    """
    folder.mkdir(parents=True, exist_ok=True)
    problem = folder / "problem.npz"
    np.savez(problem, **dict(benchmark.problem()))  # pyright: ignore[reportArgumentType]
    before = _load()
    limit = benchmark.limit
    with ExitStack() as stack:

        def worker(tool, settings=None):
            made = Worker(tool, problem, cores, folder, settings)
            stack.callback(made.stop)
            return made

        reference = worker(benchmark.reference)
        truth = _truth(benchmark, reference, folder)
        workers = {tool.name: worker(tool) for tool in (benchmark.subject, *peers)}
        absent = _start(workers, benchmark.subject, limit)
        results = []
        for row in rows:
            entries = _settings(row, workers, truth, folder, limit)
            entries = _worth_timing(benchmark.subject, entries)
            with bar((rounds + 1) * len(entries), f"{row.name}: timing") as progress:
                time_in_turns(entries, workers, row, rounds, limit, progress.update)
            if benchmark.memory:
                fresh = partial(worker, settings=GIVES_BACK)
                measure_memory(entries, fresh, row, limit)
            results.append((row, entries))
        about = {
            "problem": benchmark.description,
            "machine": f"{_processor()}, {platform.system()}; CPU, float32, "
            + _place(cores),
            "date": f"{datetime.now(UTC):%Y-%m-%d}, {rounds} rounds, load average "
            f"{before} before and {_load()} after",
            "versions": _versions(workers),
            **absent,
            "command": f"`{command}`",
        }
    record = {
        "about": about,
        "rows": {
            row.name: [asdict(entry) for entry in found] for row, found in results
        },
    }
    (folder / "times.json").write_text(json.dumps(record, indent=1))
    table = _table.table(benchmark.subject.name, results, benchmark.floors(truth))
    summary = "\n".join(f"- {line}" for line in benchmark.summary(results))
    return "\n\n".join(filter(None, [_table.facts(about), table, summary]))


def _truth(benchmark: Benchmark, reference: Worker, folder: Path) -> dict[str, Any]:
    """What the reference says, with what `Benchmark.judge_with` adds."""
    file, stamp = folder / "truth.npz", folder / "truth.of"
    code = (ROOT / benchmark.reference.module.replace(".", "/")).parent.glob("*.py")
    digest = hashlib.sha256((folder / "problem.npz").read_bytes())
    for path in sorted(code):
        digest.update(path.read_bytes())
    # Kept for the next run, while the problem and the code beside the reference are.
    if not (
        file.exists() and stamp.exists() and stamp.read_text() == digest.hexdigest()
    ):
        stamp.unlink(missing_ok=True)
        request = {"row": "truth", "setting": {"probes": 300}, "save": str(file)}
        with bar(1, "reference in float64") as progress:
            reference.ask(request, 10 * benchmark.limit)
            progress.update(1)
        stamp.write_text(digest.hexdigest())
    with np.load(file) as arrays:
        truth: dict[str, Any] = dict(arrays)
    if benchmark.judge_with is not None:
        truth |= benchmark.judge_with(reference)
    return {**truth, "facts": benchmark.facts(file)}


def _start(workers: dict[str, Worker], subject: Tool, limit: float) -> dict[str, str]:
    """Start all; forget those that do not come up, and say why.

    Raises:
        Failed: If the subject is among them.
    """
    absent = {}
    with bar(len(workers), "starting the tools") as progress:
        for name, worker in list(workers.items()):
            try:
                worker.start(limit)
            except Failed as failure:
                if worker.tool == subject:
                    raise
                absent[f"absent: {name}"] = str(failure)
                del workers[name]
            progress.update(1)
    return absent


def _settings(row, workers, truth, folder, limit) -> list[Entry]:
    """Each tool's ways to do a row."""
    entries = []
    with bar(len(workers), f"{row.name}: settings") as progress:
        for worker in workers.values():
            if row.name in worker.about["rows"]:
                try:
                    entries += find_setting(worker, row, truth, folder, limit)
                except Failed as failure:
                    entries.append(Entry(worker.tool, "", note=str(failure)))
            progress.update(1)
    return entries


def _worth_timing(subject: Tool, entries: Sequence[Entry]) -> list[Entry]:
    """All ways of the subject, the fastest of a peer, and what failed altogether."""
    kept = []
    for name in dict.fromkeys(entry.tool.name for entry in entries):
        own = [entry for entry in entries if entry.tool.name == name]
        good = [entry for entry in own if entry.setting is not None]
        if name == subject.name or not good:
            kept += own
        else:
            kept += [e for e in own if e.setting is None and "Error" in e.note]
            kept.append(min(good, key=lambda entry: entry.tried))
    return kept


def _versions(workers: Mapping[str, Worker]) -> str:
    """Of all packages, named once for each version."""
    pairs = {
        f"{name} {version}": None
        for worker in workers.values()
        for name, version in worker.about["versions"].items()
    }
    return ", ".join([f"Python {platform.python_version()}", *sorted(pairs)])


def _cores(number: int) -> list[int]:
    """Where to run: the last that are ours, as the first is often the busiest.

    Raises:
        Failed: If there are not as many.
    """
    if not hasattr(os, "sched_getaffinity"):
        return []
    ours = sorted(os.sched_getaffinity(0))
    if number > len(ours):
        raise Failed(f"--cores {number}: this process may use {len(ours)}")
    return ours[-number:]


def _place(cores: Sequence[int]) -> str:
    """Where the processes were, in words."""
    if not cores:
        return "one thread"
    if len(cores) == 1:
        return "one core that all processes are pinned to"
    return f"{len(cores)} cores that all processes are pinned to, times on the clock"


def _load() -> str:
    """Processes that wanted to run in the last minute."""
    return f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"


def _processor() -> str:
    """The processor's name as the system gives it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return f"{line.split(':', 1)[1].strip()}, {os.cpu_count()} cores"
    except OSError:
        pass
    return f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"


def _positive(word: str) -> int:
    """A number of rounds.

    Raises:
        ArgumentTypeError: If it is none.
    """
    if not word.isdigit() or int(word) < 1:
        raise ArgumentTypeError(f"must be a positive integer, got {word!r}")
    return int(word)


def _names(kind: str, known: Sequence[str]) -> Callable[[str], list[str]]:
    """A list of names, with commas between."""

    def parse(word: str) -> list[str]:
        names = [name.strip() for name in word.split(",") if name.strip()]
        for name in names:
            if name not in known:
                raise ArgumentTypeError(
                    f"no {kind} {name!r}; there are {', '.join(known)}"
                )
        if not names:
            raise ArgumentTypeError(f"names no {kind}")
        return names

    return parse
