"""A drop of the learning rate: the loss falls at once, and the bill comes later."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import jax
import numpy as np

from experiments._figures import BLACK, GRAY, PALETTE, Plot, figure
from experiments._findings import Finding, at_least, at_most
from experiments._rate_quadratic import (
    deviation,
    loss,
    second_moments,
    simulate,
    values,
)
from jaxdl import optim

NAMES = {
    "kept": "high rate throughout",
    "early": "dropped early",
    "late": "dropped late",
    "low": "low rate throughout",
}
RECURSION = {
    "kind": "closed form",
    "source": "E x^2 <- (1 - rate lambda)^2 E x^2 + rate^2 sigma^2",
}


@dataclass(frozen=True)
class Config:
    """A quadratic with Gaussian noise on its gradient; float64.

    Its variance on the axis of eigenvalue lambda is proportional to lambda, as that of
    mini-batches of least squares.
    """

    dim: int = 8
    """Dimensions; eigenvalues from 1 down in equal ratios."""
    kappa: float = 200.0
    """Largest over smallest eigenvalue."""
    noise: float = 0.2
    """Standard deviation sigma of the gradient's noise on the steepest axis."""
    start: float = 3.0
    """Error along each axis at the start."""
    rate: float = 0.5
    """The high learning rate."""
    drop: float = 0.1
    """What it is multiplied by."""
    early: int = 150
    """Step of the early drop."""
    late: int = 2500
    """Step of the late drop."""
    steps: int = 3000
    """Updates."""
    every: int = 10
    """Updates between two records; divides steps and both drops."""
    seeds: int = 1000
    """Independent runs of each of the four."""

    def __post_init__(self):
        """Reject what could not be run.

        Raises:
            ValueError: Which field is wrong.
        """
        if self.dim < 2:
            raise ValueError(f"drops.dim must be >= 2, got {self.dim}")
        if self.seeds < 2:
            raise ValueError(f"drops.seeds must be >= 2, got {self.seeds}")
        if not 1 < self.kappa < np.inf:
            raise ValueError(f"drops.kappa must be > 1, got {self.kappa}")
        for name in ("noise", "start"):
            if not 0 < getattr(self, name) < np.inf:
                raise ValueError(f"drops.{name} must be > 0, got {getattr(self, name)}")
        if not 0 < self.rate < 2:
            raise ValueError(f"drops.rate must lie in (0, 2), got {self.rate}")
        if not 0 < self.drop < 1:
            raise ValueError(f"drops.drop must lie in (0, 1), got {self.drop}")
        if not 0 < self.early < self.late < self.steps:
            raise ValueError(
                "drops.early < late < steps must be positive, got "
                f"{self.early}, {self.late}, {self.steps}"
            )
        if self.every < 1 or any(
            n % self.every for n in (self.early, self.late, self.steps)
        ):
            raise ValueError(
                f"drops.every={self.every} must divide early, late and steps, "
                f"{self.early}, {self.late} and {self.steps}"
            )


@dataclass(frozen=True)
class Result:
    """Rows are the runs of `NAMES`; losses are ``sum lambda x^2 / 2``."""

    curvatures: np.ndarray  # (d,)
    noise: np.ndarray  # (d,) standard deviations
    rate: float
    drop: float
    early: int
    late: int
    every: int
    means: np.ndarray  # (4, records + 1) mean loss over seeds
    errors: np.ndarray  # (4, records + 1) its standard error
    exact: np.ndarray  # (4, steps + 1) expected loss
    deviations: np.ndarray  # (4, records) of the mean, in standard errors
    variances: np.ndarray  # (d,) of the iterates at the high rate, late in the run
    variance_errors: np.ndarray  # (d,) standard errors
    forgotten: float  # largest share of the start left in these
    seeds: int


def work(config: Config) -> float:
    """Seconds this takes, roughly, on two cores."""
    return 3 + 8e-8 * config.seeds * config.steps * config.dim


def run(config: Config, key: jax.Array, tick: Callable[[float], object]) -> Result:
    """Four learning-rate schedules, each with noise of its own."""
    curvatures = np.geomspace(1, 1 / config.kappa, config.dim)
    start = np.full(config.dim, config.start)
    noise = config.noise * np.sqrt(curvatures)
    rows = []
    with jax.enable_x64(True):
        keys = jax.random.split(key, len(NAMES))
        for name, one in zip(NAMES, keys, strict=True):
            rates = values(_schedule(config, name), config.steps)
            path = np.asarray(
                simulate(
                    one,
                    curvatures,
                    noise,
                    start,
                    rates,
                    config.seeds,
                    config.every,
                )
            )
            rows.append((
                loss(curvatures, path**2),
                loss(curvatures, second_moments(curvatures, noise, start, rates)),
                np.mean(path[-(len(path) // 4) :] ** 2, axis=0),
            ))
            tick(1 / len(NAMES))
    losses = np.stack([row[0] for row in rows])
    exact = np.stack([row[1] for row in rows])
    squares = rows[0][2]  # of the high rate, over the last quarter
    records = slice(config.every, None, config.every)
    stationary = stationary_variance(config.rate, curvatures, noise)
    left = (1 - config.rate * curvatures) ** (2 * (config.steps * 3 // 4))
    root = np.sqrt(config.seeds)
    return Result(
        curvatures=curvatures,
        noise=noise,
        rate=config.rate,
        drop=config.drop,
        early=config.early,
        late=config.late,
        every=config.every,
        means=losses.mean(2),
        errors=losses.std(2, ddof=1) / root,
        exact=exact,
        deviations=deviation(losses[:, 1:], exact[:, records]),
        variances=squares.mean(0),
        variance_errors=squares.std(0, ddof=1) / root,
        forgotten=float(np.max(left * start**2 / stationary)),
        seeds=config.seeds,
    )


def _schedule(config, name):
    """The learning rate of one of the runs."""
    low = config.rate * config.drop
    if name in ("early", "late"):
        return optim.piecewise_constant(
            [config.rate, low], boundaries=[getattr(config, name)]
        )
    return optim.constant_schedule(config.rate if name == "kept" else low)


def stationary_variance(rate: float, curvatures: np.ndarray, noise: np.ndarray):
    """``rate sigma^2 / (lambda (2 - rate lambda))``."""
    return rate * noise**2 / (curvatures * (2 - rate * curvatures))


def crossing(result: Result) -> int:
    """First step at which the high rate is expected below the early drop; 0: none."""
    below = result.exact[0] < result.exact[1]
    below[: result.early + 1] = False
    return int(np.argmax(below)) if below.any() else 0


def _until(result):
    """The last step at which the high rate is expected below the early drop."""
    return int(np.flatnonzero(result.exact[0] < result.exact[1])[-1])


def check(result: Result) -> list[Finding]:
    """Variance and loss against their formulas; the drop, and what it costs."""
    stationary = stationary_variance(result.rate, result.curvatures, result.noise)
    off = (result.variances - stationary) / result.variance_errors
    soon = result.early + result.every * max(1, round(20 / result.every))
    cross = crossing(result)
    kept, early, late, low = range(4)
    fall = result.exact[:, soon] / result.exact[:, result.early]

    def lead(one, other, step):
        """By how many standard errors one run's mean loss is below another's."""
        at = step // result.every
        gap = result.means[other, at] - result.means[one, at]
        return gap / np.hypot(result.errors[one, at], result.errors[other, at])

    last = (result.means.shape[1] - 1) * result.every
    gap = result.exact[kept, :: result.every] / result.exact[early, :: result.every]
    later = result.every * int(np.argmin(gap))
    return [
        at_most(
            "noise: along each axis the variance at a constant rate is "
            "rate sigma^2 / (lambda (2 - rate lambda)), sigma^2 that of its noise: "
            "largest deviation",
            measured=np.max(np.abs(off)),
            high=4.0,
            unit="standard errors",
            kind="closed form",
            source="fixed point of the recursion",
            note=f"{result.curvatures.size} axes, {result.seeds} seeds, last quarter "
            f"of the run; standard errors of "
            f"{np.max(result.variance_errors / stationary):.2g} of the value at most; "
            f"{result.forgotten:.1g} of it is left from the start",
        ),
        at_most(
            "noise: the mean loss follows the recursion at every record of every run, "
            "through the drops: largest deviation",
            measured=np.max(np.abs(result.deviations)),
            high=5.0,
            unit="standard errors",
            **RECURSION,
            note=f"{result.deviations.size} records; standard errors of "
            f"{np.max(result.errors[:, 1:] / result.means[:, 1:]):.2g} of the mean at "
            "most",
        ),
        at_most(
            "a drop of the rate lowers the loss at once: mean loss "
            f"{soon - result.early} steps after the early drop over that at it, below "
            "what is expected without the drop",
            measured=result.means[early, soon // result.every]
            / result.means[early, result.early // result.every],
            high=fall[kept],
            **RECURSION,
            note=f"expected {fall[early]:.4f}",
        ),
        at_least(
            "and it is ahead of the high rate then: lead",
            measured=lead(early, kept, soon),
            low=3.0,
            unit="standard errors",
            **RECURSION,
        ),
        at_least(
            "the high rate overtakes the early drop: its lead where the ratio of "
            "the expected losses is smallest",
            measured=lead(kept, early, later) if cross else float("nan"),
            low=3.0,
            unit="standard errors",
            **RECURSION,
            note=f"drop at step {result.early}, crossing at {cross}, this at {later}; "
            f"the high rate is expected ahead up to step {_until(result)}"
            if cross
            else "they do not cross",
        ),
        at_least(
            "a late drop has both: its lead over the early drop at the end",
            measured=lead(late, early, last),
            low=3.0,
            unit="standard errors",
            **RECURSION,
            note=f"expected losses at the end: high rate {result.exact[kept, -1]:.3g}, "
            f"early drop {result.exact[early, -1]:.3g}, late drop "
            f"{result.exact[late, -1]:.3g}, low rate {result.exact[low, -1]:.3g}",
        ),
    ]


def plot(result: Result) -> Plot:
    """Mean losses over seeds, on the recursion."""
    drawn, axes = figure(width=6.4, height=3.6)
    steps = np.arange(result.means.shape[1]) * result.every
    for row, (label, color) in enumerate(zip(NAMES.values(), PALETTE, strict=False)):
        sparse = slice(0, None, max(1, len(steps) // 60))
        axes.semilogy(steps[sparse], result.means[row, sparse], ".", color=color, ms=3)
        axes.semilogy(result.exact[row], color=color, lw=0.9, label=label)
    floor = loss(
        result.curvatures,
        stationary_variance(result.rate, result.curvatures, result.noise),
    )
    axes.axhline(floor, color=GRAY, ls=":", lw=0.8)
    cross = crossing(result)
    if cross:
        axes.plot(cross, result.exact[0, cross], "o", color=BLACK, mfc="none", ms=8)
    axes.set(xlabel="step", ylabel="mean loss", xlim=(0, steps[-1]))
    axes.set_ylim(result.exact.min() / 2, 20 * floor)
    axes.legend()
    return Plot(
        drawn,
        caption="Stochastic gradient descent on a noisy quadratic: mean loss over "
        f"{result.seeds} seeds (dots) on the exact expectation (lines). Dotted: where "
        "the high rate ends; circle: where it overtakes the early drop, whose "
        "floor is lower in the end.",
        alt="Mean loss against step. The run whose rate drops at step "
        f"{result.early} falls at once and is overtaken by the undropped one at step "
        f"{cross}; the run whose rate drops at step {result.late} ends lowest of these "
        f"three, at {result.exact[2, -1]:.2g}.",
    )


def metrics(result: Result) -> Iterator[dict]:
    """One row a run."""
    for row, name in enumerate(NAMES):
        yield {
            "part": "drops",
            "run": name,
            "final_loss": float(result.means[row, -1]),
            "final_expected": float(result.exact[row, -1]),
        }
