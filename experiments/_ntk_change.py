"""How much the kernel changes while a network trains, against its width."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import jax
import numpy as np

from experiments._figures import BLUE, GRAY, PALETTE, SKY, Plot, band, figure
from experiments._findings import Finding, at_most, between
from experiments._ntk_network import (
    check_ascending,
    check_rows,
    descend,
    draws,
    mean_loss,
    network,
    one_hot,
    relative,
    rows,
    trend,
)
from jaxdl import losses, optim
from jaxdl.ntk import empirical_ntk


@dataclass(frozen=True)
class Config:
    """Gradient descent on the squared error, digits of a few classes, float32.

    The outputs at the start are subtracted, so that all networks start at zero.
    """

    widths: tuple[int, ...] = (32, 64, 128, 256, 512)
    """Units of both hidden layers, ascending."""
    classes: tuple[int, ...] = (3, 5, 8)
    """Which digits."""
    n_train: int = 16
    """Training rows, on which the kernel is measured."""
    rate: float = 0.25
    """Learning rate; time is rate times updates."""
    every: int = 4
    """Updates between measurements."""
    looks: int = 4
    """Measurements."""
    seeds: int = 20
    """Draws of initial weights."""
    small: float = 0.02
    """A relative change that counts as small."""

    def __post_init__(self):
        """Reject what could not be run.

        Raises:
            ValueError: Which field is wrong.
        """
        check_ascending("change.widths", self.widths)
        check_rows("change", self.classes, self.n_train, 2)
        for name, least in (("looks", 2), ("every", 1), ("seeds", 2)):
            if getattr(self, name) < least:
                raise ValueError(
                    f"change.{name} must be >= {least}, got {getattr(self, name)}"
                )
        for name in ("rate", "small"):
            if not 0 < getattr(self, name) < np.inf:
                raise ValueError(
                    f"change.{name} must be positive, got {getattr(self, name)}"
                )


@dataclass(frozen=True)
class Result:
    """Axes: width, time, seed."""

    widths: np.ndarray  # (w,)
    times: np.ndarray  # (t,)
    change: np.ndarray  # (w, t, s) |K(t) - K(0)| / |K(0)|
    loss: np.ndarray  # (w, t + 1, s) the loss, from time 0 on
    counts_as_small: float


def work(config: Config) -> float:
    """Seconds this takes, roughly, on two cores."""
    steps = config.every * config.looks
    size = sum(64 * w + w * w for w in config.widths)
    flops = 6 * config.seeds * config.n_train * steps * size
    return 1.5 * len(config.widths) + flops / 4e10


def run(config: Config, key: jax.Array, tick: Callable[[float], object]) -> Result:
    """Train all seeds of a width as one, and take the kernel at each look."""
    row_key, init_key = jax.random.split(key)
    picked = rows(row_key, config.classes, config.n_train, 2)
    k = len(config.classes)
    y = one_hot(picked.y_train, k)
    change, loss = [], []
    for number, width in enumerate(config.widths):
        layer = network(width, k)
        params = draws(layer, jax.random.fold_in(init_key, number), config.seeds)
        seen = _train(config, layer.apply, params, picked.x_train, y)
        change.append(np.asarray(seen[0]).T)
        loss.append(np.asarray(seen[1]).T)
        tick(1 / len(config.widths))
    return Result(
        widths=np.array(config.widths),
        times=config.rate * config.every * (1 + np.arange(config.looks)),
        change=np.stack(change),
        loss=np.stack(loss),
        counts_as_small=config.small,
    )


@partial(jax.jit, static_argnums=(0, 1))
def _train(config, apply, params, x, y):
    """Relative changes ``(s, t)`` and losses ``(s, t + 1)``."""

    def kernel(params):
        return empirical_ntk(apply, params, x, outputs="trace")

    def one(params):
        targets = y + jax.vmap(apply, (None, 0))(params, x)  # so that f starts at 0

        def objective(params):
            return mean_loss(apply, losses.squared_error, params, x, targets)

        first = kernel(params)

        def measure(params):
            return relative(kernel(params), first), objective(params)

        optimizer = optim.sgd(config.rate)
        looks = (config.every, config.looks)
        (change, loss), _ = descend(objective, measure, params, optimizer, *looks)
        return change[1:], loss

    return jax.lax.map(one, params)


def limit_of_small(result: Result) -> float:
    """The width at which the median change at the last time is what counts as small.

    Between two neighbours on a line in log-log, or on the line of the two
    nearest beyond the ends.
    """
    change = np.log(np.median(result.change[:, -1], axis=1) / result.counts_as_small)
    x = np.log(result.widths)
    below = np.flatnonzero(change < 0)
    i = np.clip(below[0] if len(below) else len(x) - 1, 1, len(x) - 1)
    at = x[i] - change[i] * (x[i] - x[i - 1]) / (change[i] - change[i - 1])
    return float(np.exp(at))


def check(result: Result) -> list[Finding]:
    """The slopes, that the bound is loose, and where the change stops being small."""
    here = {"kind": "observation", "source": "this study"}
    last = result.change[:, -1]
    found = trend(result.widths, last)
    early = trend(result.widths, result.change[:, 0])
    t = result.times[-1]
    return [
        between(
            "change: the kernel's relative change in training falls as 1 / width: "
            f"slope in log-log at time {t:g}, mean over seeds",
            low=-1.2,
            high=-0.8,
            measured=found.slope,
            kind="published figure",
            source="Dyer and Gur-Ari (2019), https://arxiv.org/abs/1909.11304",
            note=f"{found}; at time {result.times[0]:g}: {early}",
        ),
        at_most(
            "change: so the proven bound width^-1/2 is loose: upper end of the slope's "
            "95 % interval",
            high=-0.5,
            measured=found.high,
            kind="theorem",
            source="Lee et al. (2019), theorem 2.1, https://arxiv.org/abs/1902.06720",
        ),
        between(
            f"change: it stops being small ({result.counts_as_small:g}) below a width "
            f"among those tried: width where it is that at time {t:g}",
            low=result.widths[0],
            high=result.widths[-1],
            measured=limit_of_small(result),
            **here,
            note="medians: "
            + ", ".join(
                f"{np.median(row):.3g} at width {width}"
                for width, row in zip(result.widths, last, strict=True)
            ),
        ),
        at_most(
            "change: meanwhile the network learns: loss at the last time over that at "
            "the start, median over runs",
            high=0.5,
            measured=np.median(result.loss[:, -1] / result.loss[:, 0]),
            **here,
        ),
    ]


def plot(result: Result) -> Plot:
    """Change against width, a line a time; and against time, a line a width."""
    drawn, (left, right) = figure(1, 2, sharey=True)
    low, mid, high = np.quantile(result.change, [0, 0.5, 1], axis=2)
    for look, color in ((0, SKY), (-1, BLUE)):
        band(
            left,
            result.widths,
            low[:, look],
            mid[:, look],
            high[:, look],
            color=color,
            marker="o",
            label=f"time {result.times[look]:g}",
        )
    fall = result.widths[0] / result.widths
    for power, line, label in (
        (1, "--", "1 / width"),
        (0.5, ":", "1 / root of width"),
    ):
        left.plot(
            result.widths, mid[0, -1] * fall**power, color=GRAY, ls=line, label=label
        )
    left.set(
        xscale="log",
        yscale="log",
        xlabel="width",
        ylabel="relative change of the kernel",
    )
    left.set_xticks(result.widths, [f"{w}" for w in result.widths], minor=False)
    left.minorticks_off()
    left.legend()
    for row, color in zip(range(len(result.widths)), PALETTE, strict=False):
        band(
            right,
            result.times,
            low[row],
            mid[row],
            high[row],
            color=color,
            marker="o",
            label=f"width {result.widths[row]}",
        )
    right.axhline(result.counts_as_small, color=GRAY, lw=0.8, ls="--")
    right.set(xscale="log", xlabel="time")
    right.set_xticks(result.times, [f"{t:g}" for t in result.times], minor=False)
    right.minorticks_off()
    right.set_ylim(bottom=low.min() / 6)
    right.legend(fontsize=7, ncols=2, loc="lower right")
    found = trend(result.widths, result.change[:, -1])
    return Plot(
        drawn,
        caption="Relative change of the tangent kernel, |K(t) - K(0)| / |K(0)|, under "
        "gradient descent on the squared error: median and range over "
        f"{result.change.shape[2]} initializations. Left: against width; gray: slopes "
        "of -1 and, as the bound has it, -1/2. Right: against time; dashed: "
        f"{result.counts_as_small:g}.",
        alt="Relative change of the kernel against width, falling in straight lines "
        f"with slope {found.slope:.2f}, and against time, rising for each width and "
        "levelling off.",
    )


def metrics(result: Result) -> Iterator[dict]:
    """One row a width, time and seed."""
    for (w, t, s), change in np.ndenumerate(result.change):
        yield {
            "part": "change",
            "width": int(result.widths[w]),
            "time": float(result.times[t]),
            "seed": s,
            "change": float(change),
            "loss": float(result.loss[w, t + 1, s]),
        }
