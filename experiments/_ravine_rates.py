"""Steps against the condition number: what each method pays for a ravine."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from experiments._figures import GRAY, Plot, figure
from experiments._findings import Finding, at_most, close, relative
from experiments._ravine_descent import (
    COLORS,
    LABELS,
    TUNED,
    amplitudes,
    contraction,
    spectral_radius,
    steps_to,
    trajectories,
    tuning,
)
from jaxdl import curvature

POLYAK = {
    "kind": "closed form",
    "source": "Polyak (1964), Some methods of speeding up the convergence of iteration "
    "methods; Goh (2017), https://distill.pub/2017/momentum",
}
NESTEROV = {"kind": "closed form", "source": "roots of its recurrence"}
DESCENT = {"kind": "closed form", "source": "(1 - rate lambda)^t"}
SOURCES = {
    "gradient_descent": DESCENT,
    "best_step": DESCENT,
    "heavy_ball": POLYAK,
    "nesterov": NESTEROV,
}
FORMULAS = {
    "gradient_descent": "1 - mu / L",
    "best_step": "(kappa - 1) / (kappa + 1)",
    "heavy_ball": "(sqrt(kappa) - 1) / (sqrt(kappa) + 1)",
    "nesterov": "1 - 1 / sqrt(kappa)",
}
SLOPES = {"gradient_descent": 1, "best_step": 1, "heavy_ball": 0.5, "nesterov": 0.5}


@dataclass(frozen=True)
class Config:
    """Quadratics with eigenvalues in equal ratios from L = 1 down to mu = 1 / kappa.

    Axes and starting points are random, one draw a seed; float64.
    """

    dim: int = 10
    """Dimensions."""
    kappas: tuple[float, ...] = (10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0, 10000.0)
    """Condition numbers, ascending."""
    seeds: int = 10
    """Draws of axes and starting point."""
    tolerance: float = 1e-6
    """Distance to the minimum that ends a run, in units of that at the start."""
    adaptive_rate: float = 1e-3
    """Learning rate of Adam and RMSprop: Adam's default, which knows of no L."""
    limit: int = 50000
    """Steps after which the methods with default settings are given up."""
    curve_kappa: float = 1000.0
    """Condition number of the runs that are followed step by step."""
    curve_steps: int = 3000
    """Steps of these."""

    def __post_init__(self):
        """Reject what could not be run.

        Raises:
            ValueError: Which field is wrong.
        """
        for name in ("seeds", "limit", "curve_steps"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"rates.{name} must be >= 1, got {getattr(self, name)}"
                )
        if self.dim < 2:
            raise ValueError(f"rates.dim must be >= 2, got {self.dim}")
        kappas = self.kappas
        ascending = all(a < b for a, b in itertools.pairwise(kappas))
        if len(kappas) < 3 or not ascending or not 1 < kappas[0] <= kappas[-1] < np.inf:
            raise ValueError(
                f"rates.kappas must be three or more ascending numbers > 1, "
                f"got {kappas}"
            )
        if not 1 < self.curve_kappa < np.inf:
            raise ValueError(f"rates.curve_kappa must be > 1, got {self.curve_kappa}")
        if not 0 < self.tolerance < 1:
            raise ValueError(
                f"rates.tolerance must lie in (0, 1), got {self.tolerance}"
            )
        if not 0 < self.adaptive_rate < np.inf:
            raise ValueError(
                f"rates.adaptive_rate must be > 0, got {self.adaptive_rate}"
            )


@dataclass(frozen=True)
class Result:
    """Rows are methods: first those of `TUNED`, then those with default settings."""

    dim: int
    kappas: np.ndarray  # (k,)
    tolerance: float
    adaptive_rate: float
    limit: int
    methods: list[str]  # (m,)
    steps: np.ndarray  # (m, k, s) to the tolerance; 0: not within the limit
    predicted: np.ndarray  # (4, k, s) the same of the tuned, from the closed form
    radii: np.ndarray  # (5, k) spectral radius of the update, last row momentum
    curve_kappa: float
    distances: np.ndarray  # (m, s, t) over the first
    flattest: np.ndarray  # (4, s, t) error along the flattest axis, over the first
    steepest: np.ndarray  # (4, s, t) along the steepest
    newton: np.ndarray  # (k, s) distance after one Newton step, over the first
    products: np.ndarray  # (k, s) Hessian products that step took


def work(config: Config) -> float:
    """Seconds this takes, roughly, on two cores."""
    runs = config.seeds * len(config.kappas) * config.dim**2
    per_step = 3e-6 + 1.5e-9 * runs
    slow = 1.5 * np.log(1 / config.tolerance) * config.kappas[-1]
    return 15 + per_step * (slow + 3 * config.limit)


def run(config: Config, key: jax.Array, tick: Callable[[float], object]) -> Result:
    """All condition numbers and seeds of one method at a time."""
    with jax.enable_x64(True):
        axes, starts = _draw(key, config.seeds, config.dim)
        spectra = np.stack([_spectrum(kappa, config.dim) for kappa in config.kappas])
        hessians = jax.vmap(lambda c: _hessians(axes, c))(spectra)
        every = jnp.broadcast_to(starts, (len(spectra), *starts.shape))
        curve = _hessians(axes, _spectrum(config.curve_kappa, config.dim))
        rows = {name: [] for name in ("steps", "distances", "flattest", "steepest")}
        methods = list(LABELS)
        for name in methods:
            pairs = [
                tuning(name, kappa, config.adaptive_rate) for kappa in config.kappas
            ]
            rates, decays = np.array(pairs).T
            limit = config.limit if name not in TUNED else _longest(config, name)
            steps = steps_to(
                name, hessians, every, rates, decays, config.tolerance, limit
            )
            rows["steps"].append(np.asarray(steps))
            setting = tuning(name, config.curve_kappa, config.adaptive_rate)
            path = trajectories(name, curve, starts, *setting, config.curve_steps)
            errors = np.asarray(jnp.einsum("std,sde->ste", path, axes))
            size = np.linalg.norm(errors, axis=2)
            rows["distances"].append(size / size[:, :1])
            if name in TUNED:
                left = errors / errors[:, :1]
                rows["steepest"].append(left[..., 0])
                rows["flattest"].append(left[..., -1])
            tick(1 / len(methods))
        newton, products = _newton(hessians, every)
        radii = [
            [
                spectral_radius(name, c, *tuning(name, kappa, config.adaptive_rate))
                for kappa, c in zip(config.kappas, spectra, strict=True)
            ]
            for name in (*TUNED, "momentum")
        ]
        in_axes = np.asarray(jnp.einsum("sd,sde->se", starts, axes))
    return Result(
        dim=config.dim,
        kappas=np.array(config.kappas),
        tolerance=config.tolerance,
        adaptive_rate=config.adaptive_rate,
        limit=config.limit,
        methods=methods,
        predicted=np.array([
            [_first_below(config, name, kappa, in_axes) for kappa in config.kappas]
            for name in TUNED
        ]),
        radii=np.array(radii),
        curve_kappa=config.curve_kappa,
        newton=np.asarray(newton),
        products=np.asarray(products),
        **{name: np.stack(row) for name, row in rows.items()},
    )


def _draw(key, seeds, dim):
    """Orthogonal axes ``(s, d, d)``, one a column, and starting points ``(s, d)``."""
    axes_key, start_key = jax.random.split(key)
    axes, _ = jnp.linalg.qr(jax.random.normal(axes_key, (seeds, dim, dim)))
    return axes, jax.random.normal(start_key, (seeds, dim))


def _spectrum(kappa, dim):
    """Eigenvalues from 1 down to 1 / kappa."""
    return np.geomspace(1, 1 / kappa, dim)


def _hessians(axes, spectrum):
    """``Q diag(c) Q'`` for each seed's axes Q."""
    return jnp.einsum("sij,j,skj->sik", axes, jnp.asarray(spectrum), axes)


def _longest(config, name, kappa=None):
    """Steps within which a tuned method must have arrived, from its rate alone.

    The factor 2 and the 10 leave room for the double roots of momentum.
    """
    rate = contraction(name, config.kappas[-1] if kappa is None else kappa)
    return int(10 + 2 * np.log(config.tolerance) / np.log(rate))


def _first_below(config, name, kappa, starts):
    """Steps to the tolerance from the closed form, ``(s,)``."""
    rate, decay = tuning(name, kappa, config.adaptive_rate)
    spectrum = _spectrum(kappa, config.dim)
    left = amplitudes(name, spectrum, rate, decay, _longest(config, name, kappa))
    shares = starts**2 / np.sum(starts**2, 1, keepdims=True)
    reached = np.sqrt(left**2 @ shares.T) <= config.tolerance
    return np.where(reached.any(0), reached.argmax(0), 0)


@jax.jit
def _newton(hessians, starts):
    """One Newton step from each start, by conjugate gradients."""

    def one(hessian, start):
        operator = curvature.from_matrix(hessian)
        step = curvature.conjugate_gradient(operator, -(hessian @ start), tol=1e-12)
        left = jnp.linalg.norm(start + step.x) / jnp.linalg.norm(start)
        return left, step.iterations

    return jax.vmap(jax.vmap(one))(hessians, starts)


def slope(result: Result, row: int) -> float:
    """Of log steps, median over seeds, against log kappa, over the upper half."""
    steps = result.steps[row].astype(float)
    middle = np.median(np.where(steps > 0, steps, np.inf), 1)
    upper = slice(len(middle) // 2, None)
    if not np.all(np.isfinite(middle[upper])):
        return float("nan")
    return float(np.polyfit(np.log(result.kappas[upper]), np.log(middle[upper]), 1)[0])


def check(result: Result) -> list[Finding]:
    """Rates, components and steps against closed forms; slopes; the others."""
    findings = []
    for row, name in enumerate(TUNED):
        label = LABELS[name]
        exact = np.array([contraction(name, kappa) for kappa in result.kappas])
        findings += [
            at_most(
                f"{label}: the spectral radius of the update is {FORMULAS[name]}: "
                "largest deviation over condition numbers",
                measured=np.max(np.abs(result.radii[row] - exact)),
                high=1e-12 if name in ("gradient_descent", "best_step") else 1e-7,
                **SOURCES[name],
                note=""
                if SOURCES[name] is DESCENT
                else "the root is double; an eigenvalue solver finds such to the "
                "square root of rounding, 1.5e-8",
            ),
            close(
                f"{label}: steps to the tolerance are those of the closed form: "
                "largest difference over condition numbers and seeds",
                measured=int(np.max(np.abs(result.steps[row] - result.predicted[row]))),
                expected=0,
                tolerance=0,
                unit="steps",
                **SOURCES[name],
            ),
            close(
                f"{label}: steps grow as kappa to the power {SLOPES[name]:g}: slope of "
                "the upper half, logarithmic",
                measured=slope(result, row),
                expected=SLOPES[name],
                tolerance=0.05,
                **SOURCES[name],
                note=_slope_note(result, row),
            ),
        ]
    return [*findings, *_components(result), *_defaults(result), *_one_step(result)]


def _slope_note(result, row):
    """What the closed form gives at these condition numbers."""
    predicted = np.median(result.predicted[row], 1)
    upper = slice(len(predicted) // 2, None)
    fit = np.polyfit(np.log(result.kappas[upper]), np.log(predicted[upper]), 1)[0]
    return f"{fit:.4f} for the predicted steps"


def _components(result):
    """The ends of the spectrum against their closed forms, until the tolerance."""
    q = 1 / np.sqrt(result.curve_kappa)
    t = np.arange(result.distances.shape[2])
    r = (1 - q) / (1 + q)
    cases = (
        (
            "gradient_descent",
            "flattest",
            "(1 - mu / L)^t",
            (1 - 1 / result.curve_kappa) ** t,
        ),
        (
            "heavy_ball",
            "flattest",
            "(1 + (1 - r) t) r^t",
            (1 + (1 - r) * t) * r**t,
        ),
        (
            "heavy_ball",
            "steepest",
            "(1 + (1 + r) t) (-r)^t",
            (1 + (1 + r) * t) * (-r) ** t,
        ),
        (
            "nesterov",
            "flattest",
            "(1 + q t / (1 + q)) (1 - q)^t",
            (1 + q * t / (1 + q)) * (1 - q) ** t,
        ),
    )
    findings = []
    for name, which, formula, exact in cases:
        row = TUNED.index(name)
        on_the_way = result.distances[row] > result.tolerance
        off = np.abs(getattr(result, which)[row] / exact - 1)
        findings.append(
            at_most(
                f"{LABELS[name]}: the error along the {which} axis is {formula}: "
                "largest relative deviation before the tolerance",
                measured=np.max(np.where(on_the_way, off, 0)),
                high=1e-8,
                **SOURCES[name],
                note=f"kappa = {result.curve_kappa:g}; r = sqrt(beta), "
                "q = 1 / sqrt(kappa). A double root gives the factor t",
            )
        )
    return findings


def _defaults(result):
    """Momentum, RMSprop and Adam, which were not told L and mu."""
    rows = {name: result.methods.index(name) for name in result.methods}
    descent, momentum = (
        result.steps[rows[name]] for name in ("gradient_descent", "momentum")
    )
    flat = 1 / result.kappas[-1]
    root = np.roots([1, flat - 1.9, 0.9])
    faster = np.log(np.max(np.abs(root))) / np.log(1 - flat)
    gain = np.median(descent[-1] / np.where(momentum[-1] > 0, momentum[-1], np.inf))
    never = np.mean(result.steps[rows["rmsprop"]] == 0)
    floor = result.adaptive_rate * np.sqrt(result.dim) / 2
    return [
        relative(
            "a momentum of 0.9 divides the steps of gradient descent by about "
            "1 / (1 - 0.9) and does not change their growth: ratio of steps at the "
            "largest kappa, median over seeds",
            measured=gain,
            expected=faster,
            tolerance=0.02,
            kind="closed form",
            source="larger root of z^2 - (1.9 - 1 / kappa) z + 0.9, which is "
            "1 - 10 / kappa + O(1 / kappa^2)",
        ),
        close(
            "RMSprop at a constant rate hovers about the minimum, about half a step "
            "away in each coordinate: share of runs that miss the tolerance",
            measured=never,
            expected=1.0,
            tolerance=0.0,
            kind="observation",
            source="this study",
            note=f"rate sqrt(d) / 2 = {floor:.3g}, relative to a start of length "
            f"about {np.sqrt(result.dim):.2g}; the tolerance is {result.tolerance:g}",
        ),
    ]


def _one_step(result):
    """Newton."""
    return [
        at_most(
            "one Newton step ends at the minimum of a quadratic: largest distance "
            "left, over kappa times the tolerance of the linear solve",
            measured=np.max(result.newton / result.kappas[:, None]) / 1e-12,
            high=1.0,
            kind="theorem",
            source="x - H^-1 g = 0; |error| <= kappa |residual| / |g| |x|",
            note=f"the solve takes {int(np.min(result.products))} to "
            f"{int(np.max(result.products))} products by the Hessian in {result.dim} "
            f"dimensions, where exact arithmetic needs {result.dim}",
        )
    ]


def plot(result: Result) -> dict[str, Plot]:
    """Steps against kappa, and error against step."""
    return {"steps": _plot_steps(result), "errors": _plot_errors(result)}


def _plot_steps(result):
    """Medians over seeds, with lines of the rates."""
    drawn, axes = figure(height=3.9, width=6.4)
    fine = np.geomspace(result.kappas[0], result.kappas[-1], 60)
    for row, name in enumerate(result.methods):
        steps = result.steps[row].astype(float)
        middle = np.median(np.where(steps > 0, steps, np.inf), 1)
        reached = np.isfinite(middle)
        if np.any(reached):
            axes.loglog(
                result.kappas[reached],
                middle[reached],
                "o",
                color=COLORS[name],
                label=LABELS[name],
                ms=5,
            )
        if name in TUNED:
            rates = np.array([contraction(name, kappa) for kappa in fine])
            line = np.log(result.tolerance) / np.log(rates)
            axes.loglog(fine, line, color=COLORS[name], lw=0.9)
    axes.loglog(
        result.kappas,
        np.median(result.products, 1),
        "x",
        color=GRAY,
        label="Newton, products of one step",
        ms=5,
    )
    missed = [
        LABELS[name]
        for row, name in enumerate(result.methods)
        if np.any(np.median(result.steps[row] == 0, 1) > 0)
    ]
    axes.set(xlabel="condition number", ylabel="steps to the tolerance")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return Plot(
        drawn,
        caption="Steps until the distance to the minimum is "
        f"{result.tolerance:g} of what it was, median over "
        f"{result.steps.shape[2]} seeds. Lines: ln(tolerance) / ln(spectral radius). "
        "Heavy ball needs more, as both ends of the spectrum have a double root."
        + (
            f" Not there within {result.limit} steps at some kappa: "
            f"{', '.join(missed)}."
            if missed
            else ""
        ),
        alt="Steps to the tolerance against the condition number, both logarithmic. "
        + "; ".join(
            f"{LABELS[name]}: slope {slope(result, row):.2f}"
            for row, name in enumerate(result.methods)
            if np.isfinite(slope(result, row))
        )
        + ".",
    )


def _plot_errors(result):
    """One seed, all methods, at one condition number."""
    drawn, axes = figure(width=6.4, height=3.4)
    smallest = 1e-12
    for row, name in enumerate(result.methods):
        curve = result.distances[row, 0]
        shown = np.where(curve > smallest, curve, np.nan)
        axes.semilogy(shown, color=COLORS[name], label=LABELS[name])
    axes.set(
        xlabel="step", ylabel="distance, over that at the start", ylim=(smallest, 30)
    )
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    ends = [
        f"{LABELS[name]} {result.distances[row, 0, -1]:.1g}"
        for row, name in enumerate(result.methods)
    ]
    return Plot(
        drawn,
        caption=f"Distance to the minimum at condition number {result.curve_kappa:g}, "
        f"one seed. Adam and RMSprop have a learning rate of {result.adaptive_rate:g}.",
        alt="Distance to the minimum against step. At the end: "
        + ", ".join(ends)
        + ".",
    )


def metrics(result: Result) -> Iterator[dict]:
    """One row a method and condition number."""
    for row, name in enumerate(result.methods):
        for column, kappa in enumerate(result.kappas):
            steps = result.steps[row, column]
            yield {
                "part": "rates",
                "method": name,
                "kappa": float(kappa),
                "steps_median": float(np.median(steps)) if steps.all() else None,
                "not_reached": int(np.sum(steps == 0)),
            }
