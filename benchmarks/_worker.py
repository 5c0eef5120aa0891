"""The process that runs one tool: reads requests, a line of JSON each, and answers.

It runs in the tool's own environment, pinned to its cores before anything heavy is
imported, and needs the standard library and NumPy. A tool is a module with

- ``PACKAGES``: names of the distributions whose versions are to be told;
- ``prepare(problem)``: from the problem's arrays to whatever the rows need;
- ``ladders(row, facts)``: settings to try, cheapest first, under the name of each way
  to do a row; ``facts`` are what the reference knows of the problem;
- ``ROWS``: from a row's name to ``start(prepared, setting)``, which returns ``work``
  and ``collect``. ``work()`` is what is timed: it returns when the result is there.
  ``collect(result)`` makes a dictionary of NumPy arrays of it.

    python -m benchmarks._worker MODULE PROBLEM.npz CORE,...
"""

import contextlib
import ctypes
import gc
import importlib
import json
import os
import sys
import time
import traceback
from importlib import metadata
from pathlib import Path
from typing import Any, TextIO


def main(module: str, problem: str, cores: str) -> None:
    """Answer requests until standard input ends.

    A request names a ``row``, and a ``setting`` for one or more timed calls
    (``repeats``), after one that is not if it says ``warm``, whose last answer goes to
    the file ``save`` if there is one; or also
    ``peak``, to measure the memory of one call; or ``facts``, to ask for the ladders of
    the row.

    Args:
        module: The tool.
        problem: File with the problem's arrays.
        cores: Where to run, with commas between; empty for anywhere.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the tool prints goes to the log
    pinned = _pin({int(core) for core in cores.split(",") if core})
    try:
        import numpy as np

        tool = importlib.import_module(module)
        with np.load(problem) as arrays:
            prepared = tool.prepare(dict(arrays))
        versions = {name: metadata.version(name) for name in tool.PACKAGES}
    except Exception as error:
        _say(answers, _problem(error))
        return
    _say(answers, {"rows": list(tool.ROWS), "versions": versions, "pinned": pinned})
    started = {}
    for line in sys.stdin:
        request = json.loads(line)
        try:
            _say(answers, _perform(tool, prepared, started, request))
        except Exception as error:
            _say(answers, _problem(error))


def _pin(cores: set[int]) -> bool:
    """Stay on these cores, where the system lets us."""
    if not cores or not hasattr(os, "sched_setaffinity"):
        return False
    os.sched_setaffinity(0, cores)
    return True


def _perform(tool: Any, prepared: Any, started: dict, request: dict) -> dict:
    """What a request asks for."""
    row = request["row"]
    if "facts" in request:
        return {"ladders": tool.ladders(row, request["facts"])}
    setting = request["setting"]
    key = json.dumps([row, setting], sort_keys=True)
    if key not in started:
        started[key] = tool.ROWS[row](prepared, setting)
    work, collect = started[key]
    if request.get("peak"):
        return {"peak": _peak(work)}
    repeats = request.get("repeats", 1)
    result = work() if request.get("warm") else None
    begin, spent = time.perf_counter(), time.process_time()
    for _ in range(repeats):
        result = work()
    wall = (time.perf_counter() - begin) / repeats
    cpu = (time.process_time() - spent) / repeats
    if path := request.get("save"):
        import numpy as np

        np.savez(path, **collect(result))
    return {"wall": wall, "cpu": cpu}


def _peak(work: Any) -> int | None:
    """Bytes that a call needs at most above what is there before, its result included.

    The mark that the system keeps is lowered first, and memory that is free is given
    back, so that compiling, in an earlier call, does not count; None where there is no
    such mark.
    """
    gc.collect()  # a result may hang in a cycle
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    try:
        Path("/proc/self/clear_refs").write_text("5")
        before = _status("VmRSS")
        result = work()
        peak = _status("VmHWM") - before
    except OSError:
        return None
    del result
    return max(peak, 0)


def _status(name: str) -> int:
    """A line of the process's status, in bytes.

    Raises:
        OSError: If there is none.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return 1024 * int(line.split()[1])
    raise OSError(f"no {name}")


def _problem(error: Exception) -> dict:
    """An exception as an answer; the log has where it came from."""
    traceback.print_exc()
    return {"error": f"{type(error).__name__}: {error}".splitlines()[0][:300]}


def _say(answers: TextIO, answer: dict) -> None:
    """Answer in one line."""
    print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:4])
