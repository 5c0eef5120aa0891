"""Decay rules on a noisy quadratic: at equal budget, each at its own best rate."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import jax
import numpy as np

from experiments._figures import BLACK, GRAY, PALETTE, Plot, figure
from experiments._findings import Finding, at_most, relative
from experiments._rate_quadratic import (
    RULES,
    deviation,
    loss,
    rules,
    second_moments,
    simulate,
    values,
)
from jaxdl import optim

SLOPES = {
    "right": ("1 / (lambda t)", -1.0),
    "small": ("a quarter of it", -0.5),
    "root": ("1 / (lambda root of t)", -0.5),
    "constant": ("constant", 0.0),
}
"""Schedules in one dimension, and the power of t that the loss goes with."""
_GROUPS = 20
"""Groups of seeds, whose slopes give a standard error."""
COLORS = (BLACK, *PALETTE[:6], GRAY)


@dataclass(frozen=True)
class Config:
    """The quadratic of the drops, and one of a single dimension; float64."""

    dim: int = 8
    """Dimensions; eigenvalues from 1 down in equal ratios."""
    kappa: float = 200.0
    """Largest over smallest eigenvalue."""
    noise: float = 0.2
    """Standard deviation of the gradient's noise on the steepest axis; its variance
    goes with the eigenvalue. In one dimension too."""
    start: float = 3.0
    """Error along each axis at the start."""
    steps: int = 1000
    """Updates: the budget of each rule."""
    rates: int = 30
    """Initial learning rates tried, in equal ratios from 0.01 to 1.9."""
    seeds: int = 1000
    """Independent runs of each rule at its best rate."""

    def __post_init__(self):
        """Reject what could not be run.

        Raises:
            ValueError: Which field is wrong.
        """
        for name, least in (("dim", 2), ("rates", 3)):
            if getattr(self, name) < least:
                raise ValueError(
                    f"rules.{name} must be >= {least}, got {getattr(self, name)}"
                )
        if self.steps < 100 or self.steps % 50:
            raise ValueError(
                f"rules.steps must be >= 100 and a multiple of 50, got {self.steps}"
            )
        if self.seeds < 2 * _GROUPS or self.seeds % _GROUPS:
            raise ValueError(
                f"rules.seeds must be a multiple of {_GROUPS}, at least "
                f"{2 * _GROUPS}, got {self.seeds}"
            )
        if not 1 < self.kappa < np.inf:
            raise ValueError(f"rules.kappa must be > 1, got {self.kappa}")
        for name in ("noise", "start"):
            if not 0 < getattr(self, name) < np.inf:
                raise ValueError(f"rules.{name} must be > 0, got {getattr(self, name)}")


@dataclass(frozen=True)
class Result:
    """Rows are the `RULES`, or the schedules of `SLOPES`."""

    steps: int
    noise: float
    rates: np.ndarray  # (g,) initial learning rates
    exact: np.ndarray  # (8, g) expected loss at the end
    best: np.ndarray  # (8,) index of the least
    means: np.ndarray  # (8,) mean loss at the end, simulated at the best rate
    errors: np.ndarray  # (8,) its standard error
    deviations: np.ndarray  # (8,) of the mean from the exact, in standard errors
    curves: np.ndarray  # (8, steps + 1) expected loss at the best rate
    times: np.ndarray  # (records,) steps of the records in one dimension
    one: np.ndarray  # (4, records) mean loss over seeds in one dimension
    one_exact: np.ndarray  # (4, records)
    one_deviations: np.ndarray  # (4,) at the end, in standard errors
    slopes: np.ndarray  # (4,) of log loss against log t, over the last nine tenths
    slope_errors: np.ndarray  # (4,)
    exact_slopes: np.ndarray  # (4,) of the expected loss
    far_slopes: np.ndarray  # (4,) of the expected loss, from 10 to 100 budgets


def work(config: Config) -> float:
    """Seconds this takes, roughly, on two cores."""
    return 4 + 8e-8 * config.seeds * config.steps * (8 * config.dim + 8)


def run(config: Config, key: jax.Array, tick: Callable[[float], object]) -> Result:
    """All rates in expectation, then each rule's best by simulation."""
    curvatures = np.geomspace(1, 1 / config.kappa, config.dim)
    noise, start = config.noise * np.sqrt(curvatures), np.full(config.dim, config.start)
    rates = np.geomspace(0.01, 1.9, config.rates)
    rows = []
    with jax.enable_x64(True):
        rule_key, one_key = jax.random.split(key)
        keys = jax.random.split(rule_key, len(RULES))
        for one, rule in zip(keys, rules(config.steps).values(), strict=True):
            tables = np.stack([values(rule(rate), config.steps) for rate in rates])
            path = loss(curvatures, second_moments(curvatures, noise, start, tables))
            best = int(np.argmin(np.where(np.isfinite(path[-1]), path[-1], np.inf)))
            final = simulate(
                one, curvatures, noise, start, tables[best], config.seeds, config.steps
            )[-1]
            losses = loss(curvatures, np.asarray(final) ** 2)
            rows.append({
                "exact": path[-1],
                "best": best,
                "means": losses.mean(),
                "errors": losses.std(ddof=1) / np.sqrt(config.seeds),
                "deviations": deviation(losses, path[-1, best]),
                "curves": path[:, best],
            })
            tick(0.8 / len(RULES))
        one = [
            _one(config, name, key)
            for name, key in zip(SLOPES, jax.random.split(one_key, 4), strict=True)
        ]
        tick(0.2)
    return Result(
        steps=config.steps,
        noise=config.noise,
        rates=rates,
        times=np.arange(1, 51) * (config.steps // 50),
        **{name: np.array([row[name] for row in rows]) for name in rows[0]},
        **{name: np.array([row[name] for row in one]) for name in one[0]},
    )


def _one(config, name, key):
    """One dimension of curvature 1, from an error of 1."""
    schedule = {
        "right": optim.inverse_time_decay(1.0, 1.0),
        "small": optim.inverse_time_decay(0.25, 1.0),
        "root": optim.inverse_root_decay(1.0, 1.0),
        "constant": optim.constant_schedule(0.5),
    }[name]
    far_rates = values(schedule, 100 * config.steps)
    rates = far_rates[: config.steps]
    unit, noise = np.ones(1), np.full(1, config.noise)
    every = config.steps // 50
    path = np.asarray(simulate(key, unit, noise, unit, rates, config.seeds, every))
    losses = loss(unit, path[1:] ** 2)
    far = loss(unit, second_moments(unit, noise, unit, far_rates))
    exact = far[: config.steps + 1][every::every]
    times = np.arange(1, 51) * every
    groups = losses.reshape(50, _GROUPS, -1).mean(2)
    slopes = [_slope(times, group) for group in groups.T]
    return {
        "one": losses.mean(1),
        "one_exact": exact,
        "one_deviations": deviation(losses[-1], exact[-1]),
        "slopes": np.mean(slopes),
        "slope_errors": np.std(slopes, ddof=1) / np.sqrt(_GROUPS),
        "exact_slopes": _slope(times, exact),
        "far_slopes": _slope(100 * times, far[100 * times]),
    }


def _slope(times, losses):
    """Of log loss against log t, over the last nine tenths."""
    late = times >= times[-1] / 10
    return np.polyfit(np.log(times[late]), np.log(losses[late]), 1)[0]


def check(result: Result) -> list[Finding]:
    """What the rules reach, and the power of t each schedule goes with."""
    names = list(RULES)
    final = result.exact[np.arange(len(names)), result.best]
    ratios = final / final[names.index("constant")]
    told = ", ".join(
        f"{RULES[name]} {ratio:.3g} from rate {result.rates[at]:.2g}"
        for name, ratio, at in zip(names, ratios, result.best, strict=True)
    )
    theory = np.array([power for _, power in SLOPES.values()])
    right = list(SLOPES).index("right")
    sources = {
        "kind": "closed form",
        "source": "E x^2 <- (1 - rate lambda)^2 E x^2 + rate^2 sigma^2",
    }
    return [
        at_most(
            "decay: at the end of the budget the mean loss of each rule is that of "
            "the recursion: largest deviation",
            measured=np.max(np.abs(result.deviations)),
            high=4.0,
            unit="standard errors",
            **sources,
            note=f"{len(names)} rules, each at its best initial rate; standard errors "
            f"of {np.max(result.errors / result.means):.2g} of the mean at most",
        ),
        at_most(
            "decay: on a noisy quadratic every rule ends below the constant rate, each "
            "at its own best initial rate: largest ratio of expected losses",
            measured=np.max(np.delete(ratios, names.index("constant"))),
            high=1.0,
            **sources,
            note=told,
        ),
        relative(
            "1 / (lambda t) is optimal: after T steps the expected loss is "
            "sigma^2 / (2 lambda T), that of the mean of T readings",
            measured=result.one_exact[right, -1],
            expected=result.noise**2 / 2 / result.steps,
            tolerance=1e-9,
            kind="closed form",
            source="x_T = -(sum of noise) / (lambda T)",
        ),
        at_most(
            "in one dimension the mean loss at the end is that of the recursion, for "
            "four schedules: largest deviation",
            measured=np.max(np.abs(result.one_deviations)),
            high=4.0,
            unit="standard errors",
            **sources,
        ),
        at_most(
            "in one dimension the loss falls as t to the power -1 at 1 / (lambda t), "
            "-1/2 at a quarter of that and at 1 / (lambda root of t), 0 at a constant "
            "rate: largest difference, expected loss from 10 to 100 budgets",
            measured=np.max(np.abs(result.far_slopes - theory)),
            high=0.01,
            kind="closed form",
            source="t^-min(1, 2 c) at c / (lambda t); rate sigma^2 / (2 lambda) else",
            note=_listed(result.far_slopes),
        ),
        at_most(
            "the simulated slopes within the budget are those of the expected loss: "
            "largest deviation",
            measured=np.max(
                np.abs(result.slopes - result.exact_slopes) / result.slope_errors
            ),
            high=4.0,
            unit="standard errors",
            **sources,
            note=_listed(result.slopes)
            + f"; standard errors of {np.max(result.slope_errors):.2g} at most",
        ),
    ]


def _listed(slopes):
    """The four slopes in words."""
    return ", ".join(
        f"{label} {slope:.4f}"
        for (label, _), slope in zip(SLOPES.values(), slopes, strict=True)
    )


def plot(result: Result) -> dict[str, Plot]:
    """The rules on the quadratic, and the powers of t."""
    drawn, (left, right) = figure(1, 2, height=3.4)
    lowest = np.nanmin(result.exact)
    for row, (label, color) in enumerate(zip(RULES.values(), COLORS, strict=True)):
        shown = np.where(result.exact[row] < 100 * lowest, result.exact[row], np.nan)
        left.loglog(result.rates, shown, color=color, label=label)
        best = result.best[row]
        left.errorbar(
            result.rates[best],
            result.means[row],
            2 * result.errors[row],
            color=color,
            fmt="o",
            ms=4,
        )
        right.semilogy(result.curves[row], color=color)
    left.set(xlabel="initial learning rate", ylabel="expected loss at the end")
    right.set(xlabel="step", ylabel="expected loss, best rate", ylim=(lowest / 2, None))
    drawn.legend(loc="outside lower center", ncols=4)
    names = list(RULES.values())
    final = result.exact[np.arange(len(names)), result.best]
    order = np.argsort(final)
    quadratic = Plot(
        drawn,
        caption=f"Decay rules on a noisy quadratic, {result.steps} steps. Left: by the "
        "initial rate, lines exact, dots simulated at the best rate with two standard "
        "errors. Right: the expected loss on the way.",
        alt="Expected loss at the end against the initial rate, one curve with a "
        "minimum for each rule. From lowest to highest: "
        + ", ".join(f"{names[i]} {final[i]:.2g}" for i in order)
        + ".",
    )
    return {"rules": quadratic, "powers": _plot_powers(result)}


def _plot_powers(result):
    """Loss against time in one dimension."""
    drawn, axes = figure()
    for row, ((label, power), color) in enumerate(
        zip(SLOPES.values(), PALETTE, strict=False)
    ):
        axes.loglog(result.times, result.one_exact[row], color=color, lw=0.9)
        axes.loglog(
            result.times, result.one[row], ".", color=color, label=f"{label}: {power:g}"
        )
    axes.set(xlabel="step t", ylabel="mean loss")
    axes.set_ylim(None, 6 * result.one.max())
    axes.legend(title="learning rate: power of t", title_fontsize=8, ncols=2)
    return Plot(
        drawn,
        caption="One dimension with noise: mean loss (dots) on its expectation "
        "(lines). With the right constant 1 / t is as good as averaging all readings.",
        alt="Mean loss against step, both logarithmic. Slopes: "
        + _listed(result.slopes)
        + ".",
    )


def metrics(result: Result) -> Iterator[dict]:
    """One row a rule."""
    for row, name in enumerate(RULES):
        yield {
            "part": "rules",
            "rule": name,
            "best_rate": float(result.rates[result.best[row]]),
            "expected_loss": float(result.exact[row, result.best[row]]),
            "mean_loss": float(result.means[row]),
            "standard_error": float(result.errors[row]),
        }
