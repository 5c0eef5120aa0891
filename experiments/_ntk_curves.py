"""Training curves predicted by the kernel at the start, against actual ones."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from experiments._figures import BLUE, GRAY, VERMILLION, Plot, band, figure
from experiments._findings import Finding, at_most, between
from experiments._ntk_network import (
    Rows,
    check_ascending,
    check_rows,
    descend,
    draws,
    flow,
    mean_loss,
    network,
    one_hot,
    rows,
    trend,
)
from jaxdl import losses, optim
from jaxdl.ntk import empirical_ntk, gradient_descent_mse, gradient_flow

LOSSES = ("squared error", "cross-entropy")
KERNELS = ("own", "infinite")
SOURCE = "Lee et al. (2019), https://arxiv.org/abs/1902.06720"


@dataclass(frozen=True)
class Config:
    """Digits of a few classes: gradient descent with momentum, and gradient flow."""

    widths: tuple[int, ...] = (64, 192, 512)
    """Units of both hidden layers, ascending."""
    classes: tuple[int, ...] = (3, 5, 8)
    """Which digits."""
    n_train: int = 16
    """Training rows."""
    n_test: int = 32
    """Held-out rows, on which predictions are judged."""
    rate: float = 0.25
    """Learning rate of gradient descent on the squared error."""
    momentum: float = 0.5
    """Of the same."""
    step: float = 0.5
    """Time of a step of the flow on the cross-entropy."""
    every: int = 4
    """Updates or steps between looks."""
    looks: int = 16
    """Measurements after the start."""
    seeds: int = 8
    """Draws of initial weights."""

    def __post_init__(self):
        """Reject what could not be run.

        Raises:
            ValueError: Which field is wrong.
        """
        check_ascending("curves.widths", self.widths)
        check_rows("curves", self.classes, self.n_train, self.n_test)
        for name, least in (("every", 1), ("looks", 2), ("seeds", 2)):
            if getattr(self, name) < least:
                raise ValueError(
                    f"curves.{name} must be >= {least}, got {getattr(self, name)}"
                )
        for name in ("rate", "step"):
            if not 0 < getattr(self, name) < np.inf:
                raise ValueError(
                    f"curves.{name} must be positive, got {getattr(self, name)}"
                )
        if not 0 <= self.momentum < 1:
            raise ValueError(f"curves.momentum must lie in [0, 1), got {self.momentum}")


class Outputs(NamedTuple):
    """Of one width; axes: look, row, class, with seeds first."""

    train: np.ndarray
    test: np.ndarray


@dataclass(frozen=True)
class Result:
    """Axes: loss (`LOSSES`), then kernel (`KERNELS`), width, look, seed."""

    widths: np.ndarray  # (w,)
    times: np.ndarray  # (2, t) updates, and time of the flow
    error: np.ndarray  # (2, 2, w, s) of test outputs, relative to how far they moved
    actual: np.ndarray  # (2, 2, w, t, s) loss of the network; training rows, held-out
    predicted: np.ndarray  # (2, 2, 2, w, t, s) loss, kernel, rows, ...


def work(config: Config) -> float:
    """Seconds this takes, roughly, on two cores."""
    size = sum(64 * w + w * w for w in config.widths)
    steps = config.every * config.looks * config.seeds
    flops = (6 + 24) * steps * config.n_train * size
    return 8 + 3 * len(config.widths) + flops / 4e10


def run(config: Config, key: jax.Array, tick: Callable[[float], object]) -> Result:
    """Train networks on both losses, and predict them from both kernels."""
    row_key, init_key = jax.random.split(key)
    picked = rows(row_key, config.classes, config.n_train, config.n_test)
    k = len(config.classes)
    limit = _analytic(picked, k)
    updates = config.every * np.arange(config.looks + 1)
    times = np.stack([updates, config.step * updates])
    found = []
    for number, width in enumerate(config.widths):
        layer = network(width, k)
        params = draws(layer, jax.random.fold_in(init_key, number), config.seeds)
        trained, kernels = _train(config, layer.apply, params, picked)
        by_loss = []
        for which, outputs in enumerate(trained):
            actual = Outputs(*(np.asarray(part, float) for part in outputs))
            guesses = []
            for seed in range(config.seeds):
                own = [np.asarray(part[seed]) for part in kernels]
                start = Outputs(actual.train[seed, 0], actual.test[seed, 0])
                guesses.append([
                    _predict(config, which, kernel, picked, start, times[which])
                    for kernel in (own, limit)
                ])
            by_loss.append(_compare(which, picked, actual, guesses))
        found.append(by_loss)
        tick(1 / len(config.widths))
    error, actual, predicted = (
        np.stack([np.stack([by_loss[i][part] for i in range(2)]) for by_loss in found])
        for part in range(3)
    )
    return Result(
        widths=np.array(config.widths),
        times=times,
        error=np.moveaxis(error, 0, 2),
        actual=np.moveaxis(actual, 0, 2),
        predicted=np.moveaxis(predicted, 0, 3),
    )


def _analytic(picked: Rows, k: int) -> list[np.ndarray]:
    """Kernels of infinite width, in float64: training rows, and test to training."""
    kernel = network(1, k).kernel
    with jax.enable_x64(True):
        x, x_test = np.float64(picked.x_train), np.float64(picked.x_test)
        return [np.asarray(kernel(x).ntk), np.asarray(kernel(x_test, x).ntk)]


@partial(jax.jit, static_argnums=(0, 1))
def _train(config: Config, apply: Any, params: Any, picked: Rows) -> Any:
    """Outputs on both losses, and the kernels at the start; seeds first."""
    y = jnp.asarray(one_hot_of(picked.y_train, len(config.classes)))

    def measure(params):
        outputs = jax.vmap(apply, (None, 0))
        return outputs(params, picked.x_train), outputs(params, picked.x_test)

    def squared(params):
        return mean_loss(apply, losses.squared_error, params, picked.x_train, y)

    def entropy(params):
        return mean_loss(
            apply, losses.cross_entropy, params, picked.x_train, picked.y_train
        )

    def one(params):
        kernels = (
            empirical_ntk(apply, params, picked.x_train),
            empirical_ntk(apply, params, picked.x_test, picked.x_train),
        )
        optimizer = optim.momentum(config.rate, config.momentum)
        looks = (config.every, config.looks)
        trained = (
            descend(squared, measure, params, optimizer, *looks)[0],
            flow(entropy, measure, params, config.step, *looks)[0],
        )
        return trained, kernels

    return jax.lax.map(one, params)


def one_hot_of(labels: ArrayLike, classes: int) -> jax.Array:
    """`one_hot` of labels that may be traced."""
    return jnp.asarray(one_hot(np.arange(classes), classes))[jnp.asarray(labels)]


def _predict(config, which, kernel, picked, start, times) -> Outputs:
    """Outputs at each look, by the linearized network."""
    with jax.enable_x64(True):
        outputs = _linearized(config, which, kernel, picked.y_train, start, times)
        return Outputs(*map(np.asarray, outputs))


@partial(jax.jit, static_argnums=(0, 1))
def _linearized(config, which, kernel, labels, start, times):
    on_train, to_test = kernel
    if which == 0:
        predict = gradient_descent_mse(
            on_train,
            one_hot_of(labels, len(config.classes)),
            learning_rate=config.rate,
            momentum=config.momentum,
        )
        times = times.astype(int)
    else:
        predict = gradient_flow(losses.cross_entropy, on_train, labels)
    return predict(times, *start, to_test)


def _compare(which, picked, actual, guesses):
    """Relative errors ``(2, s)``; losses ``(2, t, s)`` and ``(2, 2, t, s)``."""
    moved = np.sqrt(np.sum((actual.test - actual.test[:, :1]) ** 2, axis=(1, 2, 3)))
    guessed = [
        Outputs(*(np.stack(part) for part in zip(*by_seed, strict=True)))
        for by_seed in zip(*guesses, strict=True)
    ]
    error = np.stack([
        np.sqrt(np.sum((guess.test - actual.test) ** 2, axis=(1, 2, 3)))
        for guess in guessed
    ])
    return (
        error / moved[None],
        _losses(which, picked, actual),
        np.stack([_losses(which, picked, guess) for guess in guessed]),
    )


def _losses(which, picked, outputs):
    """Mean loss on training and held-out rows, ``(2, t, s)``."""
    found = []
    for f, labels in zip(outputs, (picked.y_train, picked.y_test), strict=True):
        if which == 0:
            loss = np.sum((f - one_hot(labels, f.shape[-1])) ** 2, axis=-1) / 2
        else:
            top = f.max(-1, keepdims=True)
            total = np.log(np.sum(np.exp(f - top), -1)) + top[..., 0]
            right = np.take_along_axis(f, labels[None, None, :, None], -1)[..., 0]
            loss = total - right
        found.append(loss.mean(-1).T)
    return np.stack(found)


def check(result: Result) -> list[Finding]:
    """How fast predictions become exact, by loss and kernel."""
    findings = []
    for which, name in enumerate(LOSSES):
        own = trend(result.widths, result.error[which, 0])
        infinite = trend(result.widths, result.error[which, 1])
        median = np.median(result.error[which, 0], axis=1)
        findings += [
            at_most(
                f"curves, {name}: the network follows its linearization as width^-1/2 "
                "or faster: lower end of the 95 % interval of the slope of the "
                "relative error of test outputs",
                high=-0.5,
                measured=own.low,
                kind="theorem",
                source=f"{SOURCE}, theorem 2.1",
                note=f"slope {own}",
            ),
            between(
                f"curves, {name}: with the analytic kernel the error falls as "
                "width^-1/2, as one draw's distance to it: slope, mean over seeds",
                low=-0.7,
                high=-0.3,
                measured=infinite.slope,
                kind="theorem",
                source="central limit theorem over units",
                note=str(infinite),
            ),
            at_most(
                f"curves, {name}: at width {result.widths[-1]} the prediction from the "
                "kernel at the start is within a tenth of how far test outputs moved: "
                "relative error, median over seeds",
                high=0.1,
                measured=median[-1],
                kind="observation",
                source="this study",
                note="medians: "
                + ", ".join(
                    f"{value:.3g} at width {width}"
                    for width, value in zip(result.widths, median, strict=True)
                ),
            ),
        ]
    return findings


def plot(result: Result) -> dict[str, Plot]:
    """The curves at the least and largest width; the errors against width."""
    return {"curves": _plot_curves(result), "curve_errors": _plot_errors(result)}


def _plot_curves(result):
    """One seed: actual lines, predicted marks."""
    drawn, axes = figure(2, 2, sharey="row", height=4.6)
    for which, name in enumerate(LOSSES):
        for panel, width in zip(axes[which], (0, -1), strict=True):
            times = result.times[which]
            for part, color in enumerate((BLUE, VERMILLION)):
                panel.plot(
                    times,
                    result.actual[which, part, width, :, 0],
                    color=color,
                    label=("training", "held-out")[part],
                )
                for kernel, mark in enumerate(("o", "x")):
                    panel.plot(
                        times,
                        result.predicted[which, kernel, part, width, :, 0],
                        color=color,
                        ls="",
                        marker=mark,
                        markersize=3.5,
                        fillstyle="none",
                        label=("by its kernel", "by the infinite one")[kernel]
                        if not part
                        else None,
                    )
            panel.set(
                title=f"{name}, width {result.widths[width]}",
                xlabel=("updates", "time")[which],
                ylim=(0, None),
            )
        axes[which, 0].set_ylabel("loss")
    axes[0, 0].legend()
    return Plot(
        drawn,
        caption="Loss of one network in training (lines) and of its linearization at "
        "the start (marks), solved with the network's own kernel (circles) and with "
        "that of infinite width (crosses), from the network's first outputs. Top: "
        "gradient descent with momentum on the squared error; bottom: gradient flow "
        "on the cross-entropy.",
        alt="Training and held-out loss against time for the narrowest and the widest "
        "network and two losses. Marks of the linearization lie off the lines for the "
        "narrow network and on them for the wide one.",
    )


def _plot_errors(result):
    """Relative errors of test outputs against width."""
    drawn, axes = figure(1, 2, sharey=True)
    told = []
    for which, (name, panel) in enumerate(zip(LOSSES, axes, strict=True)):
        for kernel, color in enumerate((BLUE, VERMILLION)):
            values = result.error[which, kernel]
            low, mid, high = np.quantile(values, [0, 0.5, 1], axis=1)
            band(
                panel,
                result.widths,
                low,
                mid,
                high,
                color=color,
                marker="o",
                label=f"{KERNELS[kernel]} kernel",
            )
            power = (1, 0.5)[kernel]
            panel.plot(
                result.widths,
                mid[0] * (result.widths[0] / result.widths) ** power,
                color=GRAY,
                ls=("--", ":")[kernel],
                label=("1 / width", "1 / root of width")[kernel],
            )
            slope = trend(result.widths, values).slope
            told.append(f"{name}, {KERNELS[kernel]} kernel {slope:.2f}")
        panel.set(xscale="log", yscale="log", xlabel="width", title=name)
        panel.set_xticks(result.widths, [f"{w}" for w in result.widths], minor=False)
        panel.minorticks_off()
        ticks = [t for t in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5) if t > result.error.min()]
        panel.set_yticks(ticks, [f"{t:g}" for t in ticks])
    axes[0].set_ylabel("relative error of test outputs")
    axes[0].legend(fontsize=7)
    return Plot(
        drawn,
        caption="Distance between the test outputs of networks and of their "
        "linearizations over training, relative to how far the outputs moved: median "
        f"and range over {result.error.shape[3]} initializations.",
        alt="Relative error against width in log-log, falling in straight lines; "
        "slopes: " + "; ".join(told) + ".",
    )


def metrics(result: Result) -> Iterator[dict]:
    """One row a loss, kernel, width and seed."""
    for (loss, kernel, w, s), error in np.ndenumerate(result.error):
        yield {
            "part": "curves",
            "loss": LOSSES[loss],
            "kernel": KERNELS[kernel],
            "width": int(result.widths[w]),
            "seed": s,
            "relative_error": float(error),
            "actual_test_loss": float(result.actual[loss, 1, w, -1, s]),
            "predicted_test_loss": float(result.predicted[loss, kernel, 1, w, -1, s]),
        }
