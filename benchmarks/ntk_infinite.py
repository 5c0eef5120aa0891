"""Kernels of networks of infinite width, and training with them, in closed form.

Each tool returns NNGP and tangent kernel of one set of inputs with itself, or outputs
on training and test sets at many times of gradient flow, in float32; an answer counts
if it is within `BOUND` of float64. The flow is there in float64 as well, to a tighter
bound: jaxdl computes it in float64 in any case.

Run: python -m benchmarks.ntk_infinite; --no-peers times jaxdl alone.
Time: a few minutes.
"""

import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._measure import Row, Verdict
from benchmarks._ntk_infinite import problem
from benchmarks._processes import Tool
from benchmarks._runner import Benchmark, main
from benchmarks._table import Results, means

BOUND = 1e-3
"""Of the error of each array, in the Frobenius norm relative to the array's."""
BOUND_FLOAT64 = 1e-9
_MODULES = "benchmarks._ntk_infinite"


def judge(row, setting, answers, truth, files) -> Verdict:
    """All arrays agree with float64."""
    del setting, files
    (answer,) = answers
    errors = []
    for name, found in answer.items():
        exact = truth[f"{row.removesuffix('-float64')}.{name}"]
        if found.shape != exact.shape:
            shapes = f"{name} has shape {found.shape}, expected {exact.shape}"
            return Verdict(False, shapes)
        errors.append(np.linalg.norm(found - exact) / np.linalg.norm(exact))
    worst = np.max(errors)  # NaN if any is
    bound = BOUND_FLOAT64 if row.endswith("float64") else BOUND
    return Verdict(bool(worst < bound), f"relative error {worst:.1e}")


def facts(file: Path) -> dict[str, Any]:
    """Tools are told nothing."""
    del file
    return {}


def summary(results: Results) -> list[str]:
    """The ratios of time and memory over all rows.

    Args:
        results: Of a run.

    Returns:
        A line each.
    """
    return means("jaxdl", "neural-tangents", results)


_TITLES = {
    "dense": "784 inputs, 3 hidden ReLU layers, n=1000",
    "conv-flatten": "3 convolutions, flattened, 16x16, n=64",
    "conv-pool": "3 convolutions, pooled, 16x16, n=16",
    "flow": "gradient flow, n=1000, 100 times, 100 test inputs, 10 outputs",
    "flow-float64": "the same in float64",
}

BENCHMARK = Benchmark(
    name="ntk_infinite",
    description="NNGP and tangent kernels of ReLU networks of infinite width (3x3 SAME "
    "convolutions of 3 channels), and outputs during gradient flow.",
    problem=problem.make,
    subject=Tool("jaxdl", f"{_MODULES}.with_jaxdl"),
    peers=(
        Tool(
            "neural-tangents",
            f"{_MODULES}.with_neural_tangents",
            ".venv-bench-neural-tangents",
        ),
    ),
    rows=tuple(
        Row(name, title, partial(judge, name)) for name, title in _TITLES.items()
    ),
    reference=Tool("reference", f"{_MODULES}.reference"),
    facts=facts,
    memory=True,
    summary=summary,
)


if __name__ == "__main__":
    sys.exit(main(BENCHMARK))
