"""Double descent of least squares on Gaussian data, against exact formulas."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from experiments._figures import BLACK, BLUE, GRAY, VERMILLION, Plot, band, figure
from experiments._findings import Finding, at_least, at_most, close
from jaxdl import theory
from jaxdl.models import linear


@dataclass(frozen=True)
class Config:
    """Least squares on Gaussian data."""

    n_train: int = 40
    """Training rows."""
    dim: int = 120
    """Features in all; coefficient j has squared size proportional to 1/j."""
    noise: float = 0.2
    """Variance of the label noise; the coefficients' squared norm is 1."""
    widths: tuple[int, ...] = (
        *(1, 2, 3, 4, 6, 8, 11, 14, 18, 22, 26, 29, 32, 34, 36, 38, 39, 40, 41, 42),
        *(44, 46, 48, 51, 55, 60, 66, 73, 80, 88, 96, 104, 112, 120),
    )
    """How many of the features are used."""
    trials: int = 200
    """Independent data sets a width."""

    def __post_init__(self):
        """Reject a sweep that could not show the peak.

        Raises:
            ValueError: Which field is wrong.
        """
        if not 1 <= min(self.widths) < self.n_train < max(self.widths) <= self.dim:
            raise ValueError(
                f"least_squares.widths must lie in 1..dim={self.dim} and reach to both "
                f"sides of n_train={self.n_train}, got {self.widths}"
            )
        if self.trials < 2 or not 0 <= self.noise < np.inf:
            raise ValueError(
                "least_squares.trials must be >= 2 and noise >= 0, got "
                f"{self.trials} and {self.noise}"
            )


@dataclass(frozen=True)
class Result:
    """Excess risks, float64; one row a width, one column a trial."""

    n_train: int
    widths: np.ndarray  # (w,)
    ridgeless: np.ndarray  # (w, t)
    ridged: np.ndarray  # (w, t), at the optimal ridge
    quarter_ridge: np.ndarray  # (w, t), at a quarter of it, same data
    fourfold_ridge: np.ndarray  # (w, t), at four times it, same data
    ridgeless_exact: np.ndarray  # (w,), mean over data sets
    ridgeless_limit: np.ndarray  # (w,), n and p to infinity at fixed p / n
    ridged_limit: np.ndarray  # (w,)
    zero_risk: float  # of predicting zero


def work(config: Config) -> float:
    """Seconds this takes, roughly, on two cores."""
    return 1.0 + 4e-9 * len(config.widths) * config.trials * (
        config.n_train**2 * config.dim
    )


def run(config: Config, key: jax.Array, tick: Callable[[float], object]) -> Result:
    """Fit every width on data of its own; all trials of a width at once."""
    with jax.enable_x64(True):
        squares = 1 / jnp.arange(1, config.dim + 1, dtype=float)
        beta = jnp.sqrt(squares / squares.sum())
        rows = []
        for width in config.widths:
            keys = jax.random.split(jax.random.fold_in(key, width), config.trials)
            formulas = _formulas(config, np.asarray(beta**2), width)
            risks = _trials(
                keys,
                width,
                beta,
                config.noise,
                formulas.pop("strength"),
                config.n_train,
            )
            rows.append(jax.tree.map(np.asarray, risks | formulas))
            tick(1 / len(config.widths))
        columns = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
        return Result(config.n_train, np.array(config.widths), **columns, zero_risk=1.0)


def _formulas(config: Config, squares: np.ndarray, width: int) -> dict[str, jax.Array]:
    """What theory says; the features left out act as noise, and stay as a risk."""
    n, gamma = config.n_train, width / config.n_train
    signal, left_out = float(squares[:width].sum()), float(squares[width:].sum())
    noise = config.noise + left_out
    strength = theory.optimal_ridge(gamma, signal, noise)
    return {
        "strength": strength,
        "ridgeless_exact": theory.ridgeless_exact(
            n, width, signal, left_out, config.noise
        ).total,
        "ridgeless_limit": left_out
        + theory.ridgeless_isotropic(gamma, signal, noise).total,
        "ridged_limit": left_out
        + theory.ridge_isotropic(gamma, strength, signal, noise).total,
    }


@partial(jax.jit, static_argnums=5)
def _trials(keys, width, beta, noise, strength, n) -> dict[str, jax.Array]:
    """Excess risks of one width, ``(trials,)``; columns beyond it are zero."""

    def trial(key):
        x_key, noise_key = jax.random.split(key)
        x = jax.random.normal(x_key, (n, beta.size))
        y = x @ beta + jnp.sqrt(noise) * jax.random.normal(noise_key, (n,))
        used = jnp.where(jnp.arange(beta.size) < width, x, 0)
        problem = linear.decompose(used, y[:, None])

        def excess_risk(coefficients):
            return jnp.sum((coefficients[:, 0] - beta) ** 2)

        return {
            "ridgeless": excess_risk(linear.minimum_norm(problem)),
            "ridged": excess_risk(linear.ridge(problem, strength)),
            "quarter_ridge": excess_risk(linear.ridge(problem, strength / 4)),
            "fourfold_ridge": excess_risk(linear.ridge(problem, strength * 4)),
        }

    return jax.lax.map(trial, keys)


def check(result: Result) -> list[Finding]:
    """Simulation against the formulas, and the peak they predict."""
    n, widths = result.n_train, result.widths
    away = np.abs(widths - n) >= 5  # nearer, a few data sets make the mean
    z = _standard_errors(result.ridgeless, result.ridgeless_exact)[away]
    ridged = np.mean(result.ridged, 1)
    median = np.median(result.ridgeless, 1)
    at_n = np.argmin(np.abs(widths - n))
    exact = {
        "kind": "theorem",
        "source": "Belkin, Hsu and Xu (2020), https://arxiv.org/abs/1903.07571",
    }
    limit = {
        "kind": "closed form",
        "source": "Hastie et al. (2022), https://arxiv.org/abs/1903.08560",
    }
    return [
        at_least(
            "least squares: the mean risk is that of the exact formula at finite n: "
            "share of widths within two standard errors",
            low=0.8,
            measured=np.mean(np.abs(z) <= 2),
            **exact,
            note=f"{away.sum()} widths with |p - n| >= 5; 0.95 is expected; a true "
            "formula falls below 0.8 in less than one of a hundred runs",
        ),
        at_most(
            "least squares: the mean risk is that of the exact formula at finite n: "
            "largest deviation",
            high=5.0,
            measured=np.max(np.abs(z)),
            **exact,
            unit="standard errors",
        ),
        close(
            "least squares: the median risk peaks where features = training rows",
            expected=n,
            measured=int(widths[np.argmax(median)]),
            tolerance=2,
            kind="observation",
            source=exact["source"],
            note="the mean is infinite at |p - n| <= 1",
            unit="features",
        ),
        at_most(
            "least squares: at the optimal ridge the mean risk is that of the "
            "asymptotic formula: largest relative deviation",
            high=0.06,
            measured=np.max(np.abs(ridged / result.ridged_limit - 1)),
            **limit,
            note=f"the formula is for n to infinity; here n = {n}",
        ),
        at_least(
            "least squares: a quarter of the optimal ridge, or four times it, is "
            "worse: rise of the mean risk, averaged over widths, the lesser of both",
            low=3.0,
            measured=min(
                _paired_rise(result.quarter_ridge, result.ridged),
                _paired_rise(result.fourfold_ridge, result.ridged),
            ),
            **limit,
            unit="standard errors",
        ),
        at_least(
            "least squares: the optimal ridge removes the peak: median risk at p = n "
            "without ridge over that with it",
            low=10.0,
            measured=median[at_n] / np.median(result.ridged[at_n]),
            kind="observation",
            source=limit["source"],
        ),
        at_most(
            "least squares: at the optimal ridge no width does worse than predicting "
            "zero: largest mean risk over that of zero",
            high=1.0,
            measured=np.max(ridged) / result.zero_risk,
            **limit,
        ),
    ]


def _paired_rise(samples, reference):
    """Mean over widths and trials of the difference, in its standard errors."""
    rises = np.mean(samples - reference, axis=0)
    return np.mean(rises) / (np.std(rises, ddof=1) / np.sqrt(rises.size))


def _standard_errors(samples, expected):
    """By how many standard errors the mean of each row differs."""
    error = np.std(samples, axis=1, ddof=1) / np.sqrt(samples.shape[1])
    return (np.mean(samples, axis=1) - expected) / error


def plot(result: Result) -> Plot:
    """Risk against width, without and with ridge, and what theory says."""
    middle = np.median(result.ridgeless, 1)
    drawn, (left, right) = figure(1, 2)
    panels = (
        (left, result.ridgeless, result.ridgeless_exact, "minimum norm", "exact mean"),
        (right, result.ridged, result.ridged_limit, "optimal ridge", "asymptotic"),
    )
    for axes, samples, theory_line, title, label in panels:
        low, median, high = np.quantile(samples, (0.1, 0.5, 0.9), axis=1)
        band(
            axes, result.widths, low, median, high, label="median, 10-90 %", color=BLUE
        )
        axes.plot(result.widths, np.mean(samples, 1), ".", color=BLUE, label="mean")
        axes.plot(result.widths, theory_line, "--", color=BLACK, label=label)
        axes.axhline(result.zero_risk, color=GRAY, lw=0.8, ls=":", label="predict 0")
        axes.axvline(result.n_train, color=GRAY, lw=0.8)
        axes.set(xlabel="features used, p", title=title, yscale="log")
        axes.set_ylim(0.3, 300)
        axes.legend()
    limit = np.where(result.ridgeless_limit < 300, result.ridgeless_limit, np.nan)
    left.plot(result.widths, limit, "-.", color=VERMILLION, lw=0.8, label="asymptotic")
    left.legend()
    left.set_ylabel("excess risk")
    return Plot(
        drawn,
        caption="Least squares on Gaussian data with label noise, in units of the "
        f"signal's power; the vertical line is p = n = {result.n_train}. The exact "
        "mean is infinite at |p - n| <= 1; asymptotic: n and p to infinity.",
        alt="Excess risk against the number of features. Without ridge its median is "
        f"{np.max(middle):.0f} at its highest, at {result.widths[np.argmax(middle)]} "
        f"features, and {middle[-1]:.2f} at {result.widths[-1]}; with the optimal "
        f"ridge it is at most {np.max(np.median(result.ridged, 1)):.2f}.",
    )


def metrics(result: Result) -> Iterator[dict]:
    """One row a width."""
    for i, width in enumerate(result.widths):
        yield {
            "part": "least_squares",
            "width": int(width),
            "ridgeless_median": float(np.median(result.ridgeless[i])),
            "ridgeless_mean": float(np.mean(result.ridgeless[i])),
            "ridgeless_exact": float(result.ridgeless_exact[i]),
            "ridged_mean": float(np.mean(result.ridged[i])),
            "ridged_limit": float(result.ridged_limit[i]),
        }
