"""Barriers between networks of different seeds, before and after matching."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from experiments._figures import BLUE, GRAY, GREEN, ORANGE, VERMILLION, Plot, figure
from experiments._findings import Finding, at_least, at_most
from jaxdl import data, losses, optim, train
from jaxdl.landscape import (
    act,
    barrier,
    bezier_path,
    linear_path,
    match_activations,
    match_weights,
    mlp_symmetry,
    random_element,
)
from jaxdl.models import mlp

WAYS = ("as trained", "weights matched", "activations matched", "curve")
"""How the second network is brought to the first, and the path between them."""

REBASIN = {
    "kind": "published figure",
    "source": "Entezari et al. (2022), https://arxiv.org/abs/2110.06296; Ainsworth et "
    "al. (2023), https://arxiv.org/abs/2209.04836",
}


@dataclass(frozen=True)
class Config:
    """ReLU networks with two hidden layers on digits, cross-entropy."""

    widths: tuple[int, ...] = (16, 64, 256)
    """Units of each hidden layer, ascending."""
    pairs: int = 3
    """Pairs of seeds for each width."""
    n_train: int = 1200
    """Training rows; the errors are of the others."""
    steps: int = 400
    """Updates of Adam at rate 0.003, on batches of 100."""
    curve_steps: int = 200
    """Updates of the curve's control point, at rate 0.01."""
    points: int = 13
    """Points on each path."""
    random_starts: int = 2
    """Of matching, besides the default ones."""

    def __post_init__(self):
        """Reject what could not be run.

        Raises:
            ValueError: Which field is wrong.
        """
        widths = self.widths
        if len(widths) < 2 or list(widths) != sorted({*widths}) or widths[0] < 2:
            raise ValueError(
                f"barriers.widths must be two or more, ascending, >= 2, got {widths}"
            )
        for name, least in (
            ("pairs", 1),
            ("steps", 1),
            ("curve_steps", 1),
            ("points", 3),
            ("random_starts", 0),
        ):
            if getattr(self, name) < least:
                raise ValueError(
                    f"barriers.{name} must be >= {least}, got {getattr(self, name)}"
                )
        if not 100 <= self.n_train <= 1700:
            raise ValueError(
                f"barriers.n_train must lie in 100..1700, got {self.n_train}"
            )


@dataclass(frozen=True)
class Result:
    """For each width w, pair s and way of `WAYS`."""

    widths: np.ndarray  # (w,)
    t: np.ndarray  # (p,)
    losses: np.ndarray  # (w, s, 4, p) training loss on the path
    errors: np.ndarray  # (w, s, 4, p) misclassified test rows
    loss_barriers: np.ndarray  # (w, s, 4) above the line between the ends
    error_barriers: np.ndarray  # (w, s, 4)
    above_mean: np.ndarray  # (w, s, 4) of the loss, above the mean of the ends
    objectives: np.ndarray  # (w, s, k) by start: signatures, identity, reversed, random
    planted: np.ndarray  # (w, s) bool: a planted permutation is recovered


def work(config: Config) -> float:
    """Seconds this takes, roughly, on two cores."""
    return sum(_seconds(config, width) for width in config.widths)


def _seconds(config, width):
    """Of one width."""
    steps = 2 * config.steps + 2 * config.curve_steps
    size = 74 * width + width**2
    return 5 + config.pairs * (steps * (2e-4 + size * 2.5e-8) + 0.5)


def run(config: Config, key: jax.Array, tick: Callable[[float], object]) -> Result:
    """Width by width: train, match, and walk along the paths."""
    row_key, width_key = jax.random.split(key)
    table = data.digits()
    order = np.asarray(jax.random.permutation(row_key, len(table.x)))
    x, y = jnp.asarray(table.x[order]), jnp.asarray(table.y[order].astype(np.int32))
    halves = slice(config.n_train), slice(config.n_train, None)
    batch, held_out = ((x[half], y[half]) for half in halves)
    found, total = [], work(config)
    for number, width in enumerate(config.widths):
        own_key = jax.random.fold_in(width_key, number)
        found.append(_of_width(config, own_key, width, batch, held_out))
        tick(_seconds(config, width) / total)
    return Result(
        widths=np.array(config.widths),
        t=np.linspace(0, 1, config.points),
        **{name: np.stack([f[name] for f in found]) for name in found[0]},
    )


_supervised = train.supervised(mlp.apply, losses.cross_entropy)


def _of_width(config, key, width, batch, held_out):
    """All pairs of one width."""
    init_key, fit_key, match_key, curve_key = jax.random.split(key, 4)
    members = 2 * config.pairs
    params = jax.vmap(lambda key: mlp.init(key, (64, width, width, 10)))(
        jax.random.split(init_key, members)
    )
    fitted = train.fit_ensemble(
        jax.random.split(fit_key, members),
        _supervised,
        params,
        optim.adam(3e-3),
        batch,
        steps=config.steps,
        batch_size=100,
        record_every=config.steps,
    ).params
    rows = [
        _of_pair(
            config,
            [jax.tree.map(lambda leaf, i=i: leaf[i], fitted) for i in (s, -1 - s)],
            batch,
            held_out,
            jax.random.fold_in(match_key, s),
            jax.random.fold_in(curve_key, s),
        )
        for s in range(config.pairs)
    ]
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def _of_pair(config, pair, batch, held_out, match_key, curve_key):
    """Matching and barriers of two networks."""
    first, second = pair
    symmetry = mlp_symmetry(first, "relu")
    plant_key, start_key = jax.random.split(match_key)
    by_weights = match_weights(
        symmetry,
        first,
        second,
        key=start_key,
        random_starts=config.random_starts,
        exhaustive=0,
    )
    by_activations = match_activations(
        symmetry, _hidden(first, batch[0]), _hidden(second, batch[0])
    )
    matched = [act(symmetry, m.element, second) for m in (by_weights, by_activations)]
    curve = bezier_path(
        curve_key,
        _supervised,
        first,
        matched[0],
        optim.adam(1e-2),
        batch,
        steps=config.curve_steps,
        batch_size=100,
        record_every=config.curve_steps,
    )
    paths = [linear_path(first, other) for other in (second, *matched)]
    walks = [
        _walk(path, batch, held_out, config.points) for path in (*paths, curve.path)
    ]
    planted = random_element(plant_key, symmetry, spread=0.0)
    again = match_weights(symmetry, act(symmetry, planted, first), first, exhaustive=0)
    same = all(
        bool((again.element[name].permutation == planted[name].permutation).all())
        for name in planted
    )
    return {
        "losses": np.stack([walk.values["loss"] for walk in walks]),
        "errors": np.stack([walk.values["error"] for walk in walks]),
        "loss_barriers": np.stack([walk.height["loss"] for walk in walks]),
        "error_barriers": np.stack([walk.height["error"] for walk in walks]),
        "above_mean": np.stack([walk.above_mean["loss"] for walk in walks]),
        "objectives": np.array([start.objective for start in by_weights.starts]),
        "planted": np.array(same),
    }


@jax.jit
def _hidden(params, x):
    """What hidden units say."""
    return jax.vmap(mlp.apply_with_activations, (None, 0))(params, x)[1]


def _along(path, batch, held_out, points):
    """Training loss and test error on a path."""

    def evaluate(params):
        outputs = jax.vmap(mlp.apply, (None, 0))
        (x, y), (x_test, y_test) = batch, held_out
        wrong = jax.vmap(losses.misclassified)(outputs(params, x_test), y_test)
        loss = jax.vmap(losses.cross_entropy)(outputs(params, x), y)
        return {"loss": jnp.mean(loss), "error": jnp.mean(wrong)}

    return barrier(evaluate, path, points=points)


_walk = jax.jit(_along, static_argnums=3)


def check(result: Result) -> list[Finding]:
    """Matching lowers the barrier, the more the wider the networks."""
    heights = np.median(result.loss_barriers, axis=1)
    told = [
        ", ".join(
            f"{h:.2g} at {w}"
            for h, w in zip(heights[:, way], result.widths, strict=True)
        )
        for way in range(len(WAYS))
    ]
    best = np.max(result.objectives, axis=2)
    by_signatures, by_identity = (
        result.objectives[..., start] >= best * (1 - 1e-6) for start in (0, 1)
    )
    return [
        at_least(
            "different seeds are not connected by a line: least of the median barriers "
            "over the widths",
            low=0.1,
            measured=np.min(heights[:, 0]),
            **REBASIN,
            note=f"in training loss: {told[0]}",
        ),
        at_most(
            "matching weights lowers the barrier: largest of the ratios of medians",
            high=0.7,
            measured=np.max(heights[:, 1] / heights[:, 0]),
            **REBASIN,
            note=f"matched: {told[1]}",
        ),
        at_most(
            "matching activations does so too: largest of the ratios",
            high=0.7,
            measured=np.max(heights[:, 2] / heights[:, 0]),
            **REBASIN,
            note=f"matched: {told[2]}",
        ),
        at_most(
            "the matched barrier falls with the width: that of the widest networks "
            "over that of the narrowest",
            high=0.5,
            measured=heights[-1, 1] / heights[0, 1],
            **REBASIN,
        ),
        at_most(
            "a curve between matched networks is lower than the line: largest of the "
            "ratios of medians",
            high=1.0,
            measured=np.max(heights[:, 3] / heights[:, 1]),
            kind="published figure",
            source="Garipov et al. (2018), https://arxiv.org/abs/1802.10026",
            note=f"curve: {told[3]}",
        ),
        at_least(
            "where coordinate descent ends depends on where it starts: best objective "
            "over the worst, less one, median over pairs",
            low=0.01,
            measured=np.median(best / np.min(result.objectives, axis=2)) - 1,
            kind="observation",
            source="this study",
            note=f"signatures are best for {np.mean(by_signatures):.0%} of the pairs, "
            f"the identity for {np.mean(by_identity):.0%}, of "
            f"{result.objectives.shape[2]} starts",
        ),
        at_least(
            "planted permutations of trained networks are recovered: share",
            low=1,
            measured=np.mean(result.planted),
            kind="theorem",
            source="noise-free signatures are equal",
        ),
    ]


def plot(result: Result) -> dict[str, Plot]:
    """Barriers against width, and the losses on the paths of one pair."""
    colors = (VERMILLION, BLUE, GREEN, ORANGE)
    drawn, axes = figure()
    heights = np.maximum(result.loss_barriers, 1e-5)
    for way, (name, color) in enumerate(zip(WAYS, colors, strict=True)):
        axes.loglog(
            result.widths,
            np.median(heights[..., way], axis=1),
            "o-",
            color=color,
            label=name,
        )
        for pair in range(heights.shape[1]):
            axes.plot(
                result.widths, heights[:, pair, way], ".", color=color, ms=3, alpha=0.5
            )
    axes.set_xticks(result.widths, [str(width) for width in result.widths])
    axes.minorticks_off()
    axes.set(xlabel="hidden units of each layer", ylabel="barrier in training loss")
    axes.legend()
    medians = np.median(result.loss_barriers, axis=1)
    against_width = Plot(
        drawn,
        caption="Barrier between networks of two seeds: the largest excess of the "
        "training loss over the straight line between the losses at the ends. Medians "
        "and single pairs; what is below 1e-5 is drawn there.",
        alt="Barrier against width, both logarithmic: as trained from "
        f"{medians[0, 0]:.2g} to {medians[-1, 0]:.2g}, weights matched from "
        f"{medians[0, 1]:.2g} to {medians[-1, 1]:.2g}, curve from {medians[0, 3]:.2g} "
        f"to {medians[-1, 3]:.2g}.",
    )
    drawn, panels = figure(1, 2)
    for axes, row in zip(panels, (0, -1), strict=True):
        for way, (name, color) in enumerate(zip(WAYS, colors, strict=True)):
            axes.plot(result.t, result.losses[row, 0, way], color=color, label=name)
        axes.axhline(np.log(10), color=GRAY, lw=0.8, ls=":")
        axes.set(
            xlabel="t",
            ylabel="training loss",
            title=f"{result.widths[row]} units",
            yscale="log",
        )
    handles, names = panels[0].get_legend_handles_labels()
    drawn.legend(handles, names, loc="outside lower center", ncols=4)
    on_paths = Plot(
        drawn,
        caption="Training loss on the paths between the first pair of the narrowest "
        "and of the widest networks. Dotted: guessing.",
        alt="Training loss against t on a logarithmic axis for four paths. The line "
        "between networks as trained has a hump in the middle; matched ones a lower "
        "one; the curve the lowest.",
    )
    return {"barriers": against_width, "paths": on_paths}


def metrics(result: Result) -> Iterator[dict]:
    """One row a width, pair and way."""
    for w, width in enumerate(result.widths):
        for pair in range(result.losses.shape[1]):
            for way, name in enumerate(WAYS):
                yield {
                    "part": "barriers",
                    "width": int(width),
                    "pair": pair,
                    "way": name,
                    "loss_barrier": float(result.loss_barriers[w, pair, way]),
                    "loss_above_mean": float(result.above_mean[w, pair, way]),
                    "error_barrier": float(result.error_barriers[w, pair, way]),
                }
