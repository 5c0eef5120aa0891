"""From finite width to infinite: how far one draw is from the analytic kernel."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import jax
import numpy as np

from experiments._figures import BLUE, GRAY, VERMILLION, Plot, band, figure
from experiments._findings import Finding, between
from experiments._ntk_network import (
    check_ascending,
    draws,
    network,
    relative,
    rows,
    trend,
)
from jaxdl.ntk import empirical_ntk


@dataclass(frozen=True)
class Config:
    """Kernels of networks that are not trained, on digits, float32."""

    widths: tuple[int, ...] = (32, 96, 288, 864)
    """Units of both hidden layers, ascending."""
    n: int = 24
    """Rows, of all digits."""
    seeds: int = 20
    """Draws of initial weights."""

    def __post_init__(self):
        """Reject what could not be run.

        Raises:
            ValueError: Which field is wrong.
        """
        check_ascending("limit.widths", self.widths)
        if not 2 <= self.n <= 1795:
            raise ValueError(f"limit.n must lie in 2..1795, got {self.n}")
        if self.seeds < 2:
            raise ValueError(f"limit.seeds must be >= 2, got {self.seeds}")


@dataclass(frozen=True)
class Result:
    """Axes: width, seed."""

    widths: np.ndarray  # (w,)
    distance: np.ndarray  # (w, s) |K - K_infinite| / |K_infinite| of each draw
    of_mean: np.ndarray  # (w,) the same of the mean over draws
    error_of_mean: np.ndarray  # (w,) standard error of that mean, in the same norm


def work(config: Config) -> float:
    """Seconds this takes, roughly, on two cores."""
    size = sum(64 * w + w * w for w in config.widths)
    return 1.5 * len(config.widths) + 6 * config.seeds * config.n * size / 4e9


def run(config: Config, key: jax.Array, tick: Callable[[float], object]) -> Result:
    """The kernels of all seeds of a width, against the analytic one."""
    row_key, init_key = jax.random.split(key)
    x = rows(row_key, tuple(range(10)), config.n, 2).x_train
    limit = np.asarray(jax.jit(network(1, 1).kernel)(x).ntk, float)
    found = []
    for number, width in enumerate(config.widths):
        layer = network(width, 1)
        params = draws(layer, jax.random.fold_in(init_key, number), config.seeds)

        each = np.asarray(_kernels(layer.apply, params, x), float)
        size = np.linalg.norm(limit)
        spread = np.sqrt(np.sum(each.var(0, ddof=1)) / config.seeds)
        found.append((
            np.array([relative(one, limit) for one in each]),
            np.linalg.norm(each.mean(0) - limit) / size,
            spread / size,
        ))
        tick(1 / len(config.widths))
    distance, of_mean, error_of_mean = (
        np.stack(part) for part in zip(*found, strict=True)
    )
    return Result(np.array(config.widths), distance, of_mean, error_of_mean)


@partial(jax.jit, static_argnums=0)
def _kernels(apply, params, x):
    """The kernel of each seed."""

    def kernel(params):
        return empirical_ntk(apply, params, x, outputs="trace")

    return jax.lax.map(kernel, params)


def check(result: Result) -> list[Finding]:
    """The slope, and that the mean over draws is the analytic kernel."""
    found = trend(result.widths, result.distance)
    ratio = result.of_mean[-1] / result.error_of_mean[-1]
    return [
        between(
            "limit: one draw's kernel tends to the analytic one as width^-1/2: slope "
            "of the relative distance in log-log, mean over seeds",
            low=-0.6,
            high=-0.4,
            measured=found.slope,
            kind="theorem",
            source="central limit theorem over units; Jacot et al. (2018), theorem 1, "
            "https://arxiv.org/abs/1806.07572",
            note=str(found),
        ),
        between(
            "limit: and -1/2 is in the slope's 95 % interval, or within 0.05 of it: "
            "distance to the interval",
            low=0.0,
            high=0.05,
            measured=max(found.low + 0.5, -0.5 - found.high, 0.0),
            kind="theorem",
            source="central limit theorem over units",
        ),
        between(
            f"limit: the mean over {result.distance.shape[1]} draws of width "
            f"{result.widths[-1]} is the analytic kernel: distance over its standard "
            "error, in the Frobenius norm",
            low=0.0,
            high=2.5,
            measured=ratio,
            kind="closed form",
            source="the arcsine kernel and its derivative, Williams (1997), "
            "Computing with infinite networks",
            note="about 1 is expected; the entries' errors are dependent",
        ),
    ]


def plot(result: Result) -> Plot:
    """Distance of a draw, and of the mean over draws, against width."""
    drawn, axes = figure()
    low, mid, high = np.quantile(result.distance, [0, 0.5, 1], axis=1)
    band(
        axes,
        result.widths,
        low,
        mid,
        high,
        color=BLUE,
        marker="o",
        label="one draw, median and range",
    )
    axes.plot(
        result.widths,
        result.of_mean,
        color=VERMILLION,
        marker="s",
        label=f"mean over {result.distance.shape[1]} draws",
    )
    axes.plot(
        result.widths,
        result.error_of_mean,
        color=VERMILLION,
        ls=":",
        label="standard error of that mean",
    )
    axes.plot(
        result.widths,
        mid[0] * (result.widths[0] / result.widths) ** 0.5,
        color=GRAY,
        ls="--",
        label="1 / root of width",
    )
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="width",
        ylabel="relative distance to the analytic kernel",
    )
    axes.set_xticks(result.widths, [f"{w}" for w in result.widths], minor=False)
    axes.minorticks_off()
    ticks = [t for t in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5) if t > result.of_mean.min()]
    axes.set_yticks(ticks, [f"{t:g}" for t in ticks])
    axes.legend()
    found = trend(result.widths, result.distance)
    return Plot(
        drawn,
        caption="Distance of tangent kernels of finite networks at initialization to "
        "that of the infinite one, |K - K_infinite| / |K_infinite|: of one draw, and "
        "of the mean over draws, with the standard error it would have without bias.",
        alt="Relative distance to the analytic kernel against width in log-log: one "
        f"draw falls with slope {found.slope:.2f}, the mean over draws lies below.",
    )


def metrics(result: Result) -> Iterator[dict]:
    """One row a width and seed."""
    for (w, s), distance in np.ndenumerate(result.distance):
        yield {
            "part": "limit",
            "width": int(result.widths[w]),
            "seed": s,
            "distance": float(distance),
        }
