"""The gradient of a minibatch: its mean, its variance, and the noise scale."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from experiments._figures import BLUE, GRAY, VERMILLION, Plot, figure
from experiments._findings import Finding, at_most, close, largest_z
from jaxdl import curvature, data, losses, optim, train
from jaxdl.models import mlp

SCHEMES = ("with", "without")
DIRECTIONS = 5
"""The full gradient, and the leading eigenvectors of the covariance."""


@dataclass(frozen=True)
class Config:
    """A ReLU network on handwritten digits, cross-entropy, float64."""

    n: int = 512
    """Rows: the population that batches are drawn from."""
    hidden: int = 16
    """Hidden units."""
    steps: int = 30
    """Full-batch updates at rate 0.3 before the measurement."""
    sizes: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
    """Batch sizes, ascending, at least three; the last may be all rows."""
    draws: int = 4000
    """Batches of each size, with and without replacement."""

    def __post_init__(self):
        """Reject what could not be run.

        Raises:
            ValueError: Which field is wrong.
        """
        for name, least in (("n", 4), ("hidden", 1), ("steps", 0), ("draws", 2)):
            if getattr(self, name) < least:
                raise ValueError(
                    f"gradient.{name} must be >= {least}, got {getattr(self, name)}"
                )
        rising = all(a < b for a, b in itertools.pairwise(self.sizes))
        if len(self.sizes) < 3 or not rising or self.sizes[0] < 1:
            raise ValueError(
                "gradient.sizes must be three or more ascending integers >= 1, "
                f"got {self.sizes}"
            )
        if self.sizes[-1] > self.n or self.n > 1797:
            raise ValueError(
                f"gradient.n must lie between the largest of sizes, {self.sizes[-1]}, "
                f"and 1797, got {self.n}"
            )


@dataclass(frozen=True)
class Result:
    """Moments of batch gradients: by scheme (with, without replacement), then size.

    Of directions, the first is that of the full gradient, the others are the leading
    eigenvectors of the covariance of the rows' gradients.
    """

    n: int
    draws: int
    sizes: np.ndarray  # (b,)
    mean_error: float  # batch gradient minus mean of its rows' gradients, relative
    epoch_error: float  # mean of the batches of one epoch minus gradient, relative
    trace: float  # of the covariance of the rows' gradients, divided by n
    square: float  # squared norm of the full gradient
    along: np.ndarray  # (d,) variances of the rows' gradients along directions
    bias: np.ndarray  # (2, b, d) mean deviation along directions
    bias_error: np.ndarray  # (2, b, d) standard error
    variance: np.ndarray  # (2, b, 1 + d) mean squared deviation: whole, directions
    variance_error: np.ndarray  # (2, b, 1 + d) standard error
    norms: np.ndarray  # (2, b) mean squared norm of the batch gradient
    norms_error: np.ndarray  # (2, b) standard error
    library: np.ndarray  # (3,) gradient_noise_scale: scale, trace, squared norm


def work(config: Config) -> float:
    """Seconds this takes, roughly, on two cores."""
    return 6 + 2e-7 * len(config.sizes) * config.draws * config.n


def run(config: Config, key: jax.Array, tick: Callable[[float], object]) -> Result:
    """Gradients of all rows by ``vmap``; then batches are means of rows."""
    row_key, init_key, one_key, epoch_key, *draw_keys = jax.random.split(key, 6)
    with jax.enable_x64(True):
        batch, params = _trained(config, row_key, *jax.random.split(init_key))
        rows = np.asarray(_row_gradients(params, batch))
        whole = rows.mean(0)
        noise = rows - whole
        # In the basis of its own modes the noise has n coordinates, not p.
        left, scales, modes = np.linalg.svd(noise, full_matrices=False)
        directions = np.stack([whole / np.linalg.norm(whole), *modes[: DIRECTIONS - 1]])
        library = curvature.gradient_noise_scale(_loss, params, batch)
        library = np.array([float(moment) for moment in library])
        first = {
            "mean_error": _mean_error(config, params, batch, rows, one_key),
            "epoch_error": _epoch_error(config, rows, epoch_key),
        }
        parts = []
        for column, size in enumerate(config.sizes):
            keys = [jax.random.fold_in(k, column) for k in draw_keys]
            for drawn in _batches(config, size, *keys):
                parts.append(
                    _moments(drawn, left * scales, modes @ directions.T, whole)
                )
                tick(0.5 / len(config.sizes))
    shape = (len(config.sizes), 2)
    return Result(
        n=config.n,
        draws=config.draws,
        sizes=np.array(config.sizes),
        trace=float(np.sum(scales**2) / config.n),
        square=float(whole @ whole),
        along=np.mean((noise @ directions.T) ** 2, axis=0),
        library=library,
        mean_error=first["mean_error"],
        epoch_error=first["epoch_error"],
        **{
            name: np.swapaxes(
                np.stack([part[name] for part in parts]).reshape(
                    *shape, *np.shape(parts[0][name])
                ),
                0,
                1,
            )
            for name in parts[0]
        },
    )


def _trained(config, row_key, init_key, fit_key):
    """Rows, and a network that has learned a little of them."""
    table = data.digits()
    order = np.asarray(jax.random.permutation(row_key, len(table.x)))[: config.n]
    batch = (jnp.asarray(table.x[order]), jnp.asarray(table.y[order], jnp.int32))
    params = mlp.init(init_key, (64, config.hidden, 10), dtype=jnp.float64)
    if config.steps:
        params = train.fit(
            fit_key, _supervised, params, optim.sgd(0.3), batch, steps=config.steps
        ).params
    return batch, params


_supervised = train.supervised(mlp.apply, losses.cross_entropy)


def _loss(params, batch):
    """The mean loss, as `curvature.gradient_noise_scale` takes it."""
    x, y = batch
    outputs = jax.vmap(mlp.apply, (None, 0))(params, x)
    return jnp.mean(jax.vmap(losses.cross_entropy)(outputs, y))


def _flat_gradient(params, batch):
    """The gradient of the mean loss of a batch, ``(p,)``."""
    return ravel_pytree(jax.grad(_loss)(params, batch))[0]


_batch_gradient = jax.jit(_flat_gradient)


@jax.jit
def _row_gradients(params, batch):
    """The gradient of each row, ``(n, p)``."""

    def one(row):
        return _flat_gradient(params, jax.tree.map(lambda a: a[None], row))

    return jax.vmap(one)(batch)


def _mean_error(config, params, batch, rows, key):
    """Of one batch of the middle size: its gradient, and the mean of its rows'."""
    size = config.sizes[len(config.sizes) // 2]
    picked = np.asarray(jax.random.randint(key, (size,), 0, config.n))
    direct = np.asarray(
        _batch_gradient(params, jax.tree.map(lambda a: a[picked], batch))
    )
    return float(np.linalg.norm(rows[picked].mean(0) - direct) / np.linalg.norm(direct))


def _epoch_error(config, rows, key):
    """One epoch of training's own batches, of the largest size that divides n."""
    divisors = [size for size in config.sizes if config.n % size == 0]
    size = max([s for s in divisors if s < config.n], default=1)
    picked = train.epoch_batches(key, jnp.int32(0), config.n // size, config.n, size)
    means, whole = rows[np.asarray(picked)].mean(1), rows.mean(0)
    return float(np.linalg.norm(means.mean(0) - whole) / np.linalg.norm(whole))


def _batches(config, size, with_key, without_key):
    """Row numbers ``(draws, size)``, with replacement and without."""
    yield np.asarray(_uniform(with_key, config.draws, config.n))[:, :size]
    # The first batch of each epoch is independent of that of any other.
    yield np.asarray(_first_batches(without_key, config.draws, config.n, size))


@jax.jit(static_argnums=(1, 2))
def _uniform(key, draws, n):
    """Rows with replacement; as many as there are, so that one program does."""
    return jax.random.randint(key, (draws, n), 0, n)


@jax.jit(static_argnums=(1, 2, 3))
def _first_batches(key, draws, n, size):
    """The first batch of each of many epochs."""
    first = jnp.arange(draws, dtype=jnp.int32) * (n // size)
    return jax.vmap(lambda step: train.epoch_batches(key, step, 1, n, size)[0])(first)


def _moments(picked, noise, directions, whole):
    """Moments over batches, each with its standard error."""
    draws, size = picked.shape
    weights = np.zeros((draws, len(noise)))
    np.add.at(weights, (np.arange(draws)[:, None], picked), 1 / size)
    off = weights @ noise
    seen = off @ directions
    squares = np.concatenate([np.sum(off**2, 1)[:, None], seen**2], axis=1)
    square = whole @ whole
    norms = squares[:, 0] + 2 * seen[:, 0] * np.sqrt(square) + square
    found = {}
    for name, values in (("bias", seen), ("variance", squares), ("norms", norms)):
        found[name] = values.mean(0)
        found[f"{name}_error"] = values.std(0, ddof=1) / np.sqrt(draws)
    return found


def predicted(result: Result) -> np.ndarray:
    """The closed form of `Result.variance`, ``(2, b, 1 + d)``."""
    population = np.array([result.trace, *result.along])
    sizes = result.sizes[:, None]
    left = (result.n - sizes) / (result.n - 1)
    return np.stack([population / sizes, population / sizes * left])


def scores(measured: np.ndarray, expected: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Differences in standard errors; rounding where there is no error counts as 0."""
    off = np.abs(measured - expected)
    tiny = 1e-12 * np.max(np.abs(expected), initial=1e-300)
    return np.where(off <= tiny, 0.0, off / np.maximum(error, 1e-300))


def two_sizes(result: Result) -> tuple[dict[str, float], dict[str, float]]:
    """The noise scale from two batch sizes, without replacement; standard errors."""
    small, large = 0, len(result.sizes) - 2
    b, big = int(result.sizes[small]), int(result.sizes[large])
    norm, error = result.norms[1], result.norms_error[1]
    with jax.enable_x64(True):
        found = curvature.noise_scale_of_batches(
            jnp.asarray(norm[small]), jnp.asarray(norm[large]), b, big
        )
        values = {name: float(value) for name, value in found._asdict().items()}
    pair = np.hypot(error[small], error[large])
    square = np.hypot(big * error[large], b * error[small]) / (big - b)
    trace = pair / (1 / b - 1 / big)
    return values, {
        "covariance_trace": trace,
        "gradient_norm_squared": square,
        # To first order; the errors of the two moments are added, not their squares.
        "noise_scale": abs(values["noise_scale"])
        * (
            trace / abs(values["covariance_trace"])
            + square / abs(values["gradient_norm_squared"])
        ),
    }


def fitted_slope(result: Result) -> tuple[float, float]:
    """Slope of log variance in log size with replacement, and its standard error."""
    x, y = np.log(result.sizes), np.log(result.variance[0, :, 0])
    weights = (result.variance[0, :, 0] / result.variance_error[0, :, 0]) ** 2
    x = x - np.average(x, weights=weights)
    information = np.sum(weights * x**2)
    return float(np.sum(weights * x * y) / information), float(information**-0.5)


def check(result: Result) -> list[Finding]:
    """The batch gradient is right on average, and its variance is the closed form."""
    theory = predicted(result)
    z_bias = scores(result.bias, 0 * result.bias, result.bias_error)
    z_bias = np.where(np.abs(result.bias) <= 1e-12 * np.sqrt(result.square), 0, z_bias)
    z = scores(result.variance, theory, result.variance_error)
    slope, slope_error = fitted_slope(result)
    pair, pair_error = two_sizes(result)
    scale, trace, square = result.library
    n = result.n
    unbiased = result.trace * n / (n - 1)
    dense = np.array([unbiased, result.square - unbiased / n])
    sampling = {"kind": "theorem", "source": "variance of a mean of S rows out of n"}
    findings = [
        at_most(
            "the gradient of a batch is the mean of the gradients of its rows: "
            "relative difference",
            high=1e-12,
            measured=result.mean_error,
            kind="theorem",
            source="the derivative is linear",
        ),
        at_most(
            "the gradients of the batches of one epoch have the full gradient for "
            "their mean, exactly: relative difference",
            high=1e-12,
            measured=result.epoch_error,
            kind="theorem",
            source="an epoch is a permutation of the rows",
        ),
        at_most(
            "the batch gradient is unbiased: mean deviation in standard errors, "
            "largest over sizes, schemes and directions",
            high=largest_z(z_bias.size),
            measured=np.max(z_bias),
            kind="theorem",
            source="linearity of the mean",
        ),
        close(
            "with replacement the variance falls as 1/S: slope in log-log",
            expected=-1.0,
            measured=slope,
            tolerance=largest_z(1) * slope_error,
            **sampling,
        ),
    ]
    findings += [
        at_most(
            f"{scheme} replacement the variance is {formula}: difference in standard "
            "errors, largest over sizes, whole and along directions",
            high=largest_z(each.size),
            measured=np.max(each),
            note=f"largest relative difference of the whole {worst:.2g}",
            **sampling,
        )
        for scheme, formula, each, worst in zip(
            SCHEMES,
            ("tr C / S", "tr C / S (n - S) / (n - 1)"),
            z,
            _relative(result.variance[..., 0], theory[..., 0]),
            strict=True,
        )
    ]
    if result.sizes[-1] == n:
        findings.append(
            at_most(
                "without replacement a batch of all rows has no noise: variance over "
                "that of one row",
                high=1e-24,
                measured=result.variance[1, -1, 0] / result.trace,
                **sampling,
            )
        )
    noise_scale = {
        "kind": "closed form",
        "source": "McCandlish et al. (2018), https://arxiv.org/abs/1812.06162, A.1",
    }
    return [
        *findings,
        at_most(
            "gradient_noise_scale is the ratio of the two moments of the rows' "
            "gradients: largest relative difference of scale and moments",
            high=1e-10,
            measured=np.max(np.abs(result.library / [dense[0] / dense[1], *dense] - 1)),
            **noise_scale,
        ),
        *(
            close(
                f"from norms at two batch sizes the {words} is the same",
                expected=expected,
                measured=pair[name],
                tolerance=largest_z(1) * pair_error[name],
                note=f"batches of {result.sizes[0]} and "
                f"{result.sizes[-2]}, {result.draws} of each",
                **noise_scale,
            )
            for name, words, expected in (
                ("covariance_trace", "trace of the covariance", trace),
                ("gradient_norm_squared", "squared norm of the gradient", square),
                ("noise_scale", "noise scale", scale),
            )
        ),
    ]


def _relative(measured, expected):
    """Largest relative difference of each row, where something is expected."""
    with np.errstate(invalid="ignore", divide="ignore"):
        off = np.abs(measured / expected - 1)
    return np.nanmax(np.where(expected > 0, off, np.nan), axis=1)


def plot(result: Result) -> Plot:
    """Variance against the batch size."""
    drawn, axes = figure()
    theory = predicted(result)[..., 0]
    finest = np.geomspace(result.sizes[0], result.n, 300)
    curves = (
        result.trace / finest,
        result.trace / finest * (result.n - finest) / (result.n - 1),
    )
    looks = zip(SCHEMES, (BLUE, VERMILLION), ("o", "s"), curves, strict=True)
    for row, (scheme, color, marker, curve) in enumerate(looks):
        some = result.variance[row, :, 0] > 1e-20 * result.trace
        axes.plot(finest[curve > 0], curve[curve > 0], color=color, lw=0.9)
        axes.errorbar(
            result.sizes[some],
            result.variance[row, some, 0],
            2 * result.variance_error[row, some, 0],
            fmt=marker,
            color=color,
            label=f"{scheme} replacement",
        )
    axes.axhline(result.square, color=GRAY, ls="--", lw=0.8, label="squared gradient")
    positive = theory[theory > 0]
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="batch size S (examples)",
        ylabel="variance of the batch gradient",
        ylim=(positive.min() / 3, positive.max() * 2),
    )
    axes.legend()
    return Plot(
        drawn,
        caption="The noise of a minibatch gradient, summed over all parameters. Lines: "
        f"tr C / S, and times (n - S) / (n - 1), n = {result.n}; points: "
        f"{result.draws} batches each, bars of two standard errors. Where the dashed "
        "line is crossed, noise and gradient are equal.",
        alt="Variance of the batch gradient against the batch size, both logarithmic. "
        "With replacement the points lie on a line of slope minus one; without, they "
        f"bend down and vanish at {result.n} rows. The squared gradient is met near "
        f"{result.trace / result.square:.3g} examples.",
    )


def metrics(result: Result) -> Iterator[dict]:
    """One row a scheme and batch size."""
    theory = predicted(result)
    for row, scheme in enumerate(SCHEMES):
        for column, size in enumerate(result.sizes):
            yield {
                "part": "gradient",
                "replacement": scheme == "with",
                "batch_size": int(size),
                "variance": float(result.variance[row, column, 0]),
                "variance_error": float(result.variance_error[row, column, 0]),
                "predicted": float(theory[row, column, 0]),
            }
