"""Averages of the weights of a network, along minibatch SGD at a constant rate."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from experiments._figures import (
    BLACK,
    BLUE,
    GRAY,
    GREEN,
    VERMILLION,
    Plot,
    band,
    figure,
)
from experiments._findings import Finding, at_least, at_most, between, close
from jaxdl import data, losses, optim, train
from jaxdl.models import mlp

NAMES = ("last", "mean", "late_mean", "ema", "decayed")
LABELS = (
    "last iterate",
    "mean of all",
    "mean of the later half",
    "exponential average",
    "last iterate, rate decayed",
)


@dataclass(frozen=True)
class Config:
    """A ReLU network on handwritten digits, cross-entropy, plain SGD, float32."""

    n_train: int = 1000
    """Training rows; the others are held out."""
    label_noise: float = 0.2
    """Share of training labels redrawn, which keeps the gradient noisy."""
    hidden: int = 32
    """Hidden units."""
    batch_size: int = 10
    """Rows of a step."""
    rate: float = 0.2
    """The learning rate; the decayed run falls from it to zero as a cosine."""
    decay: float = 0.99
    """Of the exponential average."""
    steps: int = 2000
    """Updates, even."""
    looks: int = 20
    """Measurements, at equal distances; divides steps."""
    seeds: int = 10
    """Draws of label noise, initial weights and order of the rows."""

    def __post_init__(self):
        """Reject what could not be run.

        Raises:
            ValueError: Which field is wrong.
        """
        for name, least in (("hidden", 1), ("batch_size", 1), ("looks", 2)):
            if getattr(self, name) < least:
                raise ValueError(
                    f"training.{name} must be >= {least}, got {getattr(self, name)}"
                )
        if not self.batch_size <= self.n_train < 1797:
            raise ValueError(
                f"training.n_train must lie between batch_size={self.batch_size} and "
                f"1796, got {self.n_train}"
            )
        if not 0 <= self.label_noise <= 1:
            raise ValueError(
                f"training.label_noise must lie in [0, 1], got {self.label_noise}"
            )
        if not 0 < self.rate < math.inf:
            raise ValueError(f"training.rate must be positive, got {self.rate}")
        if not 0 < self.decay < 1:
            raise ValueError(f"training.decay must lie in (0, 1), got {self.decay}")
        if self.steps < 2 or self.steps % 2 or self.steps % self.looks:
            raise ValueError(
                f"training.steps must be even and a multiple of looks={self.looks}, "
                f"got {self.steps}"
            )
        if self.seeds < 2:
            raise ValueError(f"training.seeds must be >= 2, got {self.seeds}")


@dataclass(frozen=True)
class Result:
    """Axes: what (`NAMES`), look, seed; NaN after a failure."""

    steps: np.ndarray  # (t,) updates
    train: np.ndarray  # (w, t, s) training loss, on the labels trained on
    test: np.ndarray  # (w, t, s) held-out loss, on true labels
    error: np.ndarray  # (w, t, s) share of held-out rows misclassified
    failed: np.ndarray  # (2, s) bool, of the constant and of the decayed rate


def work(config: Config) -> float:
    """Seconds this takes, roughly, on two cores."""
    step = 2e-5 + 1e-9 * config.seeds * config.batch_size * config.hidden * 64
    return 8 + 2 * config.steps * step


def run(config: Config, key: jax.Array, tick: Callable[[float], object]) -> Result:
    """Train once with all averages behind SGD, once with a decayed rate."""
    split_key, label_key, init_key, order_key = jax.random.split(key, 4)
    parts = data.split(split_key, data.digits(), config.n_train)
    y = jax.vmap(
        lambda key: data.redraw_labels(
            key, jnp.asarray(parts.y_train, jnp.int32), config.label_noise, 10
        )
    )(jax.random.split(label_key, config.seeds))
    rows = (jnp.float32(parts.x_train), y)
    held_out = (jnp.float32(parts.x_test), jnp.int32(parts.y_test))
    params = jax.jit(jax.vmap(lambda key: mlp.init(key, (64, config.hidden, 10))))(
        jax.random.split(init_key, config.seeds)
    )
    constant = optim.chain(
        optim.sgd(config.rate),
        optim.polyak_average(),
        optim.polyak_average(config.steps // 2),
        optim.ema_average(config.decay),
    )
    decayed = optim.sgd(optim.cosine_decay(config.rate, config.steps))
    seen = {name: [] for name in NAMES}
    failed = []

    def look(name, params):
        values = _measure(params, rows, held_out)
        seen[name].append([np.asarray(value) for value in values])

    def look_at_averages(snapshot):
        look("last", snapshot.params)
        for name, state in zip(NAMES[1:4], snapshot.optimizer[1:], strict=True):
            look(name, state.average)

    def look_at_last(snapshot):
        look("decayed", snapshot.params)

    for optimizer, callback in ((constant, look_at_averages), (decayed, look_at_last)):
        fitted = train.fit_ensemble(
            jax.random.split(order_key, config.seeds),
            _supervised,
            params,
            optimizer,
            rows,
            data_axes=(None, 0),  # the same batches for both optimizers
            steps=config.steps,
            batch_size=config.batch_size,
            record_every=config.steps // config.looks,
            chunk=config.steps // config.looks,
            callback=callback,
            progress=lambda n: tick(n / 2 / config.steps),
        )
        failed.append(np.asarray(fitted.failed_at) > 0)
    values = np.full((len(NAMES), config.looks, 3, config.seeds), np.nan)
    for row, name in enumerate(NAMES):
        values[row, : len(seen[name])] = seen[name]
    lost = np.stack([failed[0]] * 4 + [failed[1]])[:, None, None]
    values = np.where(lost, np.nan, values)
    return Result(
        steps=(1 + np.arange(config.looks)) * (config.steps // config.looks),
        train=values[:, :, 0],
        test=values[:, :, 1],
        error=values[:, :, 2],
        failed=np.stack(failed),
    )


_supervised = train.supervised(mlp.apply, losses.cross_entropy)


@jax.jit
def _measure(params, rows, held_out):
    """Training loss, held-out loss and held-out error of each seed."""

    def one(params, x, y):
        outputs = jax.vmap(mlp.apply, (None, 0))(params, x)
        loss = jnp.mean(jax.vmap(losses.cross_entropy)(outputs, y))
        return loss, jnp.mean(jax.vmap(losses.misclassified)(outputs, y))

    train_loss, _ = jax.vmap(one, (0, None, 0))(params, *rows)
    return train_loss, *jax.vmap(one, (0, None, None))(params, *held_out)


def check(result: Result) -> list[Finding]:
    """The average against the last iterate and against decay; where it hurts."""
    here = {"kind": "observation", "source": "this study"}
    last, mean, late, ema, decayed = result.test[:, -1]
    last_train, mean_train = result.train[:2, 0]
    typical = result.test[0, 3 * len(result.steps) // 4 :].mean(0)
    seeds = len(last)
    told = "; ".join(
        f"{label} {np.median(result.test[row, -1]):.3g} (error "
        f"{np.median(result.error[row, -1]):.3g})"
        for row, label in enumerate(LABELS)
    )
    return [
        at_most(
            "network: the mean of the later half has a lower held-out loss than the "
            "last iterate: ratio, median over seeds",
            high=1.0,
            measured=np.median(late / last),
            **here,
            note=f"held-out loss, medians: {told}",
        ),
        at_least(
            "network: and for nearly every seed than single iterates of the last "
            "quarter have on average: share of seeds",
            low=0.8,
            measured=np.sum(late < typical) / seeds,
            **here,
        ),
        at_most(
            "network: so has the exponential average: ratio, median over seeds",
            high=1.0,
            measured=np.median(ema / last),
            **here,
        ),
        between(
            "network: the mean of the later half is about as good as a run with "
            "decayed rate: ratio of held-out losses, median over seeds",
            low=0.8,
            high=1.25,
            measured=np.median(late / decayed),
            **here,
        ),
        at_least(
            "network: averaging hurts early, where weights still travel: training "
            f"loss of the mean over last iterate after {result.steps[0]} updates, "
            "median over seeds",
            low=1.0,
            measured=np.median(mean_train / last_train),
            **here,
        ),
        at_least(
            "network: at the end the mean of all iterates is behind that of the later "
            "half: ratio of training losses, median over seeds",
            low=1.0,
            measured=np.median(result.train[1, -1] / result.train[2, -1]),
            **here,
            note=f"held-out: {np.median(mean / late):.3g}",
        ),
        close(
            "network: runs that ended in a loss that is not finite",
            expected=0,
            measured=int(np.sum(result.failed)),
            tolerance=0,
            **here,
        ),
    ]


def plot(result: Result) -> Plot:
    """Training and held-out loss over time."""
    drawn, axes = figure(1, 2)
    colors = (GRAY, BLUE, VERMILLION, GREEN, BLACK)
    for panel, values in zip(axes, (result.train, result.test), strict=True):
        for row, (label, color) in enumerate(zip(LABELS, colors, strict=True)):
            # The mean of the later half is the last iterate until it starts.
            some = result.steps > (result.steps[-1] // 2 if row == 2 else 0)
            low, mid, high = np.quantile(values[row, some], [0.25, 0.5, 0.75], axis=1)
            band(panel, result.steps[some], low, mid, high, label=label, color=color)
        panel.set(xlabel="update")
    axes[0].set(ylabel="training loss")
    axes[1].set(ylabel="held-out loss, true labels")
    axes[1].legend()
    ends = np.median(result.test[:, -1], axis=1)
    return Plot(
        drawn,
        caption="Minibatch SGD on handwritten digits with noisy labels: medians and "
        f"quartiles of {result.test.shape[2]} seeds. All averages are of the run at "
        "constant rate.",
        alt="Training loss and held-out loss against the update. The final medians "
        "of the held-out loss are "
        + ", ".join(
            f"{end:.3g} ({label})" for end, label in zip(ends, LABELS, strict=True)
        )
        + ".",
    )


def metrics(result: Result) -> Iterator[dict]:
    """One row for each average and seed, at the end."""
    for row, name in enumerate(NAMES):
        for seed in range(result.test.shape[2]):
            yield {
                "part": "training",
                "average": name,
                "seed": seed,
                "train_loss": float(result.train[row, -1, seed]),
                "test_loss": float(result.test[row, -1, seed]),
                "test_error": float(result.error[row, -1, seed]),
            }
