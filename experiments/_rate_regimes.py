"""Gradient descent on a quadratic: monotone, oscillating or divergent."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from experiments._figures import BLACK, BLUE, GRAY, GREEN, VERMILLION, Plot, figure
from experiments._findings import Finding, at_most, close, relative
from jaxdl import optim

REGIMES = {"monotone": BLUE, "oscillating": GREEN, "divergent": VERMILLION}


@dataclass(frozen=True)
class Config:
    """A quadratic with eigenvalues in equal ratios; no noise; float64."""

    dim: int = 5
    """Dimensions."""
    largest: float = 4.0
    """Largest eigenvalue."""
    kappa: float = 20.0
    """Largest over smallest eigenvalue."""
    rates: int = 47
    """Learning rates, evenly from 0.05 to 2.35 over the largest eigenvalue."""
    steps: int = 100
    """Updates."""
    seeds: int = 10
    """Draws of the starting point."""

    def __post_init__(self):
        """Reject what could not be run.

        Raises:
            ValueError: Which field is wrong.
        """
        for name, least in (("dim", 2), ("rates", 3), ("steps", 2), ("seeds", 1)):
            if getattr(self, name) < least:
                raise ValueError(
                    f"regimes.{name} must be >= {least}, got {getattr(self, name)}"
                )
        if not 0 < self.largest < np.inf:
            raise ValueError(f"regimes.largest must be > 0, got {self.largest}")
        if not 1 < self.kappa < np.inf:
            raise ValueError(f"regimes.kappa must be > 1, got {self.kappa}")


@dataclass(frozen=True)
class Result:
    """Runs over learning rates and seeds."""

    curvatures: np.ndarray  # (d,) largest first
    rates: np.ndarray  # (r,)
    regimes: list[str]  # (r,) of the first seed
    contraction: np.ndarray  # (r, s) of the distance, the geometric mean over steps
    off: np.ndarray  # (r,) largest relative deviation from the closed form
    shown: np.ndarray  # (3, t) error along the steepest axis, one rate a regime
    shown_rates: np.ndarray  # (3,)
    oscillates_from: np.ndarray  # (s,) learning rate, by bisection
    diverges_from: np.ndarray  # (s,)


def work(config: Config) -> float:
    """Seconds this takes, roughly, on two cores."""
    return 3 + 1e-7 * config.rates * config.seeds * config.steps * config.dim


def run(config: Config, key: jax.Array, tick: Callable[[float], object]) -> Result:
    """A sweep over rates, then a bisection for each boundary."""
    with jax.enable_x64(True):
        starts = np.asarray(jax.random.normal(key, (config.seeds, config.dim)))
        curvatures = np.geomspace(
            config.largest, config.largest / config.kappa, config.dim
        )
        rates = np.linspace(0.05, 2.35, config.rates) / config.largest
        every = jax.jit(jax.vmap(_descend, (0, None, None, None)), static_argnums=3)
        paths = np.asarray(every(rates, curvatures, starts, config.steps))
        size = np.linalg.norm(paths, axis=3)
        t = np.arange(config.steps + 1)[:, None, None]
        factors = 1 - rates[:, None, None, None] * curvatures
        exact = factors**t * starts
        shown_rates = np.array([0.6, 1.7, 2.1]) / config.largest
        shown = np.asarray(every(shown_rates, curvatures, starts, config.steps))
        tick(0.5)
        oscillates = _bisect(curvatures, starts, config, _changes_sign)
        diverges = _bisect(curvatures, starts, config, _rises)
        tick(0.5)
    off = np.linalg.norm(paths - exact, axis=3) / np.linalg.norm(exact, axis=3)
    return Result(
        curvatures=curvatures,
        rates=rates,
        regimes=[regime(path[:, 0]) for path in paths],
        contraction=(size[:, -1] / size[:, 0]) ** (1 / config.steps),
        off=off.max((1, 2)),
        shown=shown[:, :, 0, 0] / starts[0, 0],
        shown_rates=shown_rates,
        oscillates_from=oscillates,
        diverges_from=diverges,
    )


def _descend(rate, curvatures, starts, steps):
    """Iterates ``(steps + 1, s, d)``."""
    optimizer = optim.sgd(rate)

    def step(carry, _):
        x, state = carry
        updates, state = optimizer.update(curvatures[None] * x, state, x)
        return (x + updates, state), x + updates

    first = jnp.asarray(starts)
    _, path = jax.lax.scan(step, (first, optimizer.init(first)), length=steps)
    return jnp.concatenate([first[None], path])


def regime(path: np.ndarray) -> str:
    """What a run ``(t, d)`` does along the steepest axis, the first."""
    if _rises(path):
        return "divergent"
    return "oscillating" if _changes_sign(path) else "monotone"


def _changes_sign(path):
    return bool(path[1, 0] * path[0, 0] < 0)


def _rises(path):
    return bool(abs(path[-1, 0]) > abs(path[0, 0]))


def _bisect(curvatures, starts, config, happens):
    """The least rate at which it happens, for each seed."""
    low, high = np.zeros(len(starts)), np.full(len(starts), 4 / config.largest)
    each = jax.jit(jax.vmap(_descend, (0, None, 0, None)), static_argnums=3)
    for _ in range(50):
        middle = (low + high) / 2
        paths = np.asarray(each(middle, curvatures, starts[:, None], config.steps))
        seen = np.array([happens(path[:, 0]) for path in paths])
        low, high = np.where(seen, low, middle), np.where(seen, middle, high)
    return high


def check(result: Result) -> list[Finding]:
    """The boundaries, and the closed form between them."""
    largest, smallest = result.curvatures[0], result.curvatures[-1]
    exact = {"kind": "closed form", "source": "x_t = (1 - rate lambda)^t x_0"}
    falls = result.contraction.max(1)
    best = result.rates[np.argmin(falls)]
    return [
        relative(
            "the error along the steepest axis changes sign from a rate of "
            "1 / lambda_max on: rate times lambda_max, by bisection, farthest seed",
            measured=_farthest(result.oscillates_from * largest, 1),
            expected=1.0,
            tolerance=1e-9,
            **exact,
        ),
        relative(
            "gradient descent diverges from a rate of 2 / lambda_max on: rate times "
            "lambda_max, by bisection, farthest seed",
            measured=_farthest(result.diverges_from * largest, 2),
            expected=2.0,
            tolerance=1e-9,
            **exact,
        ),
        close(
            "every run of the sweep is monotone, oscillating or divergent as its rate "
            "says: runs that are not",
            measured=sum(
                found != expected_regime(rate * largest)
                for found, rate in zip(result.regimes, result.rates, strict=True)
            ),
            expected=0,
            tolerance=0,
            **exact,
        ),
        at_most(
            "every iterate is (1 - rate lambda)^t x_0: largest relative deviation",
            measured=np.max(result.off),
            high=1e-10,
            **exact,
        ),
        close(
            "the fastest rate is 2 / (lambda_max + lambda_min): fastest of the sweep, "
            "times lambda_max",
            measured=best * largest,
            expected=2 * largest / (largest + smallest),
            tolerance=float(np.diff(result.rates)[0] * largest),
            kind="closed form",
            source="least of the larger of |1 - rate lambda| at both ends",
            note="to the distance of the grid",
        ),
    ]


def expected_regime(product: float) -> str:
    """The regime of a learning rate times the largest eigenvalue."""
    if product > 2:
        return "divergent"
    return "oscillating" if product > 1 else "monotone"


def _farthest(found, expected):
    """The value that is farthest off."""
    return found[np.argmax(np.abs(found - expected))]


def plot(result: Result) -> Plot:
    """One run of each regime; contraction against rate."""
    drawn, (left, right) = figure(1, 2)
    largest = result.curvatures[0]
    for path, rate, (name, color) in zip(
        result.shown, result.shown_rates, REGIMES.items(), strict=True
    ):
        shown = path[:13]
        left.plot(shown, ".-", color=color, label=f"{name}, {rate * largest:g}")
    left.axhline(0, color=GRAY, lw=0.6)
    left.set(xlabel="step", ylabel="error along the steepest axis")
    left.set_ylim(-4.6, 5.8)
    left.legend(ncols=1, title="regime, rate x λmax", title_fontsize=8)
    fine = np.linspace(result.rates[0], result.rates[-1], 300)
    worst = np.abs(1 - fine[:, None] * result.curvatures).max(1)
    right.plot(fine * largest, worst, color=BLACK, lw=0.9, label="max |1 - rate λ|")
    for name, color in REGIMES.items():
        rows = [i for i, each in enumerate(result.regimes) if each == name]
        middle = np.median(result.contraction[rows], 1)
        right.plot(result.rates[rows] * largest, middle, ".", color=color)
    for boundary in (1, 2):
        right.axvline(boundary, color=GRAY, ls=":", lw=0.8)
    right.axhline(1, color=GRAY, lw=0.6)
    right.set(xlabel="rate x λmax", ylabel="contraction a step")
    right.legend()
    return Plot(
        drawn,
        caption="Gradient descent on a quadratic. Left: the error along the steepest "
        "axis, over that at the start. Right: the mean factor a step by which the "
        f"distance changes, median over {result.contraction.shape[1]} seeds; dotted: "
        "1 / λmax and 2 / λmax.",
        alt="Left: a curve that falls, one that alternates in sign and shrinks, one "
        "that alternates and grows. Right: contraction against rate, falling to "
        f"{np.median(result.contraction, 1).min():.2f} and rising through 1 at a rate "
        "of 2 over the largest eigenvalue.",
    )


def metrics(result: Result) -> Iterator[dict]:
    """One row a rate."""
    for row, rate in enumerate(result.rates):
        yield {
            "part": "regimes",
            "rate": float(rate),
            "regime": result.regimes[row],
            "contraction": float(np.median(result.contraction[row])),
        }
