"""From lazy to rich: a scale of the outputs decides how far a network must move."""

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
    ORANGE,
    VERMILLION,
    Plot,
    band,
    figure,
)
from experiments._findings import Finding, at_least, between
from experiments._ntk_network import (
    check_ascending,
    check_rows,
    draws,
    flow,
    network,
    one_hot,
    relative,
    rows,
    trend,
)
from jaxdl.ntk import empirical_ntk, gradient_flow_mse

CHIZAT = {
    "kind": "theorem",
    "source": "Chizat, Oyallon, Bach (2019), On lazy training, theorem 2.3, "
    "https://arxiv.org/abs/1812.07956",
}


@dataclass(frozen=True)
class Config:
    """Gradient flow on the squared error of ``alpha (f - f_0)``, at rate 1 / alpha^2.

    With a kernel that stays, all alpha would train alike.
    """

    alphas: tuple[float, ...] = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
    """Scales of the outputs, ascending."""
    lazy: int = 3
    """How many of the largest are expected to follow the law of lazy training."""
    width: int = 64
    """Units of both hidden layers."""
    classes: tuple[int, ...] = (3, 5, 8)
    """Which digits."""
    n_train: int = 32
    """Training rows."""
    n_test: int = 200
    """Held-out rows."""
    step: float = 0.2
    """Time of a step of the flow, of order four."""
    steps: int = 150
    """Steps."""
    seeds: int = 6
    """Draws of initial weights."""

    def __post_init__(self):
        """Reject what could not be run.

        Raises:
            ValueError: Which field is wrong.
        """
        check_ascending("scale.alphas", self.alphas, 3)
        check_rows("scale", self.classes, self.n_train, self.n_test)
        if not 2 <= self.lazy < len(self.alphas):
            raise ValueError(
                f"scale.lazy must lie in 2..{len(self.alphas) - 1}, got {self.lazy}"
            )
        for name, least in (("width", 1), ("steps", 1), ("seeds", 2)):
            if getattr(self, name) < least:
                raise ValueError(
                    f"scale.{name} must be >= {least}, got {getattr(self, name)}"
                )
        if not 0 < self.step < np.inf:
            raise ValueError(f"scale.step must be positive, got {self.step}")


@dataclass(frozen=True)
class Result:
    """At the end of training; axes: alpha, seed."""

    alphas: np.ndarray  # (a,)
    lazy: int
    change: np.ndarray  # |K(t) - K(0)| / |K(0)|
    deviation: np.ndarray  # of test outputs from the linearization, over its own size
    alignment: np.ndarray  # (2, a, s) of the kernel with the labels; before, after
    loss: np.ndarray  # training loss over that at the start
    error: np.ndarray  # share of held-out rows misclassified
    lazy_error: np.ndarray  # the same of the linearization


def work(config: Config) -> float:
    """Seconds this takes, roughly, on two cores."""
    size = 64 * config.width + config.width**2
    steps = len(config.alphas) * config.seeds * config.steps
    return 8 + 24 * steps * config.n_train * size / 1e10


def run(config: Config, key: jax.Array, tick: Callable[[float], object]) -> Result:
    """All scales and seeds are one program."""
    row_key, init_key = jax.random.split(key)
    picked = rows(row_key, config.classes, config.n_train, config.n_test)
    k = len(config.classes)
    y = one_hot(picked.y_train, k)
    layer = network(config.width, k)
    params = draws(layer, init_key, config.seeds)
    alphas = np.array(config.alphas, np.float32)
    seen = _train(config, layer.apply, params, alphas, picked, y)
    tick(0.9)
    seen = {name: np.asarray(part, float) for name, part in seen.items()}
    linear = []
    for on_train, to_test in zip(seen["on_train"], seen["to_test"], strict=True):
        predict = gradient_flow_mse(on_train, y)
        linear.append(
            np.asarray(predict(config.step * config.steps, None, None, to_test)[1])
        )
    linear = np.stack(linear)  # (s, m, k)
    gap = np.sqrt(np.sum((seen["outputs"] - linear) ** 2, axis=(2, 3)))
    wrong = np.argmax(seen["outputs"], -1) != picked.y_test
    lazy_wrong = np.argmax(linear, -1) != picked.y_test
    tick(0.1)
    return Result(
        alphas=np.array(config.alphas),
        lazy=config.lazy,
        change=seen["change"],
        deviation=gap / np.sqrt(np.sum(linear**2, axis=(1, 2))),
        alignment=np.moveaxis(seen["alignment"], -1, 0),
        loss=seen["loss"],
        error=wrong.mean(-1),
        lazy_error=lazy_wrong.mean(-1),
    )


@partial(jax.jit, static_argnums=(0, 1))
def _train(config, apply, params, alphas, picked, y):
    """What is kept of each scale and seed, and the kernels of each seed."""
    same = y @ y.T  # targets are centred

    def alignment(kernel):
        centred = kernel - jnp.mean(kernel, axis=0, keepdims=True)
        centred = centred - jnp.mean(centred, axis=1, keepdims=True)
        size = jnp.linalg.norm(centred) * jnp.linalg.norm(same)
        return jnp.sum(centred * same) / size

    def kernel(params):
        return empirical_ntk(apply, params, picked.x_train, outputs="trace")

    outputs = jax.vmap(apply, (None, 0))

    def one(arguments):
        start, alpha = arguments
        first = outputs(start, picked.x_train)

        def objective(params):
            f = alpha * (outputs(params, picked.x_train) - first)
            return jnp.sum(jnp.square(f - y)) / (2 * len(y)) / alpha**2

        def nothing(params):
            del params
            return ()

        _, end = flow(objective, nothing, start, config.step, config.steps, 1)
        before, after = kernel(start), kernel(end)
        f = outputs(end, picked.x_test) - outputs(start, picked.x_test)
        return {
            "change": relative(after, before),
            "alignment": jnp.stack([alignment(before), alignment(after)]),
            "loss": objective(end) / objective(start),
            "outputs": alpha * f,
        }

    def kernels(params):
        return (
            empirical_ntk(apply, params, picked.x_train),
            empirical_ntk(apply, params, picked.x_test, picked.x_train),
        )

    seen = jax.lax.map(
        lambda alpha: jax.vmap(lambda p: one((p, alpha)))(params), alphas
    )
    on_train, to_test = jax.lax.map(kernels, params)
    return seen | {"on_train": on_train, "to_test": to_test}


def check(result: Result) -> list[Finding]:
    """The law of lazy training at large alpha, and that small alpha leaves it."""
    here = {"kind": "observation", "source": "this study"}
    lazy = slice(len(result.alphas) - result.lazy, None)
    change = trend(result.alphas[lazy], result.change[lazy])
    deviation = trend(result.alphas[lazy], result.deviation[lazy])
    gain = result.alignment[1] - result.alignment[0]
    least, most = result.alphas[0], result.alphas[-1]
    return [
        between(
            "scale: training gets lazy as 1 / alpha: slope of the kernel's relative "
            f"change over the {result.lazy} largest alpha, mean over seeds",
            low=-1.1,
            high=-0.9,
            measured=change.slope,
            **CHIZAT,
            note=str(change),
        ),
        between(
            "scale: and test outputs tend to those of the linearization as fast: slope "
            "of the relative distance, mean over seeds",
            low=-1.1,
            high=-0.9,
            measured=deviation.slope,
            **CHIZAT,
            note=str(deviation),
        ),
        at_least(
            f"scale: at alpha = {least:g} training is rich: relative change of the "
            "kernel, median over seeds",
            low=0.5,
            measured=np.median(result.change[0]),
            **here,
            note=f"loss over that at the start, median: {np.median(result.loss[0]):.3g}"
            f"; at alpha = {most:g}: {np.median(result.loss[-1]):.3g}",
        ),
        at_least(
            "scale: there the kernel turns towards the labels: alignment of the "
            "centred kernel with them, after less before, median over seeds",
            low=0.1,
            measured=np.median(gain[0]),
            kind="published figure",
            source="Baratin et al. (2021), Implicit regularization via neural feature "
            "alignment, https://arxiv.org/abs/2008.00938",
            note=f"at alpha = {most:g}: {np.median(gain[-1]):.3g}",
        ),
        at_least(
            "scale: rich training does not generalize worse here: held-out error of "
            f"the lazy limit less that at alpha = {least:g}, mean over seeds",
            low=-0.02,
            measured=np.mean(result.lazy_error - result.error[0]),
            **here,
            note="held-out error, means: "
            + ", ".join(
                f"{value:.3g} at {alpha:g}"
                for alpha, value in zip(
                    result.alphas, result.error.mean(1), strict=True
                )
            )
            + f", linearized {result.lazy_error.mean():.3g}",
        ),
    ]


def plot(result: Result) -> Plot:
    """Change and deviation against alpha; alignment and error."""
    drawn, (left, right) = figure(1, 2)
    for values, color, label in (
        (result.change, BLUE, "change of the kernel"),
        (result.deviation, VERMILLION, "distance to the linearization"),
    ):
        low, mid, high = np.quantile(values, [0, 0.5, 1], axis=1)
        band(left, result.alphas, low, mid, high, color=color, marker="o", label=label)
    lazy = result.alphas[-result.lazy :]
    left.plot(
        lazy,
        1.6 * np.median(result.change[-1]) * lazy[-1] / lazy,
        color=GRAY,
        ls="--",
        label="1 / alpha",
    )
    left.set(xscale="log", yscale="log", xlabel="output scale alpha", ylabel="relative")
    left.legend()
    for values, color, label in (
        (result.alignment[1], GREEN, "alignment of the kernel"),
        (result.error, ORANGE, "held-out error"),
    ):
        low, mid, high = np.quantile(values, [0, 0.5, 1], axis=1)
        band(right, result.alphas, low, mid, high, color=color, marker="o", label=label)
    for value, color in (
        (np.median(result.alignment[0]), GREEN),
        (np.median(result.lazy_error), ORANGE),
    ):
        right.axhline(value, color=color, ls=":", lw=0.9)
    right.set(xscale="log", xlabel="output scale alpha", ylim=(0, 1))
    right.legend()
    return Plot(
        drawn,
        caption="Networks trained from the same weights on alpha (f - f_0), with a "
        "rate of 1 / alpha^2, at the same time; median and range over "
        f"{result.change.shape[1]} initializations. Right: alignment of the centred "
        "kernel with the labels after training (dotted: before) and held-out error "
        "(dotted: of the linearization).",
        alt="Change of the kernel and distance to the linearization against alpha: "
        "large at small alpha, falling as 1 / alpha at large alpha. Alignment with the "
        f"labels falls from {np.median(result.alignment[1, 0]):.2f} to "
        f"{np.median(result.alignment[1, -1]):.2f}.",
    )


def metrics(result: Result) -> Iterator[dict]:
    """One row an alpha and seed."""
    for (a, s), change in np.ndenumerate(result.change):
        yield {
            "part": "scale",
            "alpha": float(result.alphas[a]),
            "seed": s,
            "change": float(change),
            "deviation": float(result.deviation[a, s]),
            "alignment_before": float(result.alignment[0, a, s]),
            "alignment_after": float(result.alignment[1, a, s]),
            "loss_ratio": float(result.loss[a, s]),
            "error": float(result.error[a, s]),
            "lazy_error": float(result.lazy_error[s]),
        }
