"""Steps to a target loss against the batch size, for a network on digits."""

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from experiments._bs_scaling import critical_size, slopes
from experiments._figures import BLUE, GRAY, GREEN, VERMILLION, Plot, figure
from experiments._findings import Finding, at_least, between, close, largest_z
from jaxdl import curvature, data, losses, optim, train
from jaxdl.models import mlp

RECORDS = 40
"""Looks at the held-out loss in the number of updates first expected."""
LONGEST = 40
"""A race is given up at this many times that number."""


@dataclass(frozen=True)
class Config:
    """A ReLU network on handwritten digits, cross-entropy, plain SGD, float32."""

    n_train: int = 1400
    """Training rows; the others are held out."""
    hidden: int = 32
    """Hidden units."""
    target: float = 0.15
    """The held-out loss to reach, in nats."""
    sizes: tuple[int, ...] = (1, 4, 16, 64, 256, 1024)
    """Batch sizes, ascending, at least four."""
    rates: tuple[float, ...] = (
        0.02, 0.03, 0.045, 0.07, 0.1, 0.15, 0.22, 0.33, 0.5, 0.75, 1.1, 1.6
    )  # fmt: skip
    """Learning rates, ascending; each batch size gets the best of them."""
    seeds: int = 8
    """Draws of initial weights and of the order of the rows."""
    looks: int = 10
    """Measurements of the noise scale along the run with the largest batch."""

    def __post_init__(self):
        """Reject what could not be run.

        Raises:
            ValueError: Which field is wrong.
        """
        for name, least in (("hidden", 1), ("seeds", 2), ("looks", 1)):
            if getattr(self, name) < least:
                raise ValueError(
                    f"training.{name} must be >= {least}, got {getattr(self, name)}"
                )
        for name, least in (("sizes", 4), ("rates", 2)):
            values = getattr(self, name)
            rising = all(a < b for a, b in itertools.pairwise(values))
            if len(values) < least or not rising or values[0] <= 0:
                raise ValueError(
                    f"training.{name} must be {least} or more ascending positive "
                    f"numbers, got {values}"
                )
        if not self.sizes[-1] <= self.n_train < 1797:
            raise ValueError(
                "training.n_train must be at least the largest of sizes, "
                f"{self.sizes[-1]}, and below 1797, got {self.n_train}"
            )
        if not 0 < self.target < math.inf:
            raise ValueError(f"training.target must be positive, got {self.target}")


@dataclass(frozen=True)
class Result:
    """Updates to the target; infinite where another rate had won before."""

    sizes: np.ndarray  # (b,)
    rates: np.ndarray  # (r,)
    target: float
    steps: np.ndarray  # (b, r, s)
    every: np.ndarray  # (b,) updates between two looks at the loss
    looks: np.ndarray  # (t,) updates done at each measurement of the noise scale
    trace: np.ndarray  # (t, s) of the covariance, along the run of the largest batch
    square: np.ndarray  # (t, s) squared norm of the expected gradient, may be negative


def work(config: Config) -> float:
    """Seconds this takes, roughly, on two cores."""
    members = len(config.rates) * config.seeds
    races = [
        (2000 / size + 30) * (3e-5 + 3e-10 * 64 * config.hidden * size) * members
        for size in config.sizes
    ]
    return 2.0 * len(config.sizes) + 5 + sum(races)


def run(config: Config, key: jax.Array, tick: Callable[[float], object]) -> Result:
    """All rates and seeds of a batch size race to the target as one program."""
    split_key, init_key, order_key = jax.random.split(key, 3)
    parts = data.split(split_key, data.digits(), config.n_train)
    rows = (np.float32(parts.x_train), np.int32(parts.y_train))
    held = (np.float32(parts.x_test), np.int32(parts.y_test))
    params = jax.jit(jax.vmap(lambda key: mlp.init(key, (64, config.hidden, 10))))(
        jax.random.split(init_key, config.seeds)
    )
    keys = jax.random.split(order_key, config.seeds)
    steps = []
    for size in config.sizes:
        steps.append(_race(config, size, keys, params, rows, held))
        tick(1 / (1 + len(config.sizes)))
    typical = np.median(steps[-1], axis=1)
    best, longest = np.argmin(typical), np.min(typical)
    looks, moments = _noise(
        config, config.rates[best], longest, keys, params, rows, config.sizes[-1]
    )
    tick(1 / (1 + len(config.sizes)))
    return Result(
        sizes=np.array(config.sizes),
        rates=np.array(config.rates),
        target=config.target,
        steps=np.stack(steps),
        every=np.array([_every(size) for size in config.sizes]),
        looks=looks,
        trace=moments[0],
        square=moments[1],
    )


def _loss(params, batch):
    """The mean loss, as `curvature.gradient_noise_scale` takes it."""
    x, y = batch
    outputs = jax.vmap(mlp.apply, (None, 0))(params, x)
    return jnp.mean(jax.vmap(losses.cross_entropy)(outputs, y))


def _scaled(params, rate, batch, key):
    """The loss times the learning rate, which rides as the model's state."""
    del key
    return rate * _loss(params, batch), (rate, {})


def _held_out(params, rate, held_out):
    """The loss to bring down."""
    del rate
    return {"held_out": _loss(params, held_out)}


_descent = optim.sgd(1.0)


def _every(size):
    """Updates between two looks at the held-out loss."""
    return max(1, round((4000 / size + 60) / RECORDS))


def _race(config, size, keys, params, rows, held):
    """Updates to the target, ``(rates, seeds)``.

    The best median cannot change once there is one. The race goes on until the other
    seeds of that rate are there too, but no longer than it took to there.
    """
    r, s = len(config.rates), config.seeds
    every, reached = _every(size), np.full((r, s), np.inf)

    def decided(snapshot):
        seen = np.asarray(snapshot.history["held_out"]).reshape(r, s, -1)
        steps = snapshot.step - every * np.arange(seen.shape[2])[::-1]
        hits = np.where(seen <= config.target, steps, np.inf).min(2)
        np.minimum(reached, hits, out=reached)
        typical = np.median(reached, 1)
        arrived = np.isfinite(reached[np.argmin(typical)]).all()
        return bool(arrived or snapshot.step > 2 * typical.min())

    train.fit_ensemble(
        jnp.tile(keys, r),
        _scaled,
        jax.tree.map(lambda leaf: jnp.concatenate([leaf] * r), params),
        _descent,
        rows,
        steps=every * RECORDS * LONGEST,
        batch_size=size,
        state=jnp.repeat(jnp.asarray(config.rates, jnp.float32), s),
        evaluate=_held_out,
        held_out=held,
        record_every=every,
        chunk=every * RECORDS // 4,
        callback=decided,
    )
    return reached


def _noise(config, rate, longest, keys, params, rows, size):
    """Moments of the rows' gradients along the winner's run with the largest batch."""
    every = max(1, int(longest if math.isfinite(longest) else 1) // config.looks)
    tracker = train.Tracker(lambda params: _moments(params, rows))
    seen = [jax.tree.map(np.asarray, _moments(params, rows))]
    train.fit_ensemble(
        keys,
        _scaled,
        params,
        _descent,
        rows,
        steps=every * config.looks,
        batch_size=size,
        state=jnp.full(config.seeds, rate, jnp.float32),
        record_every=every,
        chunk=every,
        callback=tracker,
    )
    seen += tracker.values
    looks = np.array([0, *tracker.steps])
    trace = np.stack([each.covariance_trace for each in seen])
    return looks, (trace, np.stack([each.gradient_norm_squared for each in seen]))


@jax.jit
def _moments(params, rows):
    """`curvature.gradient_noise_scale` of each seed."""
    return jax.vmap(
        lambda one: curvature.gradient_noise_scale(_loss, one, rows, chunk_size=100)
    )(params)


def medians(result: Result) -> tuple[np.ndarray, np.ndarray]:
    """Median updates of the best rate ``(b,)``, and which rate that is ``(b,)``."""
    typical = np.median(result.steps, axis=2)
    return typical.min(1), typical.argmin(1)


def small_slope(result: Result) -> tuple[float, float]:
    """Slope of log updates in log size among small batches, and its standard error.

    Between the smallest size and the largest that is at most four times as large, or
    the next. The error of a median is taken as 1.25 times that of a mean.
    """
    steps, best = medians(result)
    far = max(1, int(np.sum(result.sizes <= 4 * result.sizes[0])) - 1)
    ends = [0, far]
    with np.errstate(invalid="ignore"):
        logs = np.log(result.steps[ends, best[ends]])
        error = 1.2533 * logs.std(1, ddof=1) / np.sqrt(logs.shape[1])
        way = np.log(result.sizes[far] / result.sizes[0])
        slope = np.log(steps[far] / steps[0]) / way
    return float(slope), float(np.hypot(*error) / way)


def scales(result: Result) -> np.ndarray:
    """The noise scale at each look, ``(t,)``: of moments averaged over seeds."""
    return result.trace.mean(1) / result.square.mean(1)


def check(result: Result) -> list[Finding]:
    """Perfect scaling, diminishing returns, and the noise scale between them."""
    steps, best = medians(result)
    with np.errstate(invalid="ignore"):
        slope = slopes(result.sizes, steps)
    small, small_error = small_slope(result)
    critical = critical_size(result.sizes, steps, steps[-1])
    noise = scales(result)
    last = len(result.rates) - 1
    shallue = {
        "kind": "published figure",
        "source": "Shallue et al. (2018), https://arxiv.org/abs/1811.03600",
    }
    told = ", ".join(
        f"{n:g} at {size} (rate {result.rates[b]:g})"
        for n, size, b in zip(steps, result.sizes, best, strict=True)
    )
    return [
        close(
            "network: the updates fall in proportion while the batch is small: slope "
            "in log-log among the smallest sizes",
            expected=-1.0,
            measured=small,
            tolerance=0.15 + largest_z(1) * small_error,
            **shallue,
            note=f"median updates: {told}; tolerance: 0.15, for no size is infinitely "
            f"small, and the standard error {small_error:.2g} times {largest_z(1):.3g}",
        ),
        at_least(
            "network: a large batch saves little: slope in log-log between the "
            "largest two",
            low=-0.3,
            measured=slope[-1],
            **shallue,
        ),
        at_least(
            "network: the returns diminish: slope between the largest two minus that "
            "among the smallest",
            low=0.5,
            measured=slope[-1] - small,
            **shallue,
        ),
        between(
            "network: the critical batch size, with twice the fewest updates, over the "
            "noise scale, geometric mean along the run with the largest batch",
            low=0.1,
            high=10,
            measured=critical / np.exp(np.mean(np.log(noise))),
            kind="published figure",
            source="McCandlish et al. (2018), https://arxiv.org/abs/1812.06162",
            note=f"critical size {critical:.3g}; noise scale {noise[0]:.3g} at the "
            f"start, {noise[-1]:.3g} at the end. Predicted to an order of magnitude.",
        ),
        at_least(
            "network: the noise scale grows in training: at the target over at the "
            "start",
            low=2,
            measured=noise[-1] / noise[0],
            kind="published figure",
            source="McCandlish et al. (2018), https://arxiv.org/abs/1812.06162",
        ),
        close(
            "network: the best rate is inside the grid: batch sizes where it is at an "
            "end",
            expected=0,
            measured=int(np.sum((best == 0) | (best == last))),
            tolerance=0,
            kind="observation",
            source="this study",
        ),
    ]


def plot(result: Result) -> Plot:
    """Updates to the target against the batch size; the noise scale in training."""
    drawn, (left, right) = figure(1, 2)
    steps, best = medians(result)
    critical = critical_size(result.sizes, steps, steps[-1])
    chosen = result.steps[np.arange(len(best)), best]  # (b, s)
    left.plot(
        np.repeat(result.sizes, chosen.shape[1]),
        chosen.ravel(),
        ".",
        color=BLUE,
        alpha=0.5,
    )
    left.plot(result.sizes, steps, color=BLUE, label="best rate, median")
    left.plot(
        result.sizes,
        steps[0] * result.sizes[0] / result.sizes,
        color=GRAY,
        ls="--",
        lw=0.8,
        label="in proportion",
    )
    if np.isfinite(critical):
        left.axvline(critical, ymax=0.6, color=GREEN, lw=0.8, label="critical size")
    finite = chosen[np.isfinite(chosen)]
    bottom = finite.min() / 2 if finite.size else 1.0
    left.set(
        xscale="log",
        yscale="log",
        xlabel="batch size S (examples)",
        ylabel=f"updates to held-out loss {result.target:g}",
        ylim=(bottom, None),
    )
    left.legend()
    with np.errstate(invalid="ignore", divide="ignore"):
        single = np.where(result.square > 0, result.trace / result.square, np.nan)
    right.plot(result.looks, single, color=GRAY, lw=0.6)
    right.plot(
        result.looks, scales(result), "o-", color=VERMILLION, label="noise scale"
    )
    if np.isfinite(critical):
        right.axhline(critical, color=GREEN, lw=0.8, label="critical size")
    right.set(yscale="log", xlabel="update, largest batch", ylabel="examples")
    right.legend()
    return Plot(
        drawn,
        caption="A network on handwritten digits. Left: updates to the target with the "
        "best constant rate for each batch size; each point a seed. Right: the noise "
        "scale along the run with the largest batch, thin lines single seeds "
        "where their estimate is positive. The "
        f"critical size, {critical:.3g}, needs twice the fewest updates.",
        alt="Updates to the target against the batch size, both logarithmic: from "
        f"{steps[0]:.4g} at size {result.sizes[0]} nearly in proportion, then flat at "
        f"{steps[-1]:.3g}. The noise scale goes from {scales(result)[0]:.3g} to "
        f"{scales(result)[-1]:.3g} examples in training; the critical size is "
        f"{critical:.3g}.",
    )


def metrics(result: Result) -> Iterator[dict]:
    """One row a batch size and seed, at the best rate."""
    _, best = medians(result)
    for row, size in enumerate(result.sizes):
        for seed, steps in enumerate(result.steps[row, best[row]]):
            yield {
                "part": "training",
                "batch_size": int(size),
                "rate": float(result.rates[best[row]]),
                "seed": seed,
                "updates": float(steps),
            }
