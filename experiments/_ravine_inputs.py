"""Least squares on inputs of different units: standardization makes it a bowl."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from experiments._figures import GRAY, PALETTE, Plot, figure
from experiments._findings import Finding, at_least, at_most, close
from experiments._ravine_descent import steps_to
from jaxdl import data
from jaxdl.diagnostics import data_conditioning

VERSIONS = {"raw": "as they are", "centred": "centred", "standardized": "standardized"}


@dataclass(frozen=True)
class Config:
    """Inputs with a bias; gradient descent at 2 / (L + mu); float64."""

    n_train: int = 200
    """Rows."""
    dim: int = 5
    """Features, independent and Gaussian."""
    largest_scale: float = 10.0
    """Standard deviation of the last feature; the first has 1, in equal ratios."""
    offset: float = 1.0
    """Mean of each feature, in its standard deviations."""
    seeds: int = 10
    """Draws of the data."""
    tolerance: float = 1e-6
    """Distance to the solution that ends a run, in units of that at the start."""
    limit: int = 200000
    """Steps after which a run is given up."""

    def __post_init__(self):
        """Reject what could not be run.

        Raises:
            ValueError: Which field is wrong.
        """
        if self.dim < 1 or self.n_train < self.dim + 2:
            raise ValueError(
                "inputs.n_train must be >= dim + 2 and dim >= 1, got "
                f"{self.n_train} and {self.dim}"
            )
        if self.seeds < 1 or self.limit < 1:
            raise ValueError(
                f"inputs.seeds and limit must be >= 1, got {self.seeds} and "
                f"{self.limit}"
            )
        if not 1 <= self.largest_scale < np.inf:
            raise ValueError(
                f"inputs.largest_scale must be >= 1, got {self.largest_scale}"
            )
        if not np.isfinite(self.offset):
            raise ValueError(f"inputs.offset must be finite, got {self.offset}")
        if not 0 < self.tolerance < 1:
            raise ValueError(
                f"inputs.tolerance must lie in (0, 1), got {self.tolerance}"
            )


@dataclass(frozen=True)
class Result:
    """Rows are the `VERSIONS` of the inputs."""

    tolerance: float
    n_train: int
    dim: int
    kappas: np.ndarray  # (3, s)
    steps: np.ndarray  # (3, s) to the tolerance; 0: not within the limit
    wine: np.ndarray  # (3,) condition number of the wine data, with bias


def work(config: Config) -> float:
    """Seconds this takes, roughly, on two cores."""
    return 3 + 6e-6 * min(
        config.limit, 20 * config.largest_scale**2 * (1 + config.offset**2)
    )


def run(config: Config, key: jax.Array, tick: Callable[[float], object]) -> Result:
    """All versions and seeds at once."""
    with jax.enable_x64(True):
        inputs = np.asarray(
            jax.random.normal(key, (config.seeds, config.n_train, config.dim))
        )
        scales = np.geomspace(1, config.largest_scale, config.dim)
        raw = scales * (inputs + config.offset)
        kappas, hessians = [], []
        for version in VERSIONS:
            rows = [_prepared(version, x) for x in raw]
            found = [data_conditioning(x, bias=True) for x in rows]
            kappas.append([each.condition_number for each in found])
            biased = [np.column_stack([x, np.ones(len(x))]) for x in rows]
            hessians.append([x.T @ x / len(x) for x in biased])
        hessians, kappas = np.array(hessians), np.array(kappas)
        largest = np.linalg.eigvalsh(hessians)[..., -1]
        rates = 2 / (largest * (1 + 1 / kappas))
        tick(0.3)
        # The error w - w* of the weights starts at -w*, here all ones.
        steps = _steps(hessians, rates, config.tolerance, config.limit)
        tick(0.7)
    wine = data.wine().x
    return Result(
        tolerance=config.tolerance,
        n_train=config.n_train,
        dim=config.dim,
        kappas=kappas,
        steps=np.asarray(steps),
        wine=np.array([
            data_conditioning(_prepared(version, wine), bias=True).condition_number
            for version in VERSIONS
        ]),
    )


def _prepared(version, x):
    """One version of the inputs ``(n, d)``."""
    stats = data.standardize_fit(x)
    return {
        "raw": x,
        "centred": x - stats.mean,
        "standardized": data.standardize(stats, x),
    }[version]


def _steps(hessians, rates, tolerance, limit):
    """Steps of each problem, ``(3, s)``."""
    size = hessians.shape[-1]
    flat = jnp.asarray(hessians).reshape(-1, 1, size, size)
    starts = jnp.ones((len(flat), 1, size))
    rates = jnp.asarray(rates).ravel()
    found = steps_to(
        "best_step", flat, starts, rates, jnp.zeros_like(rates), tolerance, limit
    )
    return found.reshape(hessians.shape[:2])


def slope(result: Result) -> float:
    """Of log steps against log kappa, over all versions and seeds."""
    reached = result.steps > 0
    if not np.all(reached):
        return float("nan")
    return float(
        np.polyfit(np.log(result.kappas.ravel()), np.log(result.steps.ravel()), 1)[0]
    )


def check(result: Result) -> list[Finding]:
    """The condition number falls, and the steps with it."""
    steps = np.where(result.steps > 0, result.steps, np.inf)
    bound = np.log(result.tolerance) / np.log1p(-2 / (result.kappas + 1))
    raw, standardized = 0, len(VERSIONS) - 1
    falls = result.kappas[:-1] / result.kappas[1:]
    return [
        at_least(
            "least squares: centring inputs lowers the condition number, and so does "
            "standardizing them: factor, least over both and over seeds",
            measured=np.min(falls),
            low=1.0,
            kind="observation",
            source="this study",
            note="medians: "
            + ", ".join(
                f"{label} {value:.4g}"
                for label, value in zip(
                    VERSIONS.values(), np.median(result.kappas, 1), strict=True
                )
            ),
        ),
        at_most(
            "least squares: no run takes more steps than its condition number allows: "
            "largest ratio to ln(tolerance) / ln((kappa - 1) / (kappa + 1))",
            measured=np.max(steps / np.ceil(bound)),
            high=1.0,
            kind="theorem",
            source="gradient descent at 2 / (L + mu)",
        ),
        close(
            "least squares: steps fall as the condition number does: logarithmic "
            "slope over all inputs and seeds",
            measured=slope(result),
            expected=1.0,
            tolerance=0.15,
            kind="closed form",
            source="gradient descent at 2 / (L + mu); kappa large",
        ),
        at_least(
            "least squares: standardizing inputs saves steps: steps before over steps "
            "after, least over seeds",
            measured=np.min(
                np.where(np.isfinite(steps[raw]), steps[raw], 0) / steps[standardized]
            ),
            low=10.0,
            kind="observation",
            source="this study",
        ),
        at_least(
            "wine, thirteen measures in their own units: standardizing lowers the "
            "condition number: factor",
            measured=result.wine[raw] / result.wine[standardized],
            low=100.0,
            kind="observation",
            source="this study",
            note=f"from {result.wine[raw]:.3g} to {result.wine[standardized]:.3g}",
        ),
    ]


def plot(result: Result) -> Plot:
    """Steps against the condition number, one dot a data set."""
    drawn, axes = figure()
    for row, (label, color) in enumerate(zip(VERSIONS.values(), PALETTE, strict=False)):
        steps = result.steps[row]
        reached = steps > 0
        axes.loglog(
            result.kappas[row][reached],
            steps[reached],
            "o",
            color=color,
            mfc="none",
            label=label,
        )
    fine = np.geomspace(np.min(result.kappas), np.max(result.kappas), 50)
    line = np.log(result.tolerance) / np.log1p(-2 / (fine + 1))
    axes.loglog(fine, line, color=GRAY, lw=0.9, label="bound from kappa")
    axes.set(xlabel="condition number of the inputs", ylabel="steps to the tolerance")
    axes.legend()
    kappas = np.median(result.kappas, 1)
    return Plot(
        drawn,
        caption=f"Least squares with {result.dim} features of different units and a "
        f"bias, {result.n_train} rows, by gradient descent at its best step; each dot "
        "is a data set.",
        alt="Steps against condition number, both logarithmic: dots along a line of "
        "slope one. Median condition numbers: "
        + ", ".join(
            f"{label} {value:.3g}"
            for label, value in zip(VERSIONS.values(), kappas, strict=True)
        )
        + ".",
    )


def metrics(result: Result) -> Iterator[dict]:
    """One row a version and seed."""
    for row, version in enumerate(VERSIONS):
        for seed in range(result.steps.shape[1]):
            yield {
                "part": "inputs",
                "inputs": version,
                "seed": seed,
                "kappa": float(result.kappas[row, seed]),
                "steps": int(result.steps[row, seed]),
            }
