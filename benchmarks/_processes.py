"""Tools as processes, each in its own environment, on the same cores."""

import contextlib
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent

# What a library reads to know how many threads to start.
_THREADS = ("OMP", "MKL", "OPENBLAS", "BLIS", "NUMEXPR", "VECLIB")


GIVES_BACK = {"MALLOC_MMAP_THRESHOLD_": "65536"}
"""For glibc: what is freed is the system's again, so that peaks can be measured."""


@dataclass(frozen=True)
class Tool:
    """A program to be timed."""

    name: str
    module: str  # as `_worker` describes
    environment: str = ""  # folder in the checkout; empty for the one at hand


class Failed(Exception):
    """A tool that did not answer, or answered with an error."""


class Worker:
    """The process of a tool; started on the first request, and again after its end.

    Attributes:
        tool: What it runs.
        about: What the tool said when it started.
        folder: For the log and the answers.
        clock: Which of the times it tells counts: the processor's on one core.
    """

    def __init__(
        self,
        tool: Tool,
        problem: Path,
        cores: Sequence[int],
        folder: Path,
        settings: Mapping[str, str] | None = None,
    ):
        """Say what to start; nothing is started yet.

        Args:
            tool: What to run.
            problem: File with the problem's arrays.
            cores: Where to run; empty for anywhere.
            folder: For the log and the answers.
            settings: More of the environment.
        """
        self.tool, self.about, self.folder = tool, {}, folder
        self.clock = "wall" if len(cores) > 1 else "cpu"
        # Before anything is imported: a thread a core.
        self._settings = {
            f"{name}_NUM_THREADS": str(max(len(cores), 1)) for name in _THREADS
        } | {
            "JAX_PLATFORMS": "cpu",
            "CUDA_VISIBLE_DEVICES": "",
            "PYTHONPATH": str(ROOT),
            **(settings or {}),
        }
        self._arguments = [tool.module, str(problem), ",".join(map(str, cores))]
        self._log = folder / f"{tool.name.replace(' ', '-')}.log"
        self._log.write_text("")
        self._process = None

    def start(self, limit: float) -> None:
        """Start the process, if it is not there, and wait until it is ready.

        Args:
            limit: Seconds to wait.

        Raises:
            Failed: If it does not come up.
        """
        if self._process is not None:
            return
        with self._log.open("a") as log:
            self._process = subprocess.Popen(
                [_python(self.tool), "-m", "benchmarks._worker", *self._arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=ROOT,
                env=os.environ | self._settings,
            )
        try:
            self.about = self._answer(limit)
        except Failed:
            self.stop()
            raise

    def ask(self, request: dict[str, Any], limit: float) -> dict[str, Any]:
        """Send a request and wait for the answer.

        Args:
            request: As `_worker.main` says.
            limit: Seconds to wait; then the process is ended.

        Returns:
            The answer. `Failed` comes from a tool that reports an error, ends, or takes
            too long.
        """
        self.start(limit)
        assert self._process is not None
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        return self._answer(limit)

    def stop(self) -> None:
        """End the process, if there is one."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _answer(self, limit):
        """One line from the process, as an object.

        Raises:
            Failed: If there is an error in it, or it does not come.
        """
        assert self._process is not None
        line = self._line(self._process, time.monotonic() + limit)
        if line is None:
            self.stop()
            raise Failed(f"took more than {limit:.0f} s")
        if not line:
            code = self._process.wait()
            self.stop()
            raise Failed(f"its process ended with code {code}, see {self._log}")
        answer = json.loads(line)
        if "error" in answer:
            raise Failed(answer["error"])
        return answer

    @staticmethod
    def _line(process, deadline):
        """A line; empty if there will be none, None if it is late."""
        pipe, line = process.stdout.fileno(), b""
        while not line.endswith(b"\n"):
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([pipe], [], [], left)[0]:
                return None
            if not (piece := os.read(pipe, 1 << 16)):
                return b""
            line += piece
        return line


def _python(tool: Tool) -> str:
    """The interpreter of a tool's environment.

    Raises:
        Failed: If there is no such environment.
    """
    if not tool.environment:
        return sys.executable
    path = ROOT / tool.environment / "bin" / "python"
    if not path.exists():
        raise Failed(f"no environment {tool.environment}; `make bench` sets it up")
    return str(path)
