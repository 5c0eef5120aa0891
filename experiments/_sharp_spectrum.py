"""Eigenvalues of the Hessian along training: a bulk at zero, and outliers."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments._figures import BLUE, GRAY, GREEN, ORANGE, VERMILLION, Plot, figure
from experiments._findings import Finding, at_least, at_most, close
from jaxdl import curvature, data, losses, optim, train, tree
from jaxdl.models import mlp

PAPYAN = {
    "kind": "published figure",
    "source": "Papyan (2019), https://arxiv.org/abs/1901.08244; Gur-Ari et al. (2018), "
    "https://arxiv.org/abs/1812.04754",
}


@dataclass(frozen=True)
class Config:
    """A ReLU network on the first k digits, cross-entropy, full batch, float64."""

    classes: tuple[int, ...] = (2, 3, 5, 10)
    """Numbers of classes k, ascending; training is followed for the last."""
    per_class: int = 60
    """Training rows for each class."""
    hidden: tuple[int, ...] = (16, 16)
    """Units of each hidden layer."""
    learning_rate: float = 0.02
    """Of the heavy ball, with momentum 0.9."""
    stage: float = 0.25
    """Outliers are counted when the loss first falls below this times log k, the loss
    of guessing."""
    seeds: int = 9
    """Draws of rows and of initial weights."""
    steps: int = 200
    """Updates for which training is followed; at most ten times as many are done to
    reach the stage."""
    measure_every: int = 10
    """Updates between two looks; divides steps."""
    probes: int = 8
    """Lanczos runs for the density."""
    depth: int = 64
    """Products a run."""

    def __post_init__(self):
        """Reject what could not be run.

        Raises:
            ValueError: Which field is wrong.
        """
        for name in ("per_class", "seeds", "steps", "measure_every", "depth"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"spectrum.{name} must be >= 1, got {getattr(self, name)}"
                )
        k = self.classes
        if not k or list(k) != sorted({*k}) or not 2 <= k[0] <= k[-1] <= 10:
            raise ValueError(
                f"spectrum.classes must be ascending integers in 2..10, got {k}"
            )
        if self.probes < 2:
            raise ValueError(f"spectrum.probes must be >= 2, got {self.probes}")
        if not self.hidden or min(self.hidden) < 1:
            raise ValueError(f"spectrum.hidden must be positive, got {self.hidden}")
        for name in ("learning_rate", "stage"):
            if not 0 < getattr(self, name) < np.inf:
                raise ValueError(
                    f"spectrum.{name} must be positive, got {getattr(self, name)}"
                )
        if self.steps % self.measure_every:
            raise ValueError(
                f"spectrum.measure_every={self.measure_every} must divide "
                f"steps={self.steps}"
            )


@dataclass(frozen=True)
class Result:
    """Spectra of many networks at one stage, and of one along training."""

    classes: np.ndarray  # (c,)
    outliers: np.ndarray  # (c, s) eigenvalues above the largest ratio of neighbours
    ratios: np.ndarray  # (c, s) that ratio
    stage_steps: np.ndarray  # (c, s) updates done at the stage; 0: never reached
    centred_ratios: np.ndarray  # (s,) for centred inputs and tanh, the most classes
    uncertified: int  # eigenpairs with a residual above the tolerance
    steps: np.ndarray  # (t,)
    losses: np.ndarray  # (t,) of the network that is followed
    largest: np.ndarray  # (t, m) its eigenvalues, descending
    moments: np.ndarray  # (3,) steps at which the whole spectrum is taken
    exact: np.ndarray  # (3, p) all eigenvalues, ascending
    grid: np.ndarray  # (3, g)
    density: np.ndarray  # (3, g)
    widths: np.ndarray  # (3,) standard deviation of the broadening
    nodes: np.ndarray  # (3, probes, depth)
    weights: np.ndarray  # (3, probes, depth)


def work(config: Config) -> float:
    """Seconds this takes, roughly, on two cores."""
    stages = sum(
        _stage_seconds(config, k) for k in (*config.classes, config.classes[-1])
    )
    return stages + _follow_seconds(config)


def run(config: Config, key: jax.Array, tick: Callable[[float], object]) -> Result:
    """Count outliers for each number of classes, then follow one network."""
    keys, total = jax.random.split(key, config.seeds), work(config)
    setting = [(k, False) for k in config.classes] + [(config.classes[-1], True)]
    with jax.enable_x64(True):
        counts = []
        for k, centred in setting:
            counts.append([_at_the_stage(config, key, k, centred) for key in keys])
            tick(_stage_seconds(config, k) / total)
        followed = _follow(config, keys[0])
        tick(_follow_seconds(config) / total)
    return Result(
        classes=np.array(config.classes),
        outliers=np.array([[c.outliers for c in row] for row in counts[:-1]]),
        ratios=np.array([[c.ratio for c in row] for row in counts[:-1]]),
        stage_steps=np.array([[c.step for c in row] for row in counts[:-1]]),
        centred_ratios=np.array([c.ratio for c in counts[-1]]),
        uncertified=sum(c.uncertified for row in counts for c in row),
        **followed,
    )


def _stage_seconds(config, k):
    """Training to the stage and the largest eigenvalues of all seeds."""
    return 4 + config.seeds * k * config.per_class * 1.5e-3


def _follow_seconds(config):
    """Eigenvalues along training, and three whole spectra."""
    n = config.classes[-1] * config.per_class
    looks = 1 + config.steps / config.measure_every
    return 5 + n * (looks * 2.5e-4 + 1.5e-2)


class _Count(NamedTuple):
    """What the largest eigenvalues look like."""

    outliers: float
    ratio: float
    step: int
    uncertified: int


def count_outliers(eigenvalues: np.ndarray) -> tuple[int, float]:
    """How many eigenvalues lie above the largest ratio of two neighbours.

    Args:
        eigenvalues: ``(m,)`` the largest ones, descending; those from the first on
            that is not positive do not count.

    Returns:
        The number of outliers, and the ratio.
    """
    positive = eigenvalues[: np.argmin([*(eigenvalues > 0), False])]
    ratios = positive[:-1] / positive[1:]
    if not len(ratios):
        return 0, np.nan
    return 1 + int(np.argmax(ratios)), float(np.max(ratios))


def _problem(config, key, k, centred):
    """Rows of the first k digits: pixels in [0, 1] as they are, or centred."""
    table = data.digits()
    rows = np.flatnonzero(table.y < k)
    row_key, _ = jax.random.split(key)
    order = np.asarray(jax.random.permutation(row_key, len(rows)))
    rows = rows[order][: k * config.per_class]
    x, y = table.x[rows], table.y[rows].astype(np.int32)
    if centred:
        x = x - x.mean(0)
        x = x / x.std()
    return jnp.asarray(x), jnp.asarray(y)


def _initial(config, key, k):
    """Weights of one network."""
    _, init_key = jax.random.split(key)
    return mlp.init(init_key, (64, *config.hidden, k), dtype=jnp.float64)


def _apply_tanh(params, x):
    """Outputs for one example."""
    return mlp.apply(params, x, activation=jnp.tanh)


def _mean_loss(apply):
    """The mean loss of a batch, as `curvature.hvp` takes it."""

    def loss(params, batch):
        x, y = batch
        outputs = jax.vmap(apply, (None, 0))(params, x)
        return jnp.mean(jax.vmap(losses.cross_entropy)(outputs, y))

    return loss


class _Model(NamedTuple):
    """A loss as `train.fit` and as `curvature.hvp` take it; one object for each."""

    supervised: Callable
    loss: Callable


def _model(apply):
    """Both forms of the loss."""
    return _Model(train.supervised(apply, losses.cross_entropy), _mean_loss(apply))


_RELU, _TANH = _model(mlp.apply), _model(_apply_tanh)


def _largest(loss, params, batch, m, key):
    """The m largest eigenvalues of the Hessian."""
    operator = curvature.hvp(loss, params, batch)
    return curvature.eigenpairs(operator, m, tol=1e-5, key=key)


def _at_the_stage(config, key, k, centred):
    """Train until the loss has fallen to the stage, and count outliers."""
    batch, reached = _problem(config, key, k, centred), []
    model = _TANH if centred else _RELU

    def fallen(snapshot):
        if float(snapshot.history["loss"][-1]) < config.stage * math.log(k):
            reached.append(snapshot.step)
        return bool(reached)

    fitted = train.fit(
        key,
        model.supervised,
        _initial(config, key, k),
        optim.momentum(config.learning_rate, 0.9),
        batch,
        steps=10 * config.steps,
        chunk=5,
        record_every=5,
        callback=fallen,
    )
    if not reached:
        return _Count(np.nan, np.nan, 0, 0)
    found = _largest(model.loss, fitted.params, batch, _how_many(k), key)
    outliers, ratio = count_outliers(np.asarray(found.values))
    return _Count(outliers, ratio, reached[0], int(np.sum(~found.converged)))


def _how_many(k):
    """Eigenvalues to look at: twice as many as could be outliers, and some."""
    return 2 * k + 4


def _follow(config, key):
    """One network with the most classes: eigenvalues at all looks, spectra at three."""
    k = config.classes[-1]
    batch, params = _problem(config, key, k, False), _initial(config, key, k)
    middle = config.steps // 2 // config.measure_every * config.measure_every
    moments = (0, middle, config.steps)
    steps, values, spectra = [], [], []

    def look(step, params):
        steps.append(step)
        found = _largest(_RELU.loss, params, batch, _how_many(k), key)
        values.append((float(_RELU.loss(params, batch)), np.asarray(found.values)))
        if step in moments:
            spectra.append(_spectrum(config, params, batch, key))

    look(0, params)
    train.fit(
        key,
        _RELU.supervised,
        params,
        optim.momentum(config.learning_rate, 0.9),
        batch,
        steps=config.steps,
        chunk=config.measure_every,
        record_every=config.measure_every,
        callback=lambda snapshot: look(snapshot.step, snapshot.params),
    )
    return {
        "steps": np.array(steps),
        "losses": np.array([loss for loss, _ in values]),
        "largest": np.stack([largest for _, largest in values]),
        "moments": np.array(moments),
        **{name: np.stack([s[name] for s in spectra]) for name in spectra[0]},
    }


def _spectrum(config, params, batch, key):
    """All eigenvalues, and the density from a few Lanczos runs."""
    operator = curvature.hvp(_RELU.loss, params, batch)
    depth = min(config.depth, tree.size(params))
    found = curvature.spectral_density(operator, config.probes, depth, key)
    matrix = np.asarray(curvature.materialize(operator))
    return {
        "exact": np.linalg.eigvalsh((matrix + matrix.T) / 2),
        "grid": np.asarray(found.grid),
        "density": np.asarray(found.density),
        "widths": np.asarray(found.width),
        "nodes": np.asarray(found.nodes),
        "weights": np.asarray(found.weights),
    }


def distances(result: Result) -> np.ndarray:
    """Largest difference of the distribution functions, estimated against exact.

    Both have the same broadening, so that what remains is the error of the estimate.

    Args:
        result: Of `run`.

    Returns:
        ``(3,)``, each in 0..1.
    """
    spectra = zip(result.exact, result.grid, result.density, result.widths, strict=True)
    return np.array([
        np.max(np.abs(np.cumsum(density - _broadened(exact, grid, width))))
        * (grid[1] - grid[0])
        for exact, grid, density, width in spectra
    ])


def _broadened(eigenvalues, grid, width):
    """The density of all eigenvalues, each a Gaussian."""
    z = (grid[:, None] - eigenvalues) / width
    return np.exp(-(z**2) / 2).mean(1) / (width * np.sqrt(2 * np.pi))


def check(result: Result) -> list[Finding]:
    """As many outliers as classes; and the density against all eigenvalues."""
    k, counts = result.classes, np.median(result.outliers, 1)
    told = ", ".join(f"{n:g} of {c} classes" for n, c in zip(counts, k, strict=True))
    last = len(result.moments) - 1
    total = result.weights.sum((1, 2))
    means = np.sum(result.weights * result.nodes, 2) * result.weights.shape[1]
    error = means.std(1, ddof=1) / math.sqrt(means.shape[1])
    deviation = np.abs(means.mean(1) - result.exact.mean(1)) / error
    top = result.largest[
        [int(np.flatnonzero(result.steps == m)[0]) for m in result.moments]
    ]
    exact_top = result.exact[:, ::-1][:, : top.shape[1]]
    return [
        at_most(
            "as many outliers as classes, give or take one: largest difference of "
            "the median over seeds",
            high=1,
            measured=np.max(np.abs(counts - k)),
            **PAPYAN,
            note=told,
        ),
        close(
            "in fact one fewer than classes: largest difference of the median from k - "
            "1",
            expected=0,
            measured=np.max(np.abs(counts - (k - 1))),
            tolerance=0,
            kind="observation",
            source="softmax ignores a shift of all logits, which leaves k - 1 "
            "directions for the means of k classes",
            note=told,
        ),
        at_least(
            "the outliers stand apart: smallest of the median ratios between the last "
            "outlier and the bulk",
            low=1.5,
            measured=np.min(np.median(result.ratios, 1)),
            **PAPYAN,
            note="ratio of neighbours: "
            + ", ".join(f"{r:.3g}" for r in np.median(result.ratios, 1)),
        ),
        at_most(
            "with centred inputs and tanh they do not: the largest ratio of "
            "neighbours, over that with pixels in [0, 1] and ReLU, medians",
            high=0.75,
            measured=np.median(result.centred_ratios) / np.median(result.ratios[-1]),
            kind="observation",
            source="this study",
            note="means of the features are what sets the classes apart",
        ),
        at_most(
            "the largest eigenvalues equal those of the dense Hessian: largest "
            "relative difference",
            high=1e-8,
            measured=np.max(np.abs(top - exact_top) / exact_top[:, :1]),
            kind="theorem",
            source="symmetric eigenvalue problem, LAPACK",
        ),
        close(
            "the weights of the density sum to one: largest deviation",
            expected=0,
            measured=np.max(np.abs(total - 1)),
            tolerance=1e-12,
            kind="theorem",
            source="Golub, Meurant (2010), Matrices, Moments and Quadrature",
        ),
        at_most(
            "its mean is that of all eigenvalues: largest difference in standard "
            "errors between probes",
            high=4,
            measured=np.max(deviation),
            kind="theorem",
            source="E <z, A z> = tr A / p on the unit sphere",
            note=f"{means.shape[1]} probes",
        ),
        at_most(
            "it is the density of all eigenvalues: largest difference of the "
            "distribution functions, at equal broadening",
            high=0.02,
            measured=np.max(distances(result)),
            kind="closed form",
            source="dense Hessian, LAPACK",
        ),
        at_least(
            "most eigenvalues are nearly zero: share below a hundredth of the largest "
            "in modulus, after training",
            low=0.9,
            measured=np.mean(
                np.abs(result.exact[last]) < 0.01 * np.abs(result.exact[last]).max()
            ),
            kind="published figure",
            source="Sagun et al. (2017), https://arxiv.org/abs/1706.04454",
        ),
        close(
            "eigenvalues whose residual is above the tolerance",
            expected=0,
            measured=result.uncertified,
            tolerance=0,
            kind="observation",
            source="this study",
        ),
    ]


def plot(result: Result) -> dict[str, Plot]:
    """Largest eigenvalues over time and the count; the density at three times."""
    return {"outliers": _plot_outliers(result), "density": _plot_density(result)}


def _plot_outliers(result):
    """Eigenvalues of the followed network, and the number of outliers."""
    drawn, (left, right) = figure(1, 2)
    k = int(result.classes[-1])
    for values, color, label in (
        (result.largest[:, k - 1 :], GRAY, "the next"),
        (result.largest[:, : k - 1], BLUE, f"the {k - 1} largest"),
    ):
        lines = left.plot(
            result.steps, np.where(values > 0, values, np.nan), color=color, lw=0.9
        )
        if lines:
            lines[0].set_label(label)
    left.set(yscale="log", xlabel="step", ylabel="eigenvalue of the Hessian")
    left.legend()
    ends = np.array([result.classes[0], result.classes[-1]])
    right.plot(ends, ends, color=GRAY, ls=":", lw=0.8, label="k")
    right.plot(ends, ends - 1, color=GRAY, ls="--", lw=0.8, label="k - 1")
    seeds = result.outliers.shape[1]
    shift = np.linspace(-0.12, 0.12, seeds) if seeds > 1 else np.zeros(1)
    for seed in range(seeds):
        right.plot(
            result.classes + shift[seed],
            result.outliers[:, seed],
            "o",
            color=BLUE,
            alpha=0.7,
            label="one seed" if seed == 0 else None,
        )
    right.set(xlabel="classes k", ylabel="outliers")
    right.legend()
    return Plot(
        drawn,
        caption=f"Left: the largest eigenvalues along training, {k} classes. Right: "
        "eigenvalues above the largest ratio of two neighbours, when the loss first "
        "falls below a quarter of that of guessing (or the stage that was set); seeds "
        "are moved sideways.",
        alt=f"The {k - 1} largest eigenvalues part from the others as training goes "
        "on. The number of outliers against the number of classes: "
        + ", ".join(
            f"{n:g} at {c}"
            for n, c in zip(np.median(result.outliers, 1), result.classes, strict=True)
        )
        + ".",
    )


def _plot_density(result):
    """The density at three times, over the histogram of all eigenvalues."""
    drawn, axes = figure(1, 3, sharey=True)
    names = ("at the start", "half-way", "at the end")
    colors = (GREEN, ORANGE, VERMILLION)
    floor = 1e-5
    for i, (panel, name) in enumerate(zip(axes, names, strict=True)):
        panel.hist(
            result.exact[i],
            bins=np.linspace(result.grid[i][0], result.grid[i][-1], 120),
            density=True,
            color=GRAY,
            alpha=0.5,
            label="all eigenvalues",
        )
        panel.plot(
            result.grid[i],
            np.maximum(result.density[i], floor),
            color=colors[i],
            lw=1.1,
            label="Lanczos quadrature",
        )
        panel.set(
            yscale="log",
            xlabel="eigenvalue",
            title=f"{name} (step {result.moments[i]})",
            ylim=(floor, None),
        )
    axes[0].set_ylabel("density")
    axes[0].legend(loc="upper right")
    p = result.exact.shape[1]
    return Plot(
        drawn,
        caption=f"Density of the {p} eigenvalues of the Hessian, "
        f"{result.classes[-1]} classes, from {result.nodes.shape[1]} Lanczos runs of "
        f"{result.nodes.shape[2]} products, broadened by a Gaussian of 1 % of the "
        "range; gray: the histogram of all of them.",
        alt="Three panels with the density of the Hessian's eigenvalues on a "
        "logarithmic axis: a narrow bulk at zero and, in the course of training, "
        "separate outliers. The curves follow the histogram; the largest difference "
        f"of the distribution functions is {np.max(distances(result)):.3f}.",
    )


def metrics(result: Result) -> Iterator[dict]:
    """One row a number of classes and seed."""
    for row, k in enumerate(result.classes):
        for seed in range(result.outliers.shape[1]):
            yield {
                "part": "spectrum",
                "classes": int(k),
                "seed": seed,
                "outliers": float(result.outliers[row, seed]),
                "ratio": float(result.ratios[row, seed]),
                "step": int(result.stage_steps[row, seed]),
            }
