"""Momentum on a constant slope: its terminal velocity, and what a drop does to it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from experiments._figures import GRAY, PALETTE, Plot, figure
from experiments._findings import Finding, at_most, relative
from jaxdl import optim

NAMES = {
    "outside": "rate outside the buffer",
    "inside": "rate inside the buffer",
    "nesterov": "Nesterov",
}
SOURCE = {"kind": "closed form", "source": "the sum of beta^k, k = 0..t-1"}


@dataclass(frozen=True)
class Config:
    """A constant gradient; the rate falls once; float64."""

    slope: float = 2.0
    """The gradient."""
    rate: float = 0.01
    """Learning rate before the drop."""
    drop: float = 0.1
    """What it is multiplied by."""
    decay: float = 0.9
    """The coefficient beta."""
    steps: int = 150
    """Updates before the drop, and after it."""

    def __post_init__(self):
        """Reject what could not be run.

        Raises:
            ValueError: Which field is wrong.
        """
        if self.steps < 2:
            raise ValueError(f"velocity.steps must be >= 2, got {self.steps}")
        for name in ("slope", "rate"):
            if not 0 < getattr(self, name) < np.inf:
                raise ValueError(
                    f"velocity.{name} must be > 0, got {getattr(self, name)}"
                )
        for name in ("drop", "decay"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(
                    f"velocity.{name} must lie in (0, 1), got {getattr(self, name)}"
                )


@dataclass(frozen=True)
class Result:
    """Lengths of the steps; rows are those of `NAMES`."""

    slope: float
    rate: float
    drop: float
    decay: float
    lengths: np.ndarray  # (3, 2 steps)
    exact: np.ndarray  # (3, 2 steps) closed form


def work(config: Config) -> float:
    """Seconds this takes, roughly, on two cores."""
    return 1.0 + 1e-6 * config.steps


def run(config: Config, key: jax.Array, tick: Callable[[float], object]) -> Result:
    """Nothing is drawn; the key is not used."""
    del key
    with jax.enable_x64(True):
        values = (config.rate, config.rate * config.drop)
        lengths = [
            np.asarray(_lengths(name, values, config.slope, config.decay, config.steps))
            for name in NAMES
        ]
    tick(1.0)
    return Result(
        slope=config.slope,
        rate=config.rate,
        drop=config.drop,
        decay=config.decay,
        lengths=np.stack(lengths),
        exact=np.stack([_exact(config, name) for name in NAMES]),
    )


@partial(jax.jit, static_argnums=(0, 4))
def _lengths(name, values, slope, decay, steps):
    """Descent along a line, whose gradient is its slope."""
    schedule = optim.piecewise_constant(values, boundaries=[steps])
    method = {
        "outside": lambda: optim.momentum(schedule, decay),
        "inside": lambda: optim.momentum(schedule, decay, rate_inside=True),
        "nesterov": lambda: optim.nesterov(schedule, decay),
    }[name]()

    def step(state, _):
        updates, state = method.update(jnp.asarray(slope), state)
        return state, -updates

    return jax.lax.scan(step, method.init(jnp.zeros(())), length=2 * steps)[1]


def _exact(config, name):
    """``rate g (1 - beta^t) / (1 - beta)``; what follows the drop differs."""
    t = np.arange(1, 2 * config.steps + 1)
    rate = np.where(t <= config.steps, config.rate, config.rate * config.drop)
    sums = (1 - config.decay ** (t + (name == "nesterov"))) / (1 - config.decay)
    if name != "inside":
        return rate * config.slope * sums
    # The steps taken before are still under way; later ones start from nothing.
    since = np.maximum(t - config.steps, 0)
    old = config.rate * config.slope * sums
    at_drop = old[config.steps - 1]
    new = (1 - config.decay**since) / (1 - config.decay)
    later = config.decay**since * at_drop + rate * config.slope * new
    return np.where(since == 0, old, later)


def check(result: Result) -> list[Finding]:
    """Terminal velocity, and the two conventions after the drop."""
    half = result.lengths.shape[1] // 2
    terminal = result.rate * result.slope / (1 - result.decay)
    kept = result.lengths[:, half] / result.lengths[:, half - 1]
    return [
        relative(
            "on a constant slope the velocity of momentum tends to "
            "rate g / (1 - beta): step length before the drop, farthest of the three",
            measured=_farthest(result.lengths[:, half - 1], terminal),
            expected=terminal,
            tolerance=max(1e-9, 2 * result.decay**half),
            **SOURCE,
            note=f"beta^t = {result.decay**half:.2g} is left after {half} steps",
        ),
        at_most(
            "on a constant slope every step has the length of the closed form, with "
            "the rate in the buffer or outside, and for Nesterov: largest relative "
            "deviation",
            measured=np.max(np.abs(result.lengths / result.exact - 1)),
            high=1e-12,
            **SOURCE,
        ),
        relative(
            "when the rate drops, momentum with the rate outside its buffer slows "
            "down at once: first step after it over the last before",
            measured=kept[0],
            expected=result.drop,
            tolerance=max(1e-9, 2 * result.decay**half),
            **SOURCE,
        ),
        relative(
            "when the rate drops, momentum with the rate inside its buffer keeps its "
            "speed and loses it by beta a step: first step after it over the last "
            "before",
            measured=kept[1],
            expected=result.decay + result.drop * (1 - result.decay),
            tolerance=max(1e-9, 2 * result.decay**half),
            **SOURCE,
        ),
    ]


def _farthest(values, expected):
    """The value that is farthest off."""
    return values[np.argmax(np.abs(values - expected))]


def plot(result: Result) -> Plot:
    """Step length against step, around the drop."""
    drawn, axes = figure()
    half = result.lengths.shape[1] // 2
    t = np.arange(1, 2 * half + 1)
    styles = ("-", "-", "--")
    for row, (label, color, ls) in enumerate(
        zip(NAMES.values(), PALETTE, styles, strict=False)
    ):
        axes.plot(t, result.lengths[row], color=color, ls=ls, label=label)
    for level in (1.0, result.drop):
        terminal = level * result.rate * result.slope / (1 - result.decay)
        axes.axhline(terminal, color=GRAY, ls=":", lw=0.8)
    axes.set(
        xlabel="step",
        ylabel="length of the step",
        ylim=(0, 1.3 * np.nanmax(result.lengths)),
        xlim=(0, t[-1]),
    )
    axes.legend(loc="upper right")
    return Plot(
        drawn,
        caption=f"Momentum {result.decay:g} on a constant slope, whose rate is "
        f"multiplied by {result.drop:g} half-way. Dotted: rate g / (1 - beta).",
        alt="Length of the step against step: it rises from rate times slope to "
        f"{1 / (1 - result.decay):.3g} times that. After the drop it falls at once "
        "where the rate is outside the buffer, and step by step where it is inside.",
    )


def metrics(result: Result) -> Iterator[dict]:
    """One row a method."""
    half = result.lengths.shape[1] // 2
    for row, name in enumerate(NAMES):
        yield {
            "part": "velocity",
            "method": name,
            "before_the_drop": float(result.lengths[row, half - 1]),
            "after_the_drop": float(result.lengths[row, half]),
            "at_the_end": float(result.lengths[row, -1]),
        }
