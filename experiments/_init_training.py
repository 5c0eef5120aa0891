"""Which deep networks learn anything in a fixed number of steps, against chi^depth."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments import _init_signal
from experiments._figures import BLUE, GRAY, VERMILLION, Plot, figure
from experiments._findings import Finding, at_least, close
from jaxdl import data, losses, nn, optim, train
from jaxdl.types import Array

ACTIVATIONS = {"tanh": 1.0, "relu": 2.0}
"""Name to the weight variance, times width, at which chi is 1 (tanh: at q = 0)."""

LEARNED = 0.5
"""Training accuracy that counts as learned; chance is 0.1."""


@dataclass(frozen=True)
class Config:
    """Networks on digits, cross-entropy, gradient descent with momentum, float32."""

    depths: tuple[int, ...] = (2, 4, 8, 16, 32)
    """Hidden layers, ascending; one program each."""
    variances: tuple[float, ...] = (0.25, 0.5, 1.0, 1.5, 2.0, 3.0)
    """Weight variances times width, ascending, with 1 and 2 among them."""
    width: int = 24
    """Units of each hidden layer."""
    n_train: int = 400
    """Training rows."""
    batch_size: int = 40
    """Rows of a step."""
    steps: int = 150
    """Updates."""
    learning_rate: float = 0.01
    """Of all networks; momentum is 0.9."""
    seeds: int = 2
    """Draws of initial weights and batches."""

    def __post_init__(self):
        """Reject what could not be run.

        Raises:
            ValueError: Which field is wrong.
        """
        for name in ("width", "n_train", "batch_size", "steps", "seeds"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"training.{name} must be >= 1, got {getattr(self, name)}"
                )
        if self.batch_size > self.n_train:
            raise ValueError(
                f"training.batch_size must be at most n_train={self.n_train}, got "
                f"{self.batch_size}"
            )
        for name in ("depths", "variances"):
            values = getattr(self, name)
            if len(values) < 2 or min(values) <= 0 or [*values] != sorted({*values}):
                raise ValueError(
                    f"training.{name} must be ascending positive numbers, got {values}"
                )
        if not {*ACTIVATIONS.values()} <= {*self.variances}:
            raise ValueError(
                f"training.variances must hold 1 and 2, got {self.variances}"
            )
        if not 0 < self.learning_rate < np.inf:
            raise ValueError(
                f"training.learning_rate must be positive, got {self.learning_rate}"
            )


@dataclass(frozen=True)
class Result:
    """Activations by depths, variances and seeds."""

    depths: np.ndarray  # (d,)
    variances: np.ndarray  # (v,)
    steps: int
    accuracy: np.ndarray  # (a, d, v, s) on the training rows, at the end; 0: failed
    gradient: np.ndarray  # (a, d, v) log10 of chi_1 ... chi_depth, by the recursion


def work(config: Config) -> float:
    """Seconds this takes, roughly, on two cores."""
    layers = len(ACTIVATIONS) * sum(config.depths) * len(config.variances)
    per_layer = 2e-6 + config.batch_size * config.width**2 * 6e-10
    compiling = 4 * len(ACTIVATIONS) * len(config.depths)
    return compiling + layers * config.seeds * config.steps * per_layer


def run(config: Config, key: jax.Array, tick: Callable[[float], object]) -> Result:
    """Train all variances and seeds of one activation and depth at a time."""
    row_key, fit_key = jax.random.split(key)
    table = data.digits()
    rows = np.asarray(jax.random.permutation(row_key, len(table.x)))[: config.n_train]
    x = table.x[rows] - table.x[rows].mean(0)
    batch = (
        jnp.asarray(x / x.std(), jnp.float32),
        jnp.asarray(table.y[rows], jnp.int32),
    )
    members = len(config.variances) * config.seeds
    keys = jax.random.split(fit_key, members)
    scales = np.repeat(np.sqrt(config.variances), config.seeds).astype(np.float32)
    accuracy = []
    total = len(ACTIVATIONS) * sum(config.depths) * config.steps
    for name, loss in _LOSSES.items():
        for depth in config.depths:
            params = _initial(depth, config.width, keys, scales)
            accuracy.append(
                _train(config, loss, params, keys, batch, name, depth, total, tick)
            )
    shape = (len(ACTIVATIONS), len(config.depths), len(config.variances))
    return Result(
        np.array(config.depths),
        np.array(config.variances),
        config.steps,
        np.reshape(accuracy, (*shape, config.seeds)),
        np.array([
            [
                [_log_chi(name, depth, v) for v in config.variances]
                for depth in config.depths
            ]
            for name in ACTIVATIONS
        ]),
    )


class Deep(NamedTuple):
    """A network whose hidden layers, all but the first, are one stack."""

    first: nn.Dense
    hidden: nn.Dense  # (L - 1, h, h), (L - 1, h)
    last: nn.Dense


def _apply(activation: nn.Activation, params: Deep, x: Array) -> Array:
    """Outputs for one example: a scan over layers, which compiles once."""
    x = activation(nn.dense(params.first, x))
    x, _ = jax.lax.scan(
        lambda x, layer: (activation(nn.dense(layer, x)), None), x, params.hidden
    )
    return nn.dense(params.last, x)


_APPLY = {name: partial(_apply, nn.activation(name)) for name in ACTIVATIONS}
_LOSSES = {
    name: train.supervised(apply, losses.cross_entropy)
    for name, apply in _APPLY.items()
}


@partial(jax.jit, static_argnums=(0, 1))
@partial(jax.vmap, in_axes=(None, None, 0, 0))
def _initial(depth, width, key, scale):
    """Gaussian weights of deviation ``scale / sqrt(fan_in)``, biases zero."""

    def draw(key, fan_in, fan_out, scale):
        layer = nn.dense_init(key, fan_in, fan_out, initializer=nn.lecun_normal)
        return layer._replace(kernel=scale * layer.kernel)

    first, last, *hidden = jax.random.split(key, depth + 1)
    return Deep(
        draw(first, 64, width, scale),
        jax.vmap(lambda key: draw(key, width, width, scale))(jnp.stack(hidden)),
        draw(last, width, 10, 1.0),
    )


def _train(config, loss, params, keys, batch, name, depth, total, tick):
    """Training accuracy of each member; 0 where a loss was not finite."""
    run = train.fit_ensemble(
        keys,
        loss,
        params,
        optim.momentum(config.learning_rate, 0.9),
        batch,
        steps=config.steps,
        batch_size=config.batch_size,
        chunk=config.steps,
        record_every=config.steps,
        evaluate=_EVALUATE[name],
        held_out=batch,
        progress=lambda steps: tick(depth * steps / total),
    )
    right = 1 - np.asarray(run.history["error"])[:, -1]
    return np.where(np.asarray(run.failed_at) > 0, 0.0, right)


def _error(apply):
    """The share of rows that are misclassified, as `train.fit` evaluates it."""

    def evaluate(params, state, rows):
        del state
        outputs = jax.vmap(apply, (None, 0))(params, rows[0])
        return {"error": jnp.mean(jax.vmap(losses.misclassified)(outputs, rows[1]))}

    return evaluate


_EVALUATE = {name: _error(apply) for name, apply in _APPLY.items()}


def _log_chi(activation, depth, variance):
    """How far a gradient is from being kept, in orders of magnitude of its square."""
    case = _init_signal.Case("", activation, nn.zeros, variance, 0.0)
    return float(np.sum(np.log10(_init_signal.recursion(case, depth)[2])))


def separation(result: Result) -> np.ndarray:
    """How well ``|log chi^depth|`` tells who learns from who does not.

    Args:
        result: Of `run`.

    Returns:
        ``(a,)``: the chance that of two networks, one that learned and one that did
        not, the latter is farther from chi^depth = 1; 0.5 by guessing, NaN if all did
        the same.
    """
    found = []
    for accuracy, gradient in zip(result.accuracy, result.gradient, strict=True):
        far = np.broadcast_to(np.abs(gradient)[..., None], accuracy.shape)
        learned = accuracy >= LEARNED
        pairs = far[~learned][:, None] - far[learned]
        wins = (pairs > 0) + 0.5 * (pairs == 0)
        found.append(wins.mean() if wins.size else np.nan)
    return np.array(found)


def deepest(result: Result) -> np.ndarray:
    """The largest depth at which most seeds learn, ``(a, v)``; 0 if there is none."""
    most = np.mean(result.accuracy >= LEARNED, -1) > 0.5
    return np.max(np.where(most, result.depths[:, None], 0), 1)


def check(result: Result) -> list[Finding]:
    """Whether what the recursion says of gradients decides who learns."""
    schoenholz = {
        "kind": "published figure",
        "source": "Schoenholz et al. (2016), https://arxiv.org/abs/1611.01232",
    }
    findings = []
    for row, (name, critical) in enumerate(ACTIVATIONS.items()):
        depth = deepest(result)[row]
        at = int(np.flatnonzero(result.variances == critical)[0])
        best = int(np.argmin(np.abs(result.gradient[row, -1])))
        learned = result.accuracy[row] >= LEARNED
        findings += [
            at_least(
                f"{name}: networks learn in {result.steps} steps where chi^depth is "
                "near 1: chance that of two, the one that learns is nearer",
                low=0.9,
                measured=separation(result)[row],
                **schoenholz,
                note=f"{learned.sum()} of {learned.size} networks learn",
            ),
            close(
                f"{name}: depth is limited least at variance "
                f"{result.variances[best]:g} / width, where the recursion has "
                "chi^depth nearest to 1: deepest networks that learn there less the "
                "deepest at all",
                expected=0,
                measured=depth[best] - depth.max(),
                tolerance=0,
                **schoenholz,
                note=f"chi^depth of {result.depths[-1]} layers; in the limit of depth "
                f"it would be {critical:g}. Deepest that learn: "
                + ", ".join(
                    f"{d} at {v:g}"
                    for d, v in zip(depth, result.variances, strict=True)
                ),
            ),
            close(
                f"{name}: below that the limit falls: variances at which deeper "
                "networks learn than at the next larger one, up to it",
                expected=0,
                measured=int(np.sum(np.diff(depth[: at + 1]) < 0)),
                tolerance=0,
                **schoenholz,
            ),
        ]
    return findings


def plot(result: Result) -> dict[str, Plot]:
    """Accuracy by depth and variance, and against chi^depth."""
    drawn, axes = figure(1, 2, sharey=True, height=3.0)
    for row, (name, panel) in enumerate(zip(ACTIVATIONS, axes, strict=True)):
        panel.imshow(
            result.accuracy[row].mean(-1),
            origin="lower",
            aspect="auto",
            vmin=0,
            vmax=1,
            cmap="cividis",
        )
        panel.contour(
            np.abs(result.gradient[row]),
            levels=[1, 3],
            colors="white",
            linestyles=["--", ":"],
            linewidths=1.2,
        )
        panel.set_xticks(
            range(len(result.variances)), [f"{v:g}" for v in result.variances]
        )
        panel.set_yticks(range(len(result.depths)), [str(d) for d in result.depths])
        panel.set(xlabel="weight variance x width", title=name)
    axes[0].set_ylabel("hidden layers")
    drawn.colorbar(axes[0].images[0], ax=axes, label="training accuracy")
    return {
        "trainable": Plot(
            drawn,
            caption=f"Accuracy on the training rows after {result.steps} steps, mean "
            f"over {result.accuracy.shape[-1]} seeds. White: chi^depth is off 1 by one "
            "order of magnitude (dashed) and by three (dotted), by the recursion. "
            "Accuracy 0: the loss was not finite.",
            alt="Heat maps of accuracy by depth and weight variance, for tanh and for "
            "ReLU. The deepest networks that learn have "
            + "; ".join(
                f"{name}: "
                + ", ".join(
                    f"{d} layers at {v:g}"
                    for d, v in zip(depth, result.variances, strict=True)
                )
                for name, depth in zip(ACTIVATIONS, deepest(result), strict=True)
            )
            + ".",
        ),
        "against_chi": _plot_against_chi(result),
    }


def _plot_against_chi(result):
    """Accuracy against the predicted ratio of gradients."""
    drawn, axes = figure()
    for row, (name, color, marker) in enumerate(
        zip(ACTIVATIONS, (BLUE, VERMILLION), "os", strict=True)
    ):
        axes.plot(
            np.repeat(result.gradient[row].ravel(), result.accuracy.shape[-1]),
            result.accuracy[row].ravel(),
            marker,
            color=color,
            alpha=0.6,
            label=name,
        )
    axes.axhline(LEARNED, color=GRAY, ls="--", lw=0.8)
    axes.set(
        xlabel="log10 of chi^depth, from the recursion",
        ylabel="training accuracy",
        xscale="symlog",
    )
    axes.legend()
    return Plot(
        drawn,
        caption="Each marker is a network. Dashed: what counts as learned.",
        alt="Accuracy against the logarithm of chi to the depth: high near zero, at "
        "chance far from it on either side. Networks that learn are the nearer of a "
        "pair with chance "
        + ", ".join(
            f"{value:.2f} for {name}"
            for name, value in zip(ACTIVATIONS, separation(result), strict=True)
        )
        + ".",
    )


def metrics(result: Result) -> Iterator[dict]:
    """One row a network."""
    for a, name in enumerate(ACTIVATIONS):
        for d, depth in enumerate(result.depths):
            for v, variance in enumerate(result.variances):
                for seed, accuracy in enumerate(result.accuracy[a, d, v]):
                    yield {
                        "part": "training",
                        "activation": name,
                        "depth": int(depth),
                        "variance": float(variance),
                        "seed": seed,
                        "accuracy": float(accuracy),
                        "log10_chi_to_the_depth": float(result.gradient[a, d, v]),
                    }
