"""Time of one update against the batch size, on the device at hand."""

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from experiments._bs_scaling import slopes
from experiments._figures import BLUE, GRAY, VERMILLION, Plot, figure
from experiments._findings import Finding, at_least, at_most
from jaxdl import losses, optim, train
from jaxdl.models import mlp

INNER = 8
"""Updates in one call, so that the call itself weighs little."""


@dataclass(frozen=True)
class Config:
    """A ReLU network, 64 inputs, 10 outputs, plain SGD, float32."""

    hidden: int = 128
    """Hidden units."""
    sizes: tuple[int, ...] = (1, 4, 16, 64, 256, 1024, 4096)
    """Batch sizes, ascending, at least four."""
    repeats: int = 15
    """Timed calls of each size; the fastest counts, for others use the machine too."""

    def __post_init__(self):
        """Reject what could not be run.

        Raises:
            ValueError: Which field is wrong.
        """
        rising = all(a < b for a, b in itertools.pairwise(self.sizes))
        if len(self.sizes) < 4 or not rising or self.sizes[0] < 1:
            raise ValueError(
                "timing.sizes must be four or more ascending integers >= 1, "
                f"got {self.sizes}"
            )
        for name in ("hidden", "repeats"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"timing.{name} must be >= 1, got {getattr(self, name)}"
                )


@dataclass(frozen=True)
class Result:
    """Seconds an update, and where they were taken."""

    device: str
    dtype: str
    sizes: np.ndarray  # (b,)
    seconds: np.ndarray  # (b, repeats)


def work(config: Config) -> float:
    """Seconds this takes, roughly, on two cores."""
    update = 5e-10 * config.hidden * sum(config.sizes)
    return 0.7 * len(config.sizes) + INNER * config.repeats * update


def run(config: Config, key: jax.Array, tick: Callable[[float], object]) -> Result:
    """Time each size, compiled and warm, until the result is there."""
    init_key, data_key = jax.random.split(key)
    params = mlp.init(init_key, (64, config.hidden, 10))
    rows = np.asarray(jax.random.uniform(data_key, (64, 64)))
    seconds = []
    for size in config.sizes:
        batch = (
            jnp.asarray(np.resize(rows, (size, 64))),
            jnp.asarray(np.arange(size, dtype=np.int32) % 10),
        )
        jax.block_until_ready(_updates(params, batch))  # compiles
        jax.block_until_ready(_updates(params, batch))
        seconds.append([_timed(params, batch) for _ in range(config.repeats)])
        tick(1 / len(config.sizes))
    return Result(
        device=jax.devices()[0].device_kind,
        dtype=str(jax.tree.leaves(params)[0].dtype),
        sizes=np.array(config.sizes),
        seconds=np.array(seconds) / INNER,
    )


_supervised = train.supervised(mlp.apply, losses.cross_entropy)
_optimizer = optim.sgd(0.01)


@jax.jit
def _updates(params, batch):
    """A few updates on one batch."""

    def update(params, _):
        grads, _ = jax.grad(_supervised, has_aux=True)(params, None, batch, None)
        updates, _ = _optimizer.update(grads, _optimizer.init(params), params)
        return optim.apply_updates(params, updates), None

    return jax.lax.scan(update, params, None, INNER)[0]


def _timed(params, batch):
    """Seconds of one call."""
    begin = time.perf_counter()
    jax.block_until_ready(_updates(params, batch))
    return time.perf_counter() - begin


def fit(result: Result) -> tuple[float, float]:
    """The seconds ``a + b S`` by least squares of relative errors, a and b >= 0."""
    times = result.seconds.min(1)
    columns = np.stack([1 / times, result.sizes / times], axis=1)
    a, b = np.linalg.lstsq(columns, np.ones(len(times)), rcond=None)[0]
    if min(a, b) >= 0:
        return float(a), float(b)
    alone = columns.sum(0) / (columns**2).sum(0)  # one of the two is zero
    left = [np.sum((columns[:, i] * alone[i] - 1) ** 2) for i in range(2)]
    return (float(alone[0]), 0.0) if left[0] < left[1] else (0.0, float(alone[1]))


def check(result: Result) -> list[Finding]:
    """What was seen here, with wide margins: other devices will differ."""
    times = result.seconds.min(1)
    a, b = fit(result)
    double = a / b if b > 0 else float("nan")
    where = {
        "kind": "observation",
        "source": "this study",
        "note": f"{result.device}, {result.dtype}, best of "
        f"{result.seconds.shape[1]} calls; {1e6 * times[0]:.3g} us at batch size "
        f"{result.sizes[0]}, {1e6 * times[-1]:.3g} us at {result.sizes[-1]}; fit "
        f"{1e6 * a:.3g} us + {1e6 * b:.3g} us x S",
    }
    ratio = (times[-1] / result.sizes[-1]) / (times[0] / result.sizes[0])
    return [
        at_most(
            "an example costs less in a batch: time for each of the largest over time "
            "alone",
            high=0.5,
            measured=ratio,
            **where,
        ),
        at_least(
            "a small batch costs less than its share: batch size that doubles the "
            "time, by the fit a + b S",
            low=2,
            measured=double,
            unit="examples",
            **where,
        ),
        at_least(
            "a large batch costs what its examples cost: slope of the time in log-log "
            "between the largest two",
            low=0.3,
            measured=slopes(result.sizes, times)[-1],
            **where,
        ),
    ]


def plot(result: Result) -> Plot:
    """Time of an update against the batch size."""
    drawn, axes = figure()
    times = 1e6 * result.seconds.min(1)
    slow = 1e6 * np.median(result.seconds, 1)
    axes.errorbar(
        result.sizes,
        times,
        [0 * times, slow - times],
        fmt="o",
        color=BLUE,
        label="fastest; bar: median",
    )
    a, b = fit(result)
    finest = np.geomspace(result.sizes[0], result.sizes[-1], 200)
    axes.plot(finest, 1e6 * (a + b * finest), color=VERMILLION, label="a + b S")
    if a * b > 0:
        axes.axvline(a / b, color=GRAY, ls="--", lw=0.8, label=f"S = {a / b:.3g}")
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="batch size S (examples)",
        ylabel="time of an update (us)",
    )
    axes.legend()
    return Plot(
        drawn,
        caption=f"Time of one update on {result.device}, {result.dtype}, compiled and "
        f"warm, {INNER} updates a call. Dashed: the batch size that doubles the time.",
        alt="Time of an update against the batch size, both logarithmic: from "
        f"{times[0]:.3g} microseconds at {result.sizes[0]} to {times[-1]:.3g} at "
        f"{result.sizes[-1]}; the fitted curve is flat, then linear.",
    )


def metrics(result: Result) -> Iterator[dict]:
    """One row a batch size."""
    for size, seconds in zip(result.sizes, result.seconds, strict=True):
        yield {
            "part": "timing",
            "batch_size": int(size),
            "microseconds": 1e6 * float(seconds.min()),
        }
