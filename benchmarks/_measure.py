"""Which setting of a tool to time, and timing in turns."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks._processes import Failed, Tool, Worker

SLOW = 10.0
"""Seconds of a call that is not made again in each round."""

Answers = Sequence[Mapping[str, np.ndarray]]


class Verdict(NamedTuple):
    """Whether answers are good enough to be timed, and what they are like."""

    good: bool
    note: str


@dataclass(frozen=True)
class Row:
    """One line of the comparison.

    ``judge(setting, answers, truth, files)`` looks at one answer for each seed, which
    also lie in files.
    """

    name: str
    title: str
    judge: Callable[[dict, Answers, Mapping[str, Any], list[Path]], Verdict]
    seeds: int = 1  # to try a setting with before it is accepted
    known: Callable[[dict, Mapping[str, Any]], bool] = lambda *_: (
        False
    )  # one seed will do
    each: bool = False  # one bad seed is enough to refuse it
    target: float = 1.0  # of the ratio to the best peer


@dataclass
class Entry:
    """A tool's way to do a row, and its times."""

    tool: Tool
    way: str
    setting: dict[str, Any] | None = None  # None: none was good enough
    note: str = ""
    tried: float = math.inf  # seconds of one call when the setting was accepted
    seconds: list[float] = field(default_factory=list)  # by `Worker.clock`, one a round
    wall: list[float] = field(default_factory=list)  # on the clock
    peak: int | None = None  # bytes that a call needs above what was there before

    @property
    def median(self) -> float:
        """Of the rounds; infinite without any."""
        return float(np.median(self.seconds)) if self.seconds else math.inf


def find_setting(
    worker: Worker, row: Row, truth: Mapping[str, Any], folder: Path, limit: float
) -> list[Entry]:
    """For each of a tool's ways the cheapest setting whose answers are good.

    Args:
        worker: The tool.
        row: The row.
        truth: What the reference found.
        folder: For answers.
        limit: Seconds for one call, compilation included.

    Returns:
        An entry a way, whose note says what became of it. `Failed` comes from a tool
        that does not know what to try.
    """
    request = {"row": row.name, "facts": truth["facts"]}
    entries = []
    for way, ladder in worker.ask(request, limit)["ladders"].items():
        entry = Entry(worker.tool, way)
        entries.append(entry)
        try:
            for setting in ladder:
                verdict, entry.tried = _try_seeds(
                    worker, row, setting, truth, folder, limit
                )
                entry.note = verdict.note
                if verdict.good:
                    entry.setting = setting
                    break
                entry.note = f"not reached: {verdict.note}"
        except Failed as failure:
            entry.note = str(failure)
    return entries


def time_in_turns(
    entries: Sequence[Entry],
    workers: Mapping[str, Worker],
    row: Row,
    rounds: int,
    limit: float,
    advance: Callable[[float], object],
) -> None:
    """Time each entry once a round, so that all of them meet the same noise.

    Each round starts one entry further on, and has a seed of its own. On one core the
    processor's time is what the clock shows when nobody else is there, and stays that
    when somebody is; on several cores it is the clock that counts. A call of more than
    `SLOW` seconds counts as it was when the setting was tried.

    Args:
        entries: With settings; their times are written here.
        workers: By the tool's name.
        row: The row.
        rounds: How many.
        limit: Seconds for one call.
        advance: Told of each finished call.
    """
    entries = list(entries)
    for number in range(-1, rounds):  # one round to warm up
        shift = number % max(len(entries), 1)
        for entry in entries[shift:] + entries[:shift]:
            advance(1)
            if entry.setting is None:
                continue
            if entry.tried > SLOW:
                entry.seconds = entry.wall = [entry.tried]
                continue
            request = {
                "row": row.name,
                "setting": entry.setting | {"seed": max(number, 0)},
                "repeats": max(1, math.ceil(0.2 / max(entry.tried, 1e-4))),
                "warm": entry.tried < 1,  # its memory may have been taken away
            }
            try:
                worker = workers[entry.tool.name]
                answer = worker.ask(request, limit)
            except Failed as failure:
                entry.setting, entry.note = None, str(failure)
                entry.seconds, entry.wall = [], []
                continue
            if number >= 0:
                entry.seconds.append(answer[worker.clock])
                entry.wall.append(answer["wall"])


def measure_memory(
    entries: Sequence[Entry], fresh: Callable[[Tool], Worker], row: Row, limit: float
) -> None:
    """Measure what one call of each entry needs, each in a process of its own.

    Args:
        entries: Those with settings get a `peak`.
        fresh: Makes a worker.
        row: The row.
        limit: Seconds for one call.
    """
    for entry in entries:
        if entry.setting is None:
            continue
        worker = fresh(replace(entry.tool, name=f"{entry.tool.name} memory"))
        request = {"row": row.name, "setting": entry.setting | {"seed": 0}}
        try:
            if entry.tried <= SLOW:  # compile first; next to a slow call that is little
                worker.ask(request, limit)
            entry.peak = worker.ask(request | {"peak": True}, limit)["peak"]
        except Failed as failure:
            entry.note += f"; memory: {failure}"
        finally:
            worker.stop()


def ratio(entry: Entry, other: Entry) -> float:
    """Median over rounds of the ratio of two entries' times in the same round.

    Args:
        entry: With times.
        other: With as many; or one of the two has a single time.

    Returns:
        ``entry / other``.
    """
    return float(np.median(np.divide(entry.seconds, other.seconds)))


def _try_seeds(worker, row, setting, truth, folder, limit):
    """The verdict on a setting, and the least seconds of one call."""
    files, answers, seconds = [], [], math.inf
    verdict = Verdict(False, "not tried")
    seeds = 1 if row.known(setting, truth) else row.seeds
    for seed in range(seeds):
        file = folder / f"{row.name}-{worker.tool.name}-{seed}.npz"
        request = {"row": row.name, "setting": setting | {"seed": seed}}
        answer = worker.ask(request | {"save": str(file)}, limit)
        if not seed:  # the first call may have compiled
            answer = worker.ask(request, limit)
        seconds = min(seconds, answer[worker.clock])
        files.append(file)
        answers.append(_load(file))
        if row.each or seed == seeds - 1:
            verdict = row.judge(setting, answers, truth, files)
            if not verdict.good:
                return verdict, seconds
    return verdict, seconds


def _load(file):
    """All arrays of a file."""
    with np.load(file) as arrays:
        return dict(arrays)
