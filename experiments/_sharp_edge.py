"""Sharpness along full-batch training: it rises until the optimizer turns unstable."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from experiments._figures import BLUE, GRAY, PALETTE, Plot, figure
from experiments._findings import Finding, at_least, at_most, close, relative
from jaxdl import curvature, data, losses, nn, optim, train
from jaxdl.models import mlp

COHEN = {
    "kind": "published figure",
    "source": "Cohen et al. (2021), https://arxiv.org/abs/2103.00065",
}
NAMES = {
    "gradient_descent": "gradient descent",
    "heavy_ball": "heavy ball",
    "nesterov": "Nesterov",
}
FORMULAS = {
    "gradient_descent": "2 / eta",
    "heavy_ball": "2 (1 + beta) / eta",
    "nesterov": "2 (1 + beta) / (eta (1 + 2 beta))",
}


@dataclass(frozen=True)
class Config:
    """A tanh network on handwritten digits, squared error, full batch, float32."""

    n_train: int = 300
    """Training rows of each seed."""
    label_noise: float = 0.5
    """Share of labels redrawn at random: what is harder to fit sharpens further."""
    hidden: tuple[int, ...] = (32, 32, 32)
    """Units of each hidden layer."""
    gradient_descent: tuple[float, ...] = (0.02, 0.1, 0.2, 0.3)
    """Learning rates, ascending; with the first it shall not reach the edge."""
    heavy_ball: tuple[float, ...] = (0.2, 0.3)
    """Learning rates, ascending."""
    nesterov: tuple[float, ...] = (0.1, 0.15)
    """Learning rates, ascending."""
    momentum: float = 0.9
    """The coefficient beta of heavy ball and Nesterov."""
    seeds: int = 3
    """Draws of rows, labels and initial weights, which all optimizers share."""
    steps: int = 3000
    """Updates."""
    measure_every: int = 50
    """Updates between two measurements of the sharpness; divides steps."""

    def __post_init__(self):
        """Reject what could not be run.

        Raises:
            ValueError: Which field is wrong.
        """
        for name in ("n_train", "seeds", "steps", "measure_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"edge.{name} must be >= 1, got {getattr(self, name)}")
        for name in NAMES:
            rates = getattr(self, name)
            ascending = all(a < b for a, b in itertools.pairwise(rates))
            if not rates or not ascending or not 0 < rates[0] <= rates[-1] < np.inf:
                raise ValueError(
                    f"edge.{name} must be ascending positive numbers, got {rates}"
                )
        if not self.hidden or min(self.hidden) < 1:
            raise ValueError(f"edge.hidden must be positive, got {self.hidden}")
        if not 0 <= self.label_noise <= 1:
            raise ValueError(
                f"edge.label_noise must lie in [0, 1], got {self.label_noise}"
            )
        if not 0 <= self.momentum < 1:
            raise ValueError(f"edge.momentum must lie in [0, 1), got {self.momentum}")
        if self.steps % self.measure_every:
            raise ValueError(
                f"edge.measure_every={self.measure_every} must divide "
                f"steps={self.steps}"
            )


@dataclass(frozen=True)
class Result:
    """One row a run, which is an optimizer with a learning rate; then seeds."""

    optimizers: list[str]  # (r,)
    rates: np.ndarray  # (r,)
    momentum: float
    thresholds: np.ndarray  # (r,) curvature where the update turns unstable: formula
    critical: np.ndarray  # (r,) the same, from the spectral radius of the update
    steps: np.ndarray  # (t,) updates done at each measurement; the first is 0
    sharpness: np.ndarray  # (r, s, t); NaN after a failure
    certified: np.ndarray  # (r, s, t) bool, residual within the tolerance
    losses: np.ndarray  # (r, s, steps) before each update; NaN after a failure
    failed_at: np.ndarray  # (r, s) update that was not finite; 0: none


def work(config: Config) -> float:
    """Seconds this takes, roughly, on two cores."""
    size = config.n_train * (64 * config.hidden[0] + sum(h * h for h in config.hidden))
    per_step = 1e-4 + 2e-10 * size
    looks = 40 * config.steps / config.measure_every
    members = len(_runs(config)) * config.seeds
    return 4 * len(NAMES) + members * per_step * (config.steps + looks)


def run(config: Config, key: jax.Array, tick: Callable[[float], object]) -> Result:
    """Train all rates and seeds of an optimizer as one, and look at the Hessians."""
    keys = jax.random.split(key, config.seeds)
    batch = _problems(config, keys)
    sizes = (batch[0].shape[-1], *config.hidden, batch[1].shape[-1])
    params = jax.jit(jax.vmap(lambda key: _initial(key, sizes)))(keys)
    runs = _runs(config)
    found = []
    for name in NAMES:
        rates = np.array(getattr(config, name))
        share = len(rates) / len(runs) / config.steps

        def step_tick(n: float, share: float = share):
            tick(share * n)

        found.append(_train(config, keys, params, batch, name, rates, step_tick))
    return Result(
        optimizers=[name for name, _ in runs],
        rates=np.array([rate for _, rate in runs]),
        momentum=config.momentum,
        thresholds=np.array([
            threshold(name, rate, config.momentum) for name, rate in runs
        ]),
        critical=np.array([
            critical_curvature(_optimizer(config, name)(rate)) for name, rate in runs
        ]),
        steps=np.arange(0, config.steps + 1, config.measure_every),
        **{name: np.concatenate([part[name] for part in found]) for name in found[0]},
    )


def threshold(name: str, rate: float, momentum: float) -> float:
    """The curvature above which an optimizer diverges on a quadratic."""
    return {
        "gradient_descent": 2,
        "heavy_ball": 2 * (1 + momentum),
        "nesterov": 2 * (1 + momentum) / (1 + 2 * momentum),
    }[name] / rate


def critical_curvature(optimizer: Any) -> float:
    """The same, found from the optimizer itself.

    On ``curvature x^2 / 2`` the update is a linear map of x and the optimizer's state;
    it diverges where the spectral radius of that map exceeds 1. Bisection, float64.
    """
    with jax.enable_x64(True):
        start = jnp.zeros(())
        flat, unravel = ravel_pytree((start, optimizer.init(start)))

        @jax.jit
        def matrix(curvature):
            def step(flat):
                x, state = unravel(flat)
                updates, state = optimizer.update(curvature * x, state, x)
                return ravel_pytree((x + updates, state))[0]

            return jax.jacfwd(step)(flat)

        low, high = 0.0, 1.0
        while _radius(matrix(high)) <= 1:
            low, high = high, 2 * high
        for _ in range(60):
            middle = (low + high) / 2
            unstable = _radius(matrix(middle)) > 1
            low, high = (low, middle) if unstable else (middle, high)
    return high


def _radius(matrix):
    """The spectral radius; rounding does not count."""
    return np.max(np.abs(np.linalg.eigvals(np.asarray(matrix)))) - 1e-12


def _runs(config):
    """Optimizer and learning rate of each run."""
    return [(name, rate) for name in NAMES for rate in getattr(config, name)]


def _optimizer(config, name):
    """From a learning rate to the optimizer."""
    if name == "gradient_descent":
        return optim.sgd
    make = {"heavy_ball": optim.momentum, "nesterov": optim.nesterov}[name]
    return lambda learning_rate: make(learning_rate, config.momentum)


def _problems(config, keys):
    """Inputs ``(s, n, d)`` and one-hot targets ``(s, n, k)`` of each seed.

    Inputs are centred and divided by one number, their overall standard deviation.
    """
    table = data.digits()
    n, k = min(config.n_train, len(table.x)), 10
    inputs, targets = [], []
    for key in keys:
        row_key, noise_key, _ = jax.random.split(key, 3)
        rows = np.asarray(jax.random.permutation(row_key, len(table.x)))[:n]
        x = table.x[rows] - table.x[rows].mean(0)
        y = data.redraw_labels(
            noise_key, jnp.asarray(table.y[rows], jnp.int32), config.label_noise, k
        )
        inputs.append(np.float32(x / x.std()))
        targets.append(np.eye(k, dtype=np.float32)[np.asarray(y)])
    return np.stack(inputs), np.stack(targets)


def _initial(key, sizes):
    """Weights of one seed."""
    _, _, init_key = jax.random.split(key, 3)
    return mlp.init(init_key, sizes, initializer=nn.lecun_normal)


def _apply(params, x):
    """Outputs for one example."""
    return mlp.apply(params, x, activation=jnp.tanh)


_supervised = train.supervised(_apply, losses.squared_error)


def _loss(params, batch):
    """The mean loss, as `curvature.hvp` takes it."""
    x, targets = batch
    outputs = jax.vmap(_apply, (None, 0))(params, x)
    return jnp.mean(jax.vmap(losses.squared_error)(outputs, targets))


@jax.jit
def _sharpness(params, batch, keys):
    """The largest eigenvalues of the members' Hessians, to a thousandth of them.

    One after the other: together all would iterate as long as the slowest.
    """

    def one(member):
        params, batch, key = member
        return curvature.sharpness(curvature.hvp(_loss, params, batch), key, tol=1e-3)

    return jax.lax.map(one, (params, batch, keys))


def _train(config, keys, params, batch, name, rates, step_tick):
    """Train all rates and seeds of one optimizer; arrays ``(rates, seeds, ...)``."""
    members = np.tile(np.arange(config.seeds), len(rates))
    keys, params, batch = jax.tree.map(
        lambda leaf: jnp.asarray(leaf)[members], (keys, params, batch)
    )
    tracker = train.Tracker(lambda params: _sharpness(params, batch, keys))
    start = jax.tree.map(np.asarray, tracker.measure(params))
    fitted = train.fit_ensemble(
        keys,
        _supervised,
        params,
        _optimizer(config, name),
        batch,
        hyperparameters={
            "learning_rate": np.repeat(rates, config.seeds).astype(np.float32)
        },
        data_axes=0,
        steps=config.steps,
        chunk=config.measure_every,
        progress=step_tick,
        callback=tracker,
    )
    seen = [start, *tracker.values]
    steps = np.arange(len(seen)) * config.measure_every
    failed_at = np.asarray(fitted.failed_at)
    lost = (failed_at[:, None] > 0) & (steps >= failed_at[:, None])
    looks = 1 + config.steps // config.measure_every
    found = {
        "sharpness": _padded(
            np.where(lost, np.nan, np.stack([s.value for s in seen], 1)), looks
        ),
        "certified": _padded(np.stack([s.converged for s in seen], 1) | lost, looks),
        "losses": _padded(np.asarray(fitted.history["loss"]), config.steps),
        "failed_at": failed_at,
    }
    shape = (len(rates), config.seeds)
    return {key: rows.reshape(*shape, *rows.shape[1:]) for key, rows in found.items()}


def _padded(rows, length):
    """Rows of runs that ended early, filled up: with NaN, or as certified."""
    fill = True if rows.dtype == bool else np.nan
    missing = length - rows.shape[1]
    return np.pad(rows, ((0, 0), (0, missing)), constant_values=fill)


def late_ratio(result: Result) -> np.ndarray:
    """Mean sharpness over the last quarter, in thresholds, ``(r, s)``."""
    late = result.sharpness[..., 3 * len(result.steps) // 4 :].mean(2)
    return late / result.thresholds[:, None]


def regimes(result: Result) -> np.ndarray:
    """What became of each run and seed, ``(r, s)`` words."""
    edge = np.where(late_ratio(result) >= 0.95, "at the edge", "below the edge")
    return np.where(result.failed_at > 0, "diverged", edge)


def check(result: Result) -> list[Finding]:
    """Where the updates turn unstable, where the sharpness settles, and the loss."""
    ratio, regime = late_ratio(result), regimes(result)
    names = np.array(result.optimizers)
    findings = []
    for name, label in NAMES.items():
        rows = np.flatnonzero(names == name)
        last = rows[-1]
        findings += [
            relative(
                f"{label}: on a quadratic the update turns unstable at curvature "
                f"{FORMULAS[name]}: the one farthest from it, times eta",
                measured=_farthest(result, rows) * result.rates[last],
                expected=result.thresholds[last] * result.rates[last],
                tolerance=1e-9,
                kind="closed form",
                source="spectral radius of the linear map; Cohen et al. (2021), "
                "https://arxiv.org/abs/2103.00065",
            ),
            close(
                f"{label} at rate {result.rates[last]:g} trains at the edge of "
                f"stability: sharpness over the last quarter, in units of "
                f"{FORMULAS[name]}, median over seeds",
                measured=np.median(ratio[last]),
                expected=1.0,
                tolerance=0.06,
                **COHEN,
                note=_tally(result, rows, regime),
            ),
        ]
    slow, fast = 0, np.flatnonzero(names == "gradient_descent")[-1]
    rise = np.nanmax(result.sharpness[slow], 1) / np.nanmin(result.sharpness[slow], 1)
    rising = np.mean(np.diff(result.losses) > 0, axis=2)
    half = result.losses.shape[2] // 2
    drop = result.losses[fast, :, -50:].mean(1) / result.losses[fast, :, half]
    rate = result.rates[slow]
    return [
        *findings,
        at_most(
            "no run settles above its threshold: largest sharpness over the last "
            "quarter, in thresholds, over all runs and seeds",
            high=1.15,
            measured=np.max(ratio),
            **COHEN,
        ),
        at_least(
            "below the edge gradient descent sharpens: largest over smallest sharpness "
            f"at rate {rate:g}, median over seeds",
            low=1.2,
            measured=np.median(rise),
            **COHEN,
            note=f"threshold {result.thresholds[slow]:g}; reached: "
            f"{np.nanmax(result.sharpness[slow]):.3g}",
        ),
        close(
            "below the edge every step lowers the loss: share of steps that raise it "
            f"at rate {rate:g}, largest over seeds",
            measured=np.max(rising[slow]),
            expected=0.0,
            tolerance=0.0,
            kind="theorem",
            source="descent lemma: a step lowers the loss where curvature < 2 / eta",
        ),
        at_least(
            "at the edge the loss goes up and down: share of steps that raise it at "
            f"rate {result.rates[fast]:g}, least over seeds",
            low=0.05,
            measured=np.min(rising[fast]),
            **COHEN,
        ),
        at_most(
            "and yet it falls in the long run: loss at the end over the loss half-way, "
            "largest over seeds",
            high=0.7,
            measured=np.max(drop),
            **COHEN,
        ),
        close(
            "each sharpness is certified by the residual of its eigenpair, within a "
            "thousandth: measurements that are not",
            measured=int(np.sum(~result.certified)),
            expected=0,
            tolerance=0,
            kind="observation",
            source="this study",
        ),
        close(
            "runs that ended in a loss that is not finite",
            measured=int(np.sum(result.failed_at > 0)),
            expected=0,
            tolerance=0,
            kind="observation",
            source="this study",
        ),
    ]


def _farthest(result, rows):
    """Of the critical curvatures, scaled to the last rate, that farthest off."""
    scaled = result.critical[rows] * result.rates[rows] / result.rates[rows[-1]]
    return scaled[np.argmax(np.abs(scaled - result.thresholds[rows[-1]]))]


def _tally(result, rows, regime):
    """How many seeds of each rate ended in each regime."""
    parts = []
    for row in rows:
        words, counts = np.unique(regime[row], return_counts=True)
        told = ", ".join(f"{n} {word}" for n, word in zip(counts, words, strict=True))
        parts.append(f"rate {result.rates[row]:g}: {told}")
    return "seeds by regime: " + "; ".join(parts)


def plot(result: Result) -> dict[str, Plot]:
    """Sharpness over training time, and the loss."""
    return {"edge": _plot_gradient_descent(result), "momentum": _plot_momentum(result)}


def _plot_gradient_descent(result):
    """Gradient descent: one seed, all rates."""
    drawn, (left, right) = figure(1, 2)
    rows = [i for i, name in enumerate(result.optimizers) if name == "gradient_descent"]
    for row, color in zip(rows, PALETTE, strict=False):
        rate = result.rates[row]
        left.plot(result.steps, result.sharpness[row].T, color=color, lw=0.9, alpha=0.8)
        left.axhline(result.thresholds[row], color=color, ls="--", lw=0.8)
        right.plot(
            1 + np.arange(result.losses.shape[2]),
            result.losses[row, 0],
            color=color,
            lw=0.8,
            label=f"rate {rate:g}",
        )
    shown = [result.thresholds[row] for row in rows[1:]] or [result.thresholds[0]]
    left.set(
        xlabel="step",
        ylabel="sharpness",
        ylim=(0, 1.25 * max(*shown, np.nanmax(result.sharpness[rows]))),
    )
    right.set(xscale="log", yscale="log", xlabel="step", ylabel="training loss")
    right.legend()
    edge = np.median(late_ratio(result)[rows], 1)
    return Plot(
        drawn,
        caption="Full-batch gradient descent on a tanh network. Left: the largest "
        f"eigenvalue of the Hessian, {result.sharpness.shape[1]} seeds; dashed: 2 / "
        "learning rate, in the color of its runs (that of the smallest rate lies "
        "beyond the axis). Right: the loss of the first seed.",
        alt="Sharpness against training step for several learning rates. Each curve "
        "rises; those that meet 2 over the learning rate stay there. Over the last "
        "quarter the medians are "
        + ", ".join(
            f"{value:.2f} of it at rate {result.rates[row]:g}"
            for value, row in zip(edge, rows, strict=True)
        )
        + ".",
    )


def _plot_momentum(result):
    """Heavy ball and Nesterov: sharpness in units of the threshold."""
    drawn, axes = figure(1, 2, sharey=True)
    told = []
    for name, panel in zip(("heavy_ball", "nesterov"), axes, strict=True):
        rows = [i for i, each in enumerate(result.optimizers) if each == name]
        for row, color in zip(rows, PALETTE[1:], strict=False):
            lines = panel.plot(
                result.steps,
                result.sharpness[row].T * result.rates[row],
                color=color,
                lw=0.9,
            )
            lines[0].set_label(f"rate {result.rates[row]:g}")
            told.append(
                f"{NAMES[name]} at rate {result.rates[row]:g} "
                f"{np.median(late_ratio(result)[row]):.2f}"
            )
        level = result.thresholds[rows[0]] * result.rates[rows[0]]
        panel.axhline(
            level, color=BLUE, ls="--", lw=0.8, label=f"threshold {level:.3g}"
        )
        panel.axhline(2, color=GRAY, ls=":", lw=0.8, label="gradient descent's, 2")
        panel.set(xlabel="step", title=NAMES[name])
        panel.legend(loc="lower right" if level > 2 else "upper right")
    axes[0].set(ylabel="sharpness x learning rate", ylim=(0, None))
    return Plot(
        drawn,
        caption=f"Full-batch training with momentum {result.momentum:g}: sharpness "
        "times learning rate, each line a seed. Dashed: the threshold of the "
        "optimizer; dotted: that of plain gradient descent.",
        alt="Sharpness times learning rate against training step. Over the last "
        "quarter, in units of the threshold: " + ", ".join(told) + ".",
    )


def metrics(result: Result) -> Iterator[dict]:
    """One row a run and seed."""
    ratio, regime = late_ratio(result), regimes(result)
    for row, name in enumerate(result.optimizers):
        for seed in range(result.failed_at.shape[1]):
            yield {
                "part": "edge",
                "optimizer": name,
                "rate": float(result.rates[row]),
                "seed": seed,
                "threshold": float(result.thresholds[row]),
                "late_sharpness_in_thresholds": float(ratio[row, seed]),
                "regime": str(regime[row, seed]),
                "final_loss": float(result.losses[row, seed, -1]),
                "failed_at": int(result.failed_at[row, seed]),
            }
