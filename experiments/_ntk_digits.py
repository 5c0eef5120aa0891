"""Digits, from few examples to many: network, kernels of infinite width, line."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from experiments._figures import (
    BLUE,
    GRAY,
    GREEN,
    VERMILLION,
    Plot,
    band,
    figure,
)
from experiments._findings import Finding, at_least, at_most, between
from experiments._ntk_network import check_ascending, network, one_hot, rows
from jaxdl import losses, optim, train
from jaxdl.ntk import gp_posterior

METHODS = ("network", "ntk", "nngp", "linear")
LABELS = {
    "network": "network",
    "ntk": "infinite network, trained (NTK)",
    "nngp": "infinite network, Bayesian (NNGP)",
    "linear": "linear model",
}
COLORS = {"network": BLUE, "ntk": VERMILLION, "nngp": GREEN, "linear": GRAY}
CLASSES = 10


@dataclass(frozen=True)
class Config:
    """Regression on the ten classes; the kernels and the line with a small ridge.

    The network's outputs at the start are subtracted, as the kernels have them zero.
    """

    sizes: tuple[int, ...] = (50, 200, 800)
    """Training rows, ascending."""
    n_test: int = 600
    """Held-out rows."""
    width: int = 128
    """Units of both hidden layers of the network."""
    ridge: float = 1e-3
    """Of kernels and line, in units of the mean of the kernel's diagonal."""
    rate: float = 0.02
    """Of Adam, falling to zero as a cosine."""
    batch_size: int = 50
    """Rows of a step; at most the smallest size."""
    steps: int = 600
    """Updates of the network."""
    seeds: int = 3
    """Draws of rows and initial weights."""

    def __post_init__(self):
        """Reject what could not be run.

        Raises:
            ValueError: Which field is wrong.
        """
        check_ascending("digits.sizes", self.sizes)
        for name, least in (
            ("n_test", 1),
            ("width", 1),
            ("batch_size", 1),
            ("steps", 1),
            ("seeds", 2),
        ):
            if getattr(self, name) < least:
                raise ValueError(
                    f"digits.{name} must be >= {least}, got {getattr(self, name)}"
                )
        if self.sizes[-1] + self.n_test > 1797 or self.batch_size > self.sizes[0]:
            raise ValueError(
                "digits.sizes must begin at batch_size or above and end at "
                f"{1797 - self.n_test} or below, got {self.sizes}"
            )
        for name in ("ridge", "rate"):
            if not 0 < getattr(self, name) < np.inf:
                raise ValueError(
                    f"digits.{name} must be positive, got {getattr(self, name)}"
                )


@dataclass(frozen=True)
class Result:
    """Axes: method (`METHODS`), size, seed."""

    sizes: np.ndarray  # (n,)
    error: np.ndarray  # share of held-out rows misclassified
    loss: np.ndarray  # mean squared error on held-out rows, a half of it
    fitted: np.ndarray  # (n, s) training loss of the network at the end
    deviation: np.ndarray  # (n, s) posterior standard deviation of the NNGP, mean
    n_test: int


def work(config: Config) -> float:
    """Seconds this takes, roughly, on two cores."""
    networks = len(config.sizes) * config.seeds * config.steps
    size = 64 * config.width + config.width**2
    solves = config.seeds * sum(n**3 for n in config.sizes)
    return 8 + 6 * networks * config.batch_size * size / 1e10 + 3 * solves / 2e9


def run(config: Config, key: jax.Array, tick: Callable[[float], object]) -> Result:
    """All networks of a size are one ensemble; kernels in float64."""
    keys = jax.random.split(key, config.seeds)
    drawn = [
        rows(jax.random.fold_in(k, 0), range(CLASSES), config.sizes[-1], config.n_test)
        for k in keys
    ]
    wide = network(config.width, CLASSES)
    start = jax.jit(jax.vmap(lambda k: wide.init(jax.random.fold_in(k, 1), (64,))))(
        keys
    )

    def apply(params, x):
        now, first = params
        return wide.apply(now, x) - wide.apply(jax.lax.stop_gradient(first), x)

    params = (start, start)
    outputs, fitted = [], []
    x = np.stack([part.x_train for part in drawn])
    y = np.stack([one_hot(part.y_train, CLASSES) for part in drawn])
    x_test = np.stack([part.x_test for part in drawn])
    loss = train.supervised(apply, losses.squared_error)
    for n in config.sizes:
        end = train.fit_ensemble(
            keys,
            loss,
            params,
            optim.adam(optim.cosine_decay(config.rate, config.steps)),
            (x, y),
            rows=jnp.tile(jnp.arange(n, dtype=jnp.int32), (config.seeds, 1)),
            data_axes=0,
            steps=config.steps,
            batch_size=config.batch_size,
            record_every=config.steps,
        )
        f, last = _evaluate(apply, end.params, x[:, :n], y[:, :n], x_test)
        outputs.append([np.asarray(f, float)])
        fitted.append(np.asarray(last, float))
        tick(0.5 / len(config.sizes))
    deviation = np.empty((len(config.sizes), config.seeds))
    for seed, part in enumerate(drawn):
        targets = y[seed].astype(float)
        grams = _grams(part)
        for size, n in enumerate(config.sizes):
            for number, (own, cross, own_test) in enumerate(grams):
                with jax.enable_x64(True):
                    mean, covariance = _posterior(
                        (own[:n, :n], cross[:, :n], own_test, targets[:n]),
                        config.ridge * float(np.mean(np.diag(own))),
                    )
                if seed == 0:
                    outputs[size].append(np.empty_like(outputs[size][0]))
                outputs[size][number + 1][seed] = mean
                if METHODS[number + 1] == "nngp":
                    spread = np.sqrt(np.maximum(np.diag(covariance), 0))
                    deviation[size, seed] = spread.mean()
        tick(0.5 / config.seeds)
    f = np.moveaxis(np.array(outputs), 0, 1)  # method, size, seed, row, class
    labels = np.stack([part.y_test for part in drawn])
    wanted = np.stack([one_hot(part.y_test, CLASSES) for part in drawn])
    return Result(
        sizes=np.array(config.sizes),
        error=np.mean(np.argmax(f, -1) != labels, axis=-1),
        loss=np.mean(np.sum((f - wanted) ** 2, axis=-1), axis=-1) / 2,
        fitted=np.stack(fitted),
        deviation=deviation,
        n_test=config.n_test,
    )


@jax.jit
def _posterior(arrays, noise):
    return gp_posterior(*arrays, noise=noise)


@jax.jit
def _kernels(x, x_test):
    kernel = network(1, CLASSES).kernel
    return kernel(x), kernel(x_test, x), kernel(x_test)


def _grams(part):
    """Kernels between training rows, test and training rows, test rows: NTK first."""
    with jax.enable_x64(True):
        x, x_test = np.float64(part.x_train), np.float64(part.x_test)
        three = _kernels(x, x_test)
        line = [
            np.pad(a, ((0, 0), (0, 1)), constant_values=1.0) for a in (x, x_test)
        ]  # with a constant
        return [
            [np.asarray(k.ntk) for k in three],
            [np.asarray(k.nngp) for k in three],
            [line[0] @ line[0].T, line[1] @ line[0].T, line[1] @ line[1].T],
        ]


@partial(jax.jit, static_argnums=0)
def _evaluate(apply, params, x, y, x_test):
    """Test outputs and training loss of each seed."""

    def one(params, x, y, x_test):
        outputs = jax.vmap(apply, (None, 0))
        fit = jnp.mean(jax.vmap(losses.squared_error)(outputs(params, x), y))
        return outputs(params, x_test), fit

    return jax.vmap(one)(params, x, y, x_test)


def check(result: Result) -> list[Finding]:
    """Kernels against the line and the network, and the sum over sizes."""
    here = {"kind": "observation", "source": "this study"}
    finite = {
        "kind": "published figure",
        "source": "Lee et al. (2020), Finite versus infinite neural networks, "
        "https://arxiv.org/abs/2007.15801",
    }
    mean = {name: result.error[i].mean(1) for i, name in enumerate(METHODS)}
    told = "; ".join(
        f"{name} " + ", ".join(f"{value:.3g}" for value in mean[name])
        for name in METHODS
    )
    n = result.sizes[-1]
    # the standard error of a difference of two shares of the same rows, at most
    noise = np.sqrt(2 * mean["ntk"][-1] / result.n_test / result.error.shape[2])
    return [
        at_most(
            f"digits: the NTK errs less than half as often as the linear model at n = "
            f"{n}: ratio of mean errors",
            high=0.5,
            measured=mean["ntk"][-1] / mean["linear"][-1],
            **here,
            note=f"mean held-out errors at n = {', '.join(map(str, result.sizes))}: "
            + told,
        ),
        at_most(
            "digits: infinite networks do no worse than finite ones of the same depth, "
            f"fully connected: mean error of the NTK less the network's at n = {n}",
            high=2 * noise,
            measured=mean["ntk"][-1] - mean["network"][-1],
            **finite,
            note="within two standard errors of such a difference",
        ),
        between(
            "digits: NTK and NNGP are about as good: difference of mean errors at "
            f"n = {n}",
            low=-0.01,
            high=0.01,
            measured=mean["nngp"][-1] - mean["ntk"][-1],
            **finite,
        ),
        at_least(
            "digits: more examples help every method: error at the smallest n over "
            "that at the largest, least over methods",
            low=1.5,
            measured=min(mean[name][0] / mean[name][-1] for name in METHODS),
            **here,
        ),
        at_most(
            "digits: and the NNGP knows that it knows more: posterior standard "
            "deviation at the largest n over that at the smallest, mean over seeds",
            high=0.8,
            measured=np.mean(result.deviation[-1] / result.deviation[0]),
            **here,
        ),
    ]


def plot(result: Result) -> Plot:
    """Held-out error and loss against n."""
    drawn, axes = figure(1, 2)
    for panel, values, label in (
        (axes[0], result.error, "held-out error"),
        (axes[1], result.loss, "held-out loss"),
    ):
        for row, name in enumerate(METHODS):
            low, mid, high = np.quantile(values[row], [0, 0.5, 1], axis=1)
            band(
                panel,
                result.sizes,
                low,
                mid,
                high,
                color=COLORS[name],
                marker="o",
                label=LABELS[name],
            )
        panel.set(xscale="log", yscale="log", xlabel="training rows", ylabel=label)
        panel.set_xticks(result.sizes, [f"{n}" for n in result.sizes], minor=False)
        panel.minorticks_off()
        ticks = [t for t in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5) if t > values.min()]
        panel.set_yticks(ticks, [f"{t:g}" for t in ticks])
    axes[0].legend(fontsize=7, loc="lower left")
    last = result.error[:, -1].mean(1)
    return Plot(
        drawn,
        caption="Digits by regression on the classes: a network trained by Adam, the "
        "two kernels of infinite width of the same architecture, and a linear model. "
        f"Median and range over {result.error.shape[2]} draws of rows and weights.",
        alt="Held-out error and loss against the number of training rows, falling for "
        "all four methods. Mean errors at the right end: "
        + ", ".join(
            f"{LABELS[name]} {value:.3f}"
            for name, value in zip(METHODS, last, strict=True)
        )
        + ".",
    )


def metrics(result: Result) -> Iterator[dict]:
    """One row a method, size and seed."""
    for (m, n, s), error in np.ndenumerate(result.error):
        yield {
            "part": "digits",
            "method": METHODS[m],
            "n_train": int(result.sizes[n]),
            "seed": s,
            "error": float(error),
            "loss": float(result.loss[m, n, s]),
        }
