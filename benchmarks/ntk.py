"""Tangent kernels of finite networks: dense, convolutional, attention, recurrent.

Each tool returns the same kernel, in float32, from the same function, parameters and
inputs; its answer counts if it is within `BOUND` of float64. Beside the times are the
peak memory of a call, in a process of its own, and a floor of operations and bytes.

Run: python -m benchmarks.ntk (make bench); --no-peers without other environments.
Time: about half an hour with peers; plain contraction needs 8 GB in the first rows.
"""

import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._measure import Row, Verdict, ratio
from benchmarks._ntk import problem
from benchmarks._ntk.floor import floor
from benchmarks._ntk.problem import CASES
from benchmarks._processes import Tool, Worker
from benchmarks._runner import Benchmark, main
from benchmarks._table import Results, default_way, means

BOUND = 1e-4
"""Of the error of a kernel, in the Frobenius norm relative to the kernel's."""
_MODULES = "benchmarks._ntk"

_TITLES = {
    "mlp": "784-512-512-10, n=256",
    "cnn": "CNN 32x32x3, n=32",
    "transformer": "transformer block, n=32",
    "lstm": "LSTM, 32 steps, n=32",
}


def judge(row, setting, answers, truth, files) -> Verdict:
    """The kernel agrees with float64."""
    del setting, files
    exact = truth[row]
    (answer,) = answers
    if answer["kernel"].shape != exact.shape:
        shapes = f"shape {answer['kernel'].shape}, expected {exact.shape}"
        return Verdict(False, shapes)
    error = np.linalg.norm(answer["kernel"] - exact) / np.linalg.norm(exact)
    return Verdict(bool(error < BOUND), f"relative error {error:.1e}")


def facts(file: Path) -> dict[str, Any]:
    """Tools are told nothing."""
    del file
    return {}


def rates(reference: Worker) -> dict[str, Any]:
    """What the core can do is part of the truth.

    Args:
        reference: Runs on the same cores as the tools.

    Returns:
        ``flops`` and ``bytes`` a second.
    """
    out = reference.folder / "rates.npz"
    reference.ask({"row": "rates", "setting": {}, "save": str(out)}, 120)
    with np.load(out) as found:
        return {name: float(value) for name, value in found.items()}


def floors(truth: Mapping[str, Any]):
    """By row, at those rates.

    Args:
        truth: With `rates`.

    Returns:
        Floors by the row's name.
    """
    return {
        row: floor(case, truth["flops"], truth["bytes"]) for row, case in CASES.items()
    }


def summary(results: Results) -> list[str]:
    """The ratios of time and memory over all rows, and to plain contraction.

    Args:
        results: Of a run; jaxdl's own choice of method is what counts.

    Returns:
        A line each.
    """
    lines = means("jaxdl", "neural-tangents", results)
    for row, entries in results:
        ours = default_way("jaxdl", entries)
        for entry in entries:
            if (
                ours
                and entry.tool.name == "jax"
                and entry.seconds
                and "mlp" in row.name
            ):
                factor = 1 / ratio(ours, entry)
                lines.append(
                    f"{row.title}: {factor:.0f} times as fast as plain contraction"
                )
    return lines


def _row(name: str) -> Row:
    """A row of a case."""
    case = CASES[name]
    form = f"{case.outputs}{', symmetric' if case.symmetric else ''}"
    return Row(name, f"{_TITLES[case.network]}: {form}", partial(judge, name))


BENCHMARK = Benchmark(
    name="ntk",
    description="Tangent kernels of a dense ReLU network, three convolutions of 64 "
    "channels with pooling, a pre-norm transformer block (32 tokens of width 64, 4 "
    "heads) and an LSTM (hidden 64), each with 10 outputs, between two sets of n "
    "examples, or of one with itself.",
    problem=problem.make,
    subject=Tool("jaxdl", f"{_MODULES}.with_jaxdl"),
    peers=(
        Tool("jax", f"{_MODULES}.with_jax"),
        Tool(
            "neural-tangents",
            f"{_MODULES}.with_neural_tangents",
            ".venv-bench-neural-tangents",
        ),
    ),
    rows=tuple(_row(name) for name in CASES),
    reference=Tool("reference", f"{_MODULES}.reference"),
    facts=facts,
    judge_with=rates,
    limit=240.0,
    memory=True,
    floors=floors,
    summary=summary,
)


if __name__ == "__main__":
    sys.exit(main(BENCHMARK))
