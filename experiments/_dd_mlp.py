"""Double descent of a trained network on images with noisy labels, against width."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments._figures import BLUE, GRAY, GREEN, ORANGE, PURPLE, Plot, band, figure
from experiments._findings import Finding, at_least, at_most, between, close
from jaxdl import data, losses, optim, train
from jaxdl.models import mlp


@dataclass(frozen=True)
class Config:
    """A network with one hidden layer, cross-entropy, full-batch Adam, float32."""

    n_train: int = 1000
    """Training rows of each seed; at most all that the data set has for training, or
    60 % of one that comes in one piece."""
    label_noise: float = 0.3
    """Share of training labels changed to another class."""
    widths: tuple[int, ...] = (3, 4, 6, 8, 10, 13, 16, 20, 27, 38, 64, 128, 256)
    """Hidden units; those with the same power of two above them train as one
    program."""
    seeds: int = 4
    """Draws of training rows and noise, which all widths share, and of initial
    weights, which they do not."""
    steps: int = 2000
    """Updates."""
    learning_rate: float = 0.01
    """Of Adam."""
    record_every: int = 10
    """Updates between two evaluations; divides steps."""

    def __post_init__(self):
        """Reject a sweep that could not show a peak.

        Raises:
            ValueError: Which field is wrong.
        """
        if len(set(self.widths)) < 3 or min(self.widths) < 1:
            raise ValueError(
                f"mlp.widths must be three or more, all positive, got {self.widths}"
            )
        for name in ("n_train", "seeds", "steps", "record_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"mlp.{name} must be >= 1, got {getattr(self, name)}")
        if not 0 < self.learning_rate < np.inf:
            raise ValueError(
                f"mlp.learning_rate must be positive, got {self.learning_rate}"
            )
        if not 0 <= self.label_noise < 1:
            raise ValueError(
                f"mlp.label_noise must lie in [0, 1), got {self.label_noise}"
            )
        if self.steps % self.record_every:
            raise ValueError(
                f"mlp.record_every={self.record_every} must divide steps={self.steps}"
            )


@dataclass(frozen=True)
class Result:
    """Error rates and losses; one row a width, one column a seed, then records."""

    n_train: int
    widths: np.ndarray  # (w,)
    parameters: np.ndarray  # (w,) how many
    steps: np.ndarray  # (r,)
    train_error: np.ndarray  # (w, s, r), on the noisy labels
    test_error: np.ndarray  # (w, s, r), on clean labels
    test_loss: np.ndarray  # (w, s, r), nats
    failed_at: np.ndarray  # (w, s), update that was not finite; 0: none
    chance_error: float  # of always answering the most frequent class


def work(config: Config) -> float:
    """Seconds this takes, roughly, on two cores."""
    return sum(_seconds(config, *bucket) for bucket in _buckets(config).items())


def run(
    config: Config,
    key: jax.Array,
    dataset: data.Table | data.Dataset,
    tick: Callable[[float], object],
) -> Result:
    """Train every width and seed; one compiled program a bucket of widths."""
    keys = jax.random.split(key, config.seeds)
    problems = _problems(config, keys, dataset)
    d, k = problems.x_train.shape[-1], 1 + int(np.max(_labels(dataset)))
    total = work(config)
    rows = {}
    for padded, widths in _buckets(config).items():
        share = _seconds(config, padded, widths) / total / config.steps

        def step_tick(steps: int, share: float = share):
            tick(share * steps)

        result = _train(config, keys, problems, widths, (d, padded, k), step_tick)
        for i, width in enumerate(widths):
            rows[width] = {name: values[i] for name, values in result.items()}
    widths = sorted(rows)
    frequent = np.bincount(np.ravel(problems.y_train), minlength=k).argmax()
    return Result(
        n_train=problems.x_train.shape[1],
        widths=np.array(widths),
        parameters=np.array([(d + 1) * width + (width + 1) * k for width in widths]),
        steps=np.arange(config.record_every, config.steps + 1, config.record_every),
        **{name: np.stack([rows[w][name] for w in widths]) for name in rows[widths[0]]},
        chance_error=float(np.mean(problems.y_test != frequent)),
    )


def _labels(dataset: data.Table | data.Dataset) -> np.ndarray:
    """The labels to learn from."""
    whole = isinstance(dataset, data.Table)
    return np.asarray(dataset.y if whole else dataset.y_train)


class _Problems(NamedTuple):
    """The data of every seed."""

    x_train: np.ndarray  # (s, n, d)
    y_train: np.ndarray  # (s, n), noisy
    x_test: np.ndarray  # (s, m, d)
    y_test: np.ndarray  # (s, m), clean


def _problems(config, keys, dataset):
    """Draw training rows and label noise, with keys of their own.

    Inputs are centred by the training rows and divided by one number, their overall
    standard deviation: narrow networks fail on inputs that are all positive.

    Raises:
        ValueError: If there is nothing to tell the inputs apart by.
    """
    whole = isinstance(dataset, data.Table)
    x = _flat(dataset.x if whole else dataset.x_train)
    y = _labels(dataset).astype(np.int32)
    n = min(config.n_train, len(x) * 3 // 5 if whole else len(x))
    problems = []
    for key in keys:
        row_key, noise_key, _ = jax.random.split(key, 3)
        rows = np.asarray(jax.random.permutation(row_key, len(x)))
        train, test = rows[:n], rows[n:]
        noisy = data.flip_labels(
            noise_key, jnp.asarray(y[train]), config.label_noise, 1 + int(y.max())
        )
        held_out = (x[test], y[test])
        if not whole:
            held_out = _flat(dataset.x_test), dataset.y_test.astype(np.int32)
        shift = x[train].mean(axis=0)
        scale = np.std(x[train] - shift)
        if not 0 < scale < np.inf:
            raise ValueError(
                f"data: the {n} training inputs must differ and be finite in float32, "
                f"got a standard deviation of {scale}"
            )
        problems.append(
            _Problems(
                (x[train] - shift) / scale,
                np.asarray(noisy),
                (held_out[0] - shift) / scale,
                held_out[1],
            )
        )
    return jax.tree.map(lambda *seeds: np.stack(seeds), *problems)


def _flat(x: np.ndarray | jax.Array) -> np.ndarray:
    """One row an example, float32."""
    return np.asarray(x, np.float32).reshape(len(x), -1)


def _buckets(config: Config) -> dict[int, list[int]]:
    """Widths by the size they are padded to: a power of two, at least 16."""
    buckets: dict[int, list[int]] = {}
    for width in sorted(set(config.widths)):
        padded = max(16, 1 << (width - 1).bit_length())
        buckets.setdefault(padded, []).append(width)
    return buckets


def _seconds(config, padded, widths):
    """What one bucket takes, roughly: compiling, then steps."""
    members = len(widths) * config.seeds
    return 4 + config.steps * members * config.n_train * (4.5e-9 * padded + 6e-8)


def _train(config, keys, problems, widths, sizes, step_tick):
    """Train the members of a bucket; arrays ``(widths, seeds, ...)``."""
    shape = (len(widths), config.seeds)
    members = np.tile(np.arange(config.seeds), len(widths))
    member_keys, params = _initial(
        keys[members], np.repeat(widths, config.seeds), sizes
    )
    own = jax.tree.map(lambda a: a[members], problems)
    run = train.fit_ensemble(
        member_keys,
        _loss,
        params,
        optim.adam(config.learning_rate),
        (own.x_train, own.y_train),
        data_axes=0,
        steps=config.steps,
        evaluate=_evaluate,
        held_out=own,
        held_out_axes=0,
        record_every=config.record_every,
        chunk=max(config.steps // 10, config.record_every),
        progress=step_tick,
    )
    return {
        name: np.asarray(value).reshape(*shape, *value.shape[1:])
        for name, value in (run.history | {"failed_at": run.failed_at}).items()
        if name != "loss"
    }


@partial(jax.jit, static_argnums=2)
def _initial(keys, widths, sizes):
    """Keys and first weights of each member; no two widths share a draw."""

    def member(key, width):
        _, _, member_key = jax.random.split(key, 3)
        init_key, fit_key = jax.random.split(jax.random.fold_in(member_key, width))
        return fit_key, mlp.init(init_key, sizes, widths=(width,))

    return jax.vmap(member)(keys, widths)


_loss = train.supervised(mlp.apply, losses.cross_entropy)


def _evaluate(params, state, problem):
    """Errors and test loss of one member."""
    del state

    def outputs(x):
        return jax.vmap(mlp.apply, (None, 0))(params, x)

    def error(outputs, y):
        return jnp.mean(jax.vmap(losses.misclassified)(outputs, y))

    test = outputs(problem.x_test)
    return {
        "train_error": error(outputs(problem.x_train), problem.y_train),
        "test_error": error(test, problem.y_test),
        "test_loss": jnp.mean(jax.vmap(losses.cross_entropy)(test, problem.y_test)),
    }


def check(result: Result) -> list[Finding]:
    """The shape of the curve, where its peak is, and what early stopping does."""
    final = np.median(result.test_error[..., -1], 1)
    best = np.median(np.min(result.test_error, 2), 1)
    train_error = np.mean(result.train_error[..., -1], 1)
    peak = int(np.argmax(final[1:-1])) + 1
    before, after = np.min(final[:peak]), final[-1]
    nakkiran = {
        "kind": "published figure",
        "source": "Nakkiran et al. (2019), https://arxiv.org/abs/1912.02292",
    }
    fits = result.widths[train_error <= 0.1]
    return [
        at_least(
            "network: trained to the end, the median test error rises with width to "
            "a peak: rise above the least at smaller widths",
            low=0.1,
            measured=final[peak] - before,
            **nakkiran,
            note=f"{before:.1%} to {final[peak]:.1%} at {result.widths[peak]} units",
        ),
        at_least(
            "network: beyond the peak the median test error falls again: fall to "
            "the largest width",
            low=0.1,
            measured=final[peak] - after,
            **nakkiran,
            note=f"{final[peak]:.1%} to {after:.1%} at {result.widths[-1]} units; "
            f"always the most frequent class: {result.chance_error:.1%}",
        ),
        between(
            "network: the peak is near the narrowest network that fits its noisy "
            "labels: ratio of widths",
            low=0.5,
            high=2.0,
            measured=result.widths[peak] / fits[0] if len(fits) else np.nan,
            **nakkiran,
            note="fits: mean training error at most 10 %; "
            f"the peak has {result.parameters[peak]} parameters, "
            f"{result.parameters[peak] / result.n_train:.1f} a training row",
        ),
        at_most(
            "network: stopped at its best step, no width is worse than a smaller "
            "one: largest rise of the median test error above the least before",
            high=0.05,
            measured=np.max(best - np.minimum.accumulate(best)),
            **nakkiran,
            note="the best step is chosen on the test set: a bound on what early "
            "stopping can do",
        ),
        close(
            "network: runs that ended in a loss that is not finite",
            expected=0,
            measured=int(np.sum(result.failed_at > 0)),
            tolerance=0,
            kind="observation",
            source="this study",
            unit="runs",
        ),
    ]


def plot(result: Result) -> Plot:
    """Errors against width, and against training time."""
    drawn, (left, right) = figure(1, 2)
    for values, color, label in (
        (result.train_error[..., -1], GRAY, "training labels, last step"),
        (result.test_error[..., -1], BLUE, "test, last step"),
        (np.min(result.test_error, 2), ORANGE, "test, best step"),
    ):
        median = np.median(values, 1)
        band(
            left,
            result.widths,
            values.min(1),
            median,
            values.max(1),
            label=label,
            color=color,
        )
    last = result.test_error[..., -1]
    top = 1.5 * np.max(last, initial=0.1, where=np.isfinite(last))
    left.set(xscale="log", xlabel="hidden units", ylabel="error rate", ylim=(0, top))
    per_unit, rest = np.polyfit(result.widths, result.parameters / result.n_train, 1)
    ratio = left.secondary_xaxis(
        "top",
        functions=(lambda w: per_unit * w + rest, lambda r: (r - rest) / per_unit),
    )
    ratio.set_xlabel("parameters per training row")
    left.legend(loc="upper right")
    final = np.median(result.test_error[..., -1], 1)
    best = np.median(np.min(result.test_error, 2), 1)
    peak = int(np.argmax(final[1:-1])) + 1
    chosen = sorted({
        peak // 2,
        peak,
        (peak + len(result.widths)) // 2,
        len(result.widths) - 1,
    })
    for row, color in zip(chosen, (GREEN, BLUE, PURPLE, ORANGE), strict=False):
        curve = np.median(result.test_error[row], 0)
        right.plot(
            result.steps, curve, color=color, label=f"{result.widths[row]} units"
        )
    right.set(xscale="log", xlabel="training step", ylabel="test error", ylim=(0, top))
    right.legend(loc="upper right", ncols=2)
    return Plot(
        drawn,
        caption="A network with one hidden layer on noisy training labels, "
        f"n = {result.n_train}, test labels clean: median over "
        f"{result.failed_at.shape[1]} seeds, the band from least to largest. The best "
        "step is chosen on the test set. Right: the medians over training time.",
        alt="Error rates against the number of hidden units, and over training time. "
        f"After the last step the median test error is {final[0]:.0%} at "
        f"{result.widths[0]} units, {final[peak]:.0%} at {result.widths[peak]} and "
        f"{final[-1]:.0%} at {result.widths[-1]}; at the best step it is "
        f"{best[0]:.0%}, {best[peak]:.0%} and {best[-1]:.0%}.",
    )


def metrics(result: Result) -> Iterator[dict]:
    """One row a width and seed."""
    for i, width in enumerate(result.widths):
        for seed in range(result.failed_at.shape[1]):
            yield {
                "part": "mlp",
                "width": int(width),
                "seed": seed,
                "parameters": int(result.parameters[i]),
                "train_error": float(result.train_error[i, seed, -1]),
                "test_error": float(result.test_error[i, seed, -1]),
                "test_loss": float(result.test_loss[i, seed, -1]),
                "best_test_error": float(np.min(result.test_error[i, seed])),
                "failed_at": int(result.failed_at[i, seed]),
            }
