"""Curvature of a trained network: products, eigenpairs, trace, spectral density.

A tool is timed at the cheapest setting whose answers are good enough, judged against
float64: five eigenpairs whose values and residuals are within `BOUND`; a trace to a
standard error of `STANDARD_ERROR`. jaxdl stops by its own rules and is judged the same.

Run: python -m benchmarks.curvature (make bench); --no-peers without other environments.
Time: about twenty minutes with peers, on a busy machine.
"""

import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._curvature import problem
from benchmarks._measure import Row, Verdict
from benchmarks._processes import Tool, Worker
from benchmarks._runner import Benchmark, main

BOUND = 1e-3
"""Of errors of eigenvalues and of residual norms, relative to the largest."""
STANDARD_ERROR = 0.01
"""Of the trace, relative to it."""
_MODULES = "benchmarks._curvature"


def facts(file: Path) -> dict[str, Any]:
    """What tools that do not know when to stop are told, so that they stop in time.

    Args:
        file: From the reference.

    Returns:
        The bounds, and how many probes Hutchinson's estimator takes.
    """
    with np.load(file) as truth:
        noise = float(truth["probe_deviation"] / truth["trace"])
    probes = math.ceil((noise / STANDARD_ERROR) ** 2)
    return {"bound": BOUND, "standard_error": STANDARD_ERROR, "probes": probes}


def judge_product(setting, answers, truth, files) -> Verdict:
    """The loss and one product agree with float64."""
    del setting, files
    (answer,) = answers
    exact = truth["product"]
    error = np.linalg.norm(answer["product"] - exact) / np.linalg.norm(exact)
    loss_error = abs(answer["loss"] / truth["loss"] - 1)
    return Verdict(
        bool(error < 1e-5 and loss_error < 1e-5), f"relative error {error:.1e}"
    )


def judge_eigenpairs(setting, answers, truth, files) -> Verdict:
    """Values and residuals are within the bound for each seed."""
    del setting
    top = truth["values"][:5]
    errors, residuals = [], []
    for answer, file in zip(answers, files, strict=True):
        if not np.isfinite(answer["vectors"]).all():
            return Verdict(False, "NaN")
        errors.append(np.max(abs(answer["values"] / top - 1)))
        residuals.append(np.max(truth["residuals"](file)) / top[0])
    note = f"value error {max(errors):.0e}, residual {max(residuals):.0e}"
    if "products" in answers[0]:
        note += f", {_range(answers)} products"
    says = all(answer.get("says", True) for answer in answers)
    return Verdict(says and max(*errors, *residuals) <= BOUND, note)


def judge_trace(setting, answers, truth, files) -> Verdict:
    """The root mean square of errors over seeds is what was asked for.

    Hutchinson's estimator has as many probes as it needs by its variance, measured in
    float64, and one seed shows that it works; a rule that stops by itself scatters
    about what it aims at. Both pass unless three times off.
    """
    del files
    errors = [answer["trace"] / truth["trace"] - 1 for answer in answers]
    error = float(np.sqrt(np.mean(np.square(errors))))
    note = f"error {100 * error:.1f} % ({len(errors)} seeds)"
    if "products" in answers[0]:
        note += f", {_range(answers)} products"
    known = _enough_probes(setting, truth) or "says" in answers[0]
    says = all(answer.get("says", True) for answer in answers)
    return Verdict(bool(says and error <= STANDARD_ERROR * (2 if known else 1)), note)


def _enough_probes(setting: dict, truth: Mapping[str, Any]) -> bool:
    """Whether the setting is what Hutchinson's estimator needs by its variance."""
    return truth["facts"]["probes"] in (setting.get("probes"), setting.get("products"))


def judge_density(setting, answers, truth, files) -> Verdict:
    """Weights sum to one, and the largest node is an eigenvalue."""
    del setting, files
    (answer,) = answers
    total, top = np.sum(answer["weights"]), np.max(answer["nodes"])
    error = abs(top / truth["values"][0] - 1)
    good = abs(total - 1) < 1e-3 and error < 1e-2
    return Verdict(bool(good), f"weights sum to {total:.4f}, top node {error:.0e} off")


def _range(answers: Sequence[Mapping[str, np.ndarray]]) -> str:
    """The products that were used, from least to most."""
    counts = sorted({int(answer["products"]) for answer in answers})
    return f"{counts[0]}-{counts[-1]}" if len(counts) > 1 else f"{counts[0]}"


def _residuals_by(reference: Worker) -> dict[str, Any]:
    """The truth includes how to measure residuals."""

    def residuals(file: Path) -> np.ndarray:
        out = file.with_suffix(".residuals.npz")
        request = {"row": "residuals", "setting": {"file": str(file)}}
        reference.ask(request | {"save": str(out)}, 120)
        with np.load(out) as found:
            return found["residuals"]

    return {"residuals": residuals}


BENCHMARK = Benchmark(
    name="curvature",
    description="The Hessian of a tanh network with 235,146 parameters "
    "(784-256-128-10), mean cross-entropy of 1024 examples, after 300 steps.",
    problem=problem.make,
    subject=Tool("jaxdl", f"{_MODULES}.with_jaxdl"),
    peers=(
        Tool("jax", f"{_MODULES}.with_jax"),
        Tool("jax-linearize", f"{_MODULES}.with_jax_linearize"),
        Tool("torch", f"{_MODULES}.with_torch", ".venv-bench-torch"),
        Tool("pyhessian", f"{_MODULES}.with_pyhessian", ".venv-bench-torch"),
        Tool("eigenthings", f"{_MODULES}.with_eigenthings", ".venv-bench-torch"),
        Tool("curvlinops", f"{_MODULES}.with_curvlinops", ".venv-bench-torch"),
        Tool("matfree", f"{_MODULES}.with_matfree", ".venv-bench-matfree"),
    ),
    rows=(
        Row("hvp", "Hessian-vector product", judge_product, target=1.05),
        Row(
            "eigenpairs",
            "five largest eigenpairs",
            judge_eigenpairs,
            3,
            each=True,
            target=0.6,
        ),
        Row("trace", "trace to 1 %", judge_trace, 4, _enough_probes, target=0.6),
        Row("density", "density, 1 probe of 50 steps", judge_density),
    ),
    reference=Tool("reference", f"{_MODULES}.reference"),
    facts=facts,
    judge_with=_residuals_by,
)


if __name__ == "__main__":
    sys.exit(main(BENCHMARK))
