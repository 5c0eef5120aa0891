"""How descent leaves saddles, tied units and the all-zero start."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from experiments._figures import PALETTE, Plot, figure
from experiments._findings import Finding, at_least, at_most, close
from jaxdl import optim
from jaxdl.landscape import (
    escape_growth,
    escape_time,
    measure_escape,
    train_tied,
)
from jaxdl.models import mlp
from jaxdl.theory import linear_network_point

SINGULAR = (2.0, 0.5)
"""Of the target; the saddle has learned the smaller."""


@dataclass(frozen=True)
class Config:
    """A two-layer linear network beside a saddle, float64; tied units, float32."""

    learning_rate: float = 0.02
    """Of all runs."""
    momentum: float = 0.9
    """Of the heavy ball."""
    noises: tuple[float, ...] = (1e-10, 1e-8, 1e-6, 1e-4)
    """Distances from the saddle at the start, ascending."""
    steps: int = 900
    """Updates; enough for gradient descent to leave from the smallest noise."""
    widths: tuple[int, ...] = (7, 8, 33)
    """Hidden units of the networks with two tied ones."""
    tied_steps: int = 600
    """Updates of those."""

    def __post_init__(self):
        """Reject what could not be run.

        Raises:
            ValueError: Which field is wrong.
        """
        noises = self.noises
        if len(noises) < 2 or list(noises) != sorted({*noises}) or noises[0] <= 0:
            raise ValueError(
                "escape.noises must be two or more, positive and ascending, got "
                f"{noises}"
            )
        if noises[-1] > 0.01:
            raise ValueError(f"escape.noises must be at most 0.01, got {noises}")
        if not self.learning_rate > 0 or not 0 < self.momentum < 1:
            raise ValueError(
                "escape.learning_rate must be positive and escape.momentum in (0, 1)"
            )
        if self.steps < 10 or self.tied_steps < 1 or min(self.widths, default=0) < 2:
            raise ValueError(
                "escape.steps must be >= 10, escape.tied_steps >= 1 and escape.widths "
                f">= 2, got {self.steps}, {self.tied_steps} and {self.widths}"
            )


@dataclass(frozen=True)
class Result:
    """Rows are gradient descent, heavy ball, Adam."""

    names: list[str]
    noises: np.ndarray  # (s,)
    distances: np.ndarray  # (3, s, t + 1)
    steps: np.ndarray  # (3, s) until the distance is 0.5; -1: never
    growth: np.ndarray  # (3, s) measured factor a step
    theory: np.ndarray  # (2,) growth of the first two
    times: np.ndarray  # (2, s) ln(0.5 / noise) / ln(growth)
    widths: np.ndarray  # (w,)
    gaps: np.ndarray  # (w, 2, u + 1) of gradient descent and Adam
    projected: float  # largest gap with the projection, noise and Adam
    noisy: float  # largest gap without it
    zero_start: np.ndarray  # (4,) largest entries moved from zero, by leaf


def work(config: Config) -> float:
    """Seconds this takes, roughly, on two cores."""
    return 6 + 3 * len(config.widths) + config.steps * 1e-3


def run(config: Config, key: jax.Array, tick: Callable[[float], object]) -> Result:
    """Escapes of three optimizers, then units that should stay tied."""
    eta, beta = config.learning_rate, config.momentum
    optimizers = {
        "gradient descent": optim.sgd(eta),
        "heavy ball": optim.momentum(eta, beta),
        "Adam": optim.adam(eta),
    }
    noises = np.array(config.noises)
    with jax.enable_x64(True):
        runs = [_escapes(o, noises, config.steps) for o in optimizers.values()]
        tick(0.4)
        growth = np.array([
            float(escape_growth(eta, -SINGULAR[0], b)) for b in (0.0, beta)
        ])
        times = np.stack([
            np.asarray(escape_time(jnp.asarray(noises), g, 0.5)) for g in growth
        ])
    row_key, init_key, noise_key = jax.random.split(key, 3)
    x = jax.random.normal(row_key, (20, 3))
    batch = x, jnp.sin(2 * x[:, :1])
    networks = [
        mlp.init(jax.random.fold_in(init_key, width), (3, width, 1))
        for width in config.widths
    ]
    gaps, params = [], networks[-1]
    for start in networks:
        gaps.append([
            np.asarray(_tied(start, batch, o, config.tied_steps).gaps)
            for o in (optim.sgd(0.1), optim.adam(0.01))
        ])
        tick(0.4 / len(config.widths))
    ends = [
        jax.jit(
            lambda p, project=project: (
                train_tied(
                    lambda q: _loss(q, batch),
                    p,
                    optim.adam(0.01),
                    config.tied_steps,
                    project=project,
                    noise=1e-6,
                    key=noise_key,
                ).gaps
            )
        )(params)
        for project in (True, False)
    ]
    zeros = jax.tree.map(jnp.zeros_like, params)
    moved = _tied(zeros, batch, optim.sgd(0.1), config.tied_steps).params
    tick(0.2)
    return Result(
        names=[*optimizers],
        noises=noises,
        distances=np.stack([np.asarray(r.distances) for r in runs]),
        steps=np.stack([np.asarray(r.steps) for r in runs]),
        growth=np.stack([np.asarray(r.growth) for r in runs]),
        theory=growth,
        times=times,
        widths=np.array(config.widths),
        gaps=np.array(gaps),
        projected=float(jnp.max(ends[0])),
        noisy=float(jnp.max(ends[1])),
        zero_start=np.array([
            float(jnp.max(jnp.abs(leaf))) for leaf in jax.tree.leaves(moved)
        ]),
    )


def _escapes(optimizer, noises, steps):
    """One run a noise, all at once."""
    target = np.diag(SINGULAR)
    saddle = tuple(map(jnp.asarray, linear_network_point(target, [2], [1])))
    # The dead unit takes up the larger mode: the eigenvector of eigenvalue -2.
    direction = (jnp.zeros((2, 2)).at[1, 0].set(1), jnp.zeros((2, 2)).at[0, 1].set(1))

    def loss(weights):
        return jnp.sum((target - weights[1] @ weights[0]) ** 2) / 2

    def one(noise):
        return measure_escape(
            loss, saddle, direction, optimizer, steps, noise=noise, radius=0.5
        )

    return jax.jit(jax.vmap(one))(jnp.asarray(noises))


def _loss(params, batch):
    """Mean squared error of a tanh network."""
    x, y = batch
    outputs = jax.vmap(lambda x: mlp.apply(params, x, activation=jnp.tanh))(x)
    return jnp.mean((outputs - y) ** 2)


def _tied(params, batch, optimizer, steps):
    """A run without noise and projection."""
    return jax.jit(
        lambda p: train_tied(lambda q: _loss(q, batch), p, optimizer, steps)
    )(params)


def check(result: Result) -> list[Finding]:
    """Growth and time follow the quadratic form; ties hold where they are enforced."""
    theory = {"kind": "theorem", "source": "linear recurrence at the saddle"}
    findings = []
    for i, name in enumerate(result.names[:2]):
        findings += [
            close(
                f"{name} leaves a saddle by the factor of its recurrence a step",
                expected=result.theory[i],
                measured=np.median(result.growth[i]),
                tolerance=1e-3 * result.theory[i],
                **theory,
            ),
            close(
                f"{name}: steps per factor e of noise, over 1 / ln(growth)",
                expected=1,
                measured=-np.polyfit(np.log(result.noises), result.steps[i], 1)[0]
                * np.log(result.theory[i]),
                tolerance=0.05,
                **theory,
                note=f"{result.steps[i][0]} steps from {result.noises[0]:g}, predicted "
                f"{result.times[i][0]:.0f}",
            ),
        ]
    adam = result.steps[2]
    largest = ", ".join(
        f"{w} units {np.max(g[0]):.2g} and {np.max(g[1]):.2g}"
        for w, g in zip(result.widths, result.gaps, strict=True)
    )
    return [
        *findings,
        at_most(
            "Adam follows no such law, and is faster: steps from the smallest noise "
            "over those of gradient descent",
            high=1,
            measured=adam[0] / result.steps[0][0],
            kind="observation",
            source="this study",
            note=f"steps {adam.tolist()} for noises {result.noises.tolist()}",
        ),
        close(
            "explicit projection keeps units tied whatever the noise: largest gap",
            expected=0,
            measured=result.projected,
            tolerance=0,
            kind="theorem",
            source="both are set to one number",
            note="without noise and projection, the largest gaps of gradient descent "
            f"and Adam: {largest}",
        ),
        at_least(
            "noise of 1e-6 in the gradient unties them: largest gap",
            low=1e-6,
            measured=result.noisy,
            kind="observation",
            source="this study",
        ),
        close(
            "from all zeros only the output bias moves: largest other entry",
            expected=0,
            measured=np.max(result.zero_start[:3]),
            tolerance=0,
            kind="theorem",
            source="the gradient has the weights of the other layer as factors",
            note=f"the output bias moves to {result.zero_start[3]:.3g}",
        ),
    ]


def plot(result: Result) -> Plot:
    """Distances from the saddle."""
    drawn, axes = figure(1, 3, sharey=True, width=7.5, height=2.8)
    for panel, name, rows in zip(axes, result.names, result.distances, strict=True):
        for noise, row, color in zip(result.noises, rows, PALETTE, strict=False):
            panel.semilogy(row, color=color, label=f"noise {noise:g}")
        panel.set(xlabel="step", title=name)
    axes[0].set_ylabel("distance from the saddle")
    axes[-1].legend()
    return Plot(
        drawn,
        caption="Distance from a saddle of a linear network, from starts beside it.",
        alt="Straight lines on a logarithmic axis for gradient descent and, steeper, "
        "for the heavy ball; curves that bend at once for Adam.",
    )


def metrics(result: Result) -> Iterator[dict]:
    """One row an optimizer and noise."""
    for i, name in enumerate(result.names):
        for j, noise in enumerate(result.noises):
            yield {
                "part": "escape",
                "optimizer": name,
                "noise": float(noise),
                "steps": int(result.steps[i, j]),
                "growth": float(result.growth[i, j]),
            }
