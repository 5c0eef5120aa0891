"""The learning rate of a small network: too small, too large, and how it decays."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from experiments._figures import BLACK, GRAY, PALETTE, Plot, figure
from experiments._findings import Finding, at_least, at_most, between, close
from experiments._rate_quadratic import RULES, rules, values
from jaxdl import curvature, data, losses, optim, train
from jaxdl.models import mlp

LEWKOWYCZ = {
    "kind": "published figure",
    "source": "Lewkowycz et al. (2020), https://arxiv.org/abs/2003.02218",
}
OBSERVED = {"kind": "observation", "source": "this study"}
COLORS = (BLACK, *PALETTE[:6], GRAY)
RECORDS = 20
"""Of the training loss along each run."""


@dataclass(frozen=True)
class Config:
    """A ReLU network on digits with noisy labels, cross-entropy, float32."""

    n_train: int = 600
    """Training rows."""
    label_noise: float = 0.3
    """Share of labels redrawn at random, so that mini-batches disagree to the end."""
    hidden: tuple[int, ...] = (32,)
    """Units of each hidden layer."""
    batch_size: int = 16
    """Examples an update."""
    steps: int = 600
    """Updates; a multiple of 20."""
    rates: tuple[float, ...] = (
        *(0.00390625, 0.0078125, 0.015625, 0.03125, 0.0625, 0.125, 0.25, 0.5, 1.0),
        2.0,
    )
    """Initial learning rates, ascending."""
    seeds: int = 3
    """Draws of rows, labels, initial weights and mini-batches."""
    ratios: tuple[float, ...] = (0.5, 1.0, 1.4, 2.0, 2.8, 4.0, 5.7, 8.0)
    """Learning rates of full-batch descent, over 2 / sharpness at the start; ascending,
    1 among them."""
    full_steps: int = 200
    """Updates of it."""

    def __post_init__(self):
        """Reject what could not be run.

        Raises:
            ValueError: Which field is wrong.
        """
        for name in ("n_train", "batch_size", "seeds", "full_steps"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"network.{name} must be >= 1, got {getattr(self, name)}"
                )
        if self.batch_size > self.n_train:
            raise ValueError(
                f"network.batch_size must be at most n_train={self.n_train}, "
                f"got {self.batch_size}"
            )
        if self.steps < RECORDS or self.steps % RECORDS:
            raise ValueError(
                f"network.steps must be a multiple of {RECORDS}, got {self.steps}"
            )
        if not self.hidden or min(self.hidden) < 1:
            raise ValueError(f"network.hidden must be positive, got {self.hidden}")
        if not 0 <= self.label_noise <= 1:
            raise ValueError(
                f"network.label_noise must lie in [0, 1], got {self.label_noise}"
            )
        for name in ("rates", "ratios"):
            grid = getattr(self, name)
            ascending = all(a < b for a, b in itertools.pairwise(grid))
            if len(grid) < 3 or not ascending or not 0 < grid[0] <= grid[-1] < np.inf:
                raise ValueError(
                    f"network.{name} must be three or more ascending positive numbers, "
                    f"got {grid}"
                )
        if 1.0 not in self.ratios:
            raise ValueError(f"network.ratios must include 1, got {self.ratios}")


@dataclass(frozen=True)
class Result:
    """Mean losses over all training rows; NaN once a run is not finite."""

    steps: np.ndarray  # (records,)
    rates: np.ndarray  # (r,)
    curves: np.ndarray  # (8, r, s, records) by rule
    dropped: np.ndarray  # (r, s, records) to a tenth, at a quarter of the steps
    before: np.ndarray  # (s,) loss at the start
    sharpness: np.ndarray  # (s,) at the start
    certified: np.ndarray  # (s,) bool, residual within the tolerance
    ratios: np.ndarray  # (q,)
    full: np.ndarray  # (q, s, full_steps) of full-batch descent, before each update


def work(config: Config) -> float:
    """Seconds this takes, roughly, on two cores."""
    size = 64 * config.hidden[0] + sum(h * h for h in config.hidden)
    members = config.seeds * len(config.rates)
    small = config.batch_size * config.steps + config.n_train * RECORDS
    full = config.n_train * config.full_steps * config.seeds * len(config.ratios)
    return 12 + 5e-10 * size * (9 * members * small + full)


def run(config: Config, key: jax.Array, tick: Callable[[float], object]) -> Result:
    """All rates and seeds of one rule at a time; one compiled program for all."""
    keys = jax.random.split(key, config.seeds)
    batches = _problems(config, keys)
    params = _initial(keys, config.hidden)
    drop = config.steps // 4
    schedules = [
        *rules(config.steps).values(),
        lambda rate: optim.piecewise_constant([rate, rate / 10], boundaries=[drop]),
    ]
    sweep = jax.jit(
        jax.vmap(jax.vmap(_train, (None, 0, 0, 0, None)), (0, None, None, None, None)),
        static_argnums=4,
    )
    curves = []
    for rule in schedules:
        tables = np.stack([values(rule(rate), config.steps) for rate in config.rates])
        curves.append(
            np.asarray(
                sweep(np.float32(tables), keys, params, batches, config.batch_size)
            )
        )
        tick(0.85 / len(schedules))
    top = jax.jit(jax.vmap(_sharpness))(keys, params, batches)
    sharpness = np.asarray(top.value)
    full = jax.jit(
        jax.vmap(jax.vmap(_descend, (0, 0, 0, 0, None)), (0, None, None, None, None)),
        static_argnums=4,
    )(
        np.float32(np.outer(config.ratios, 2 / sharpness)),
        keys,
        params,
        batches,
        config.full_steps,
    )
    tick(0.15)
    return Result(
        steps=np.arange(1, RECORDS + 1) * (config.steps // RECORDS),
        rates=np.array(config.rates),
        curves=np.stack(curves[:-1]),
        dropped=curves[-1],
        before=np.asarray(full)[0, :, 0],
        sharpness=sharpness,
        certified=np.asarray(top.converged),
        ratios=np.array(config.ratios),
        full=np.asarray(full),
    )


def _problems(config, keys):
    """Inputs ``(s, n, d)``, centred and divided by one number; labels ``(s, n)``."""
    table = data.digits()
    n = min(config.n_train, len(table.x))
    inputs, labels = [], []
    for key in keys:
        row_key, noise_key, _, _ = jax.random.split(key, 4)
        rows = np.asarray(jax.random.permutation(row_key, len(table.x)))[:n]
        x = table.x[rows] - table.x[rows].mean(0)
        y = jnp.asarray(table.y[rows], jnp.int32)
        labels.append(
            np.asarray(data.redraw_labels(noise_key, y, config.label_noise, 10))
        )
        inputs.append(np.float32(x / x.std()))
    return np.stack(inputs), np.stack(labels)


def _initial(keys, hidden):
    """Weights of each seed, by He's initializer."""

    def one(key):
        _, _, init_key, _ = jax.random.split(key, 4)
        return mlp.init(init_key, (64, *hidden, 10))

    return jax.jit(jax.vmap(one))(keys)


_supervised = train.supervised(mlp.apply, losses.cross_entropy)


def _loss(params, batch):
    """The mean loss, as `curvature.hvp` takes it."""
    x, y = batch
    outputs = jax.vmap(mlp.apply, (None, 0))(params, x)
    return jnp.mean(jax.vmap(losses.cross_entropy)(outputs, y))


def _train(rates, key, params, batch, batch_size):
    """Losses ``(records,)`` of stochastic descent at these rates, one a step."""
    _, _, _, fit_key = jax.random.split(key, 4)
    fitted = train.fit(
        fit_key,
        _supervised,
        params,
        optim.sgd(lambda step: rates[step]),
        batch,
        steps=rates.size,
        batch_size=batch_size,
        record_every=rates.size // RECORDS,
        evaluate=lambda params, _, batch: {"all": _loss(params, batch)},
        held_out=batch,
    )
    return fitted.history["all"]


def _descend(rate, key, params, batch, steps):
    """Losses ``(steps,)`` of full-batch descent."""
    fitted = train.fit(key, _supervised, params, optim.sgd(rate), batch, steps=steps)
    return fitted.history["loss"]


def _sharpness(key, params, batch):
    """The largest eigenvalue of the Hessian, to a residual of a thousandth of it."""
    return curvature.sharpness(curvature.hvp(_loss, params, batch), key, tol=1e-3)


def final(result: Result) -> np.ndarray:
    """Median over seeds of the loss at the end, ``(8, r)``; infinite where lost."""
    return np.median(_finite(result.curves[..., -1]), axis=2)


def trains(result: Result) -> np.ndarray:
    """Whether full-batch runs end finite and below their start, ``(q, s)``."""
    return _finite(result.full[..., -1]) < result.before


def first_failure(result: Result) -> np.ndarray:
    """Least rate that does not train, in 2 / sharpness, ``(s,)``; infinite if none."""
    fails = ~trains(result)
    return np.where(fails.any(0), result.ratios[fails.argmax(0)], np.inf)


def _over(losses, others):
    """The ratio; NaN, which no claim survives, where both are infinite."""
    with np.errstate(invalid="ignore"):
        return np.divide(losses, others)


def _finite(losses):
    return np.where(np.isfinite(losses), losses, np.inf)


def check(result: Result) -> list[Finding]:
    """The shape of the sweep, its upper end, the rules, and a drop."""
    return [*_sweep(result), *_edge(result), *_rules(result), *_drop(result)]


def _sweep(result):
    """Too small, too large."""
    constant = final(result)[0]
    best = int(np.argmin(constant))
    lost = np.mean(~np.isfinite(result.curves[0, -1, :, -1]))
    told = ", ".join(
        f"{rate:g}: {value:.3g}"
        for rate, value in zip(result.rates, constant, strict=True)
    )
    return [
        between(
            "network: the best constant rate lies inside the grid: its place, from 0",
            measured=best,
            low=1,
            high=len(result.rates) - 2,
            **OBSERVED,
            note=f"median final losses by rate: {told}",
        ),
        at_least(
            "network: too small a rate is slow: final loss at the smallest rate over "
            "the best, median over seeds",
            measured=_over(constant[0], constant[best]),
            low=1.5,
            **OBSERVED,
        ),
        at_most(
            "network: too large a rate does harm: best final loss over that at the "
            "largest rate, median over seeds; 0 where it is not finite",
            measured=_over(constant[best], constant[-1]),
            high=0.5,
            **OBSERVED,
            note=f"{lost:.0%} of the runs at the largest rate end not finite",
        ),
        close(
            "network: too small a rate lowers the loss at nearly every record: share "
            "of records that do not fall at the smallest rate, largest over seeds",
            measured=np.max(np.mean(~(np.diff(result.curves[0, 0]) <= 0), axis=1)),
            expected=0.0,
            tolerance=0.1,
            **OBSERVED,
        ),
    ]


def _edge(result):
    """Full-batch descent around 2 / sharpness."""
    up_to_one = result.ratios <= 1
    failure = first_failure(result)
    above = np.where(trains(result), result.ratios[:, None], 0).max(0)
    note = (
        f"sharpness at the start {np.min(result.sharpness):.3g} to "
        f"{np.max(result.sharpness):.3g}"
    )
    return [
        at_least(
            "network, full batch: every rate up to 2 / sharpness at the start trains: "
            "share of runs",
            measured=np.mean(trains(result)[up_to_one]),
            low=1.0,
            **LEWKOWYCZ,
            note=note,
        ),
        at_least(
            "network, full batch: some rates above 2 / sharpness train too, as the "
            "sharpness gives way: largest that does, over 2 / sharpness, least over "
            "seeds",
            measured=np.min(above),
            low=1.2,
            **LEWKOWYCZ,
        ),
        between(
            "network, full batch: the rate that is too large is near 2 / sharpness at "
            "the start, within a factor of two: the least that fails, over it, "
            "median over seeds",
            measured=np.median(failure),
            low=0.5,
            high=2.0,
            kind="observation",
            source="stability of the quadratic at the start",
            note=f"over seeds {np.min(failure):.3g} to {np.max(failure):.3g}; to the "
            "distance of the grid",
        ),
        close(
            "network: each sharpness is certified by the residual of its eigenpair, "
            "within a thousandth: those that are not",
            measured=int(np.sum(~result.certified)),
            expected=0,
            tolerance=0,
            **OBSERVED,
        ),
    ]


def _rules(result):
    """Each rule at its own best rate against the constant one at its."""
    ends = final(result)
    best = ends.argmin(1)
    own = _finite(result.curves[np.arange(len(ends)), best, :, -1])  # (8, s)
    ratios = np.median(_over(own, own[0]), axis=1)
    told = ", ".join(
        f"{label} {ratio:.3g} from rate {result.rates[at]:g}"
        for label, ratio, at in zip(RULES.values(), ratios, best, strict=True)
    )
    return [
        at_most(
            "network: the best decay rule ends below a constant rate, at equal budget "
            "and each at its own best rate: ratio of final losses, median over seeds",
            measured=np.min(ratios[1:]),
            high=1.0,
            **OBSERVED,
            note=told,
        ),
        at_most(
            "network: every decay rule does: largest ratio of final losses, median "
            "over seeds",
            measured=np.max(ratios[1:]),
            high=1.0,
            **OBSERVED,
            note="above 1: " + (", ".join(_above(ratios)) or "none"),
        ),
    ]


def _above(ratios):
    """The rules that end above the constant rate."""
    return [
        label for label, ratio in zip(RULES.values(), ratios, strict=True) if ratio > 1
    ]


def _drop(result):
    """An early drop from the best constant rate."""
    row = _high(result)
    soon = RECORDS // 4
    ratio = np.median(result.dropped[row] / result.curves[0, row], 0)
    return [
        at_most(
            "network: a drop of the rate to a tenth lowers the loss at once: loss a "
            "twentieth of the run later, over that without the drop, median over seeds",
            measured=ratio[soon],
            high=1.0,
            **OBSERVED,
            note=f"from the best constant rate, {result.rates[row]:g}, at a quarter of "
            "the run",
        ),
        at_least(
            "network: and costs later: loss at the end over that without the drop, "
            "median over seeds",
            measured=ratio[-1],
            low=1.0,
            **OBSERVED,
        ),
    ]


def _high(result):
    """The place of the best constant rate."""
    return int(np.argmin(final(result)[0]))


def plot(result: Result) -> dict[str, Plot]:
    """The sweep by rule; full-batch descent; the drop."""
    return {"sweep": _plot_sweep(result), "edge_and_drop": _plot_edge(result)}


def _plot_sweep(result):
    """Final loss against the initial rate, and curves at the best."""
    drawn, (left, right) = figure(1, 2, height=3.4)
    ends = final(result)
    start = np.median(result.before)
    for row, (label, color) in enumerate(zip(RULES.values(), COLORS, strict=True)):
        shown = np.where(ends[row] < 1.5 * start, ends[row], np.nan)
        left.loglog(result.rates, shown, ".-", color=color, label=label)
        best = int(np.argmin(ends[row]))
        middle = np.median(result.curves[row, best], 0)
        right.semilogy(result.steps, middle, color=color)
    left.axhline(start, color=GRAY, ls=":", lw=0.8)
    left.set(xlabel="initial learning rate", ylabel="training loss at the end")
    right.set(xlabel="step", ylabel="training loss, best rate")
    drawn.legend(loc="outside lower center", ncols=4)
    best = ends.min(1)
    order = np.argsort(best)
    names = list(RULES.values())
    return Plot(
        drawn,
        caption="A network trained by mini-batches, median over "
        f"{result.before.size} seeds. Left: training loss at the end against the "
        "initial rate; dotted: loss at the start; runs above 1.5 times that are not "
        "drawn. Right: on the way, each rule at its best rate.",
        alt="Final loss against initial learning rate: U-shaped curves. At the best "
        "rate, from lowest: "
        + ", ".join(f"{names[i]} {best[i]:.3g}" for i in order)
        + ".",
    )


def _plot_edge(result):
    """Full-batch loss at the end by rate; and the drop."""
    drawn, (left, right) = figure(1, 2)
    ends = result.full[..., -1] / result.before
    for seed in range(result.before.size):
        good = np.isfinite(ends[:, seed]) & (ends[:, seed] < 10)
        left.loglog(result.ratios[good], ends[good, seed], ".-", color=PALETTE[0])
        left.loglog(
            result.ratios[~good],
            np.full(np.sum(~good), 10.0),
            "x",
            color=PALETTE[1],
            clip_on=False,
        )
    left.axvline(1, color=GRAY, ls=":", lw=0.8)
    left.set(
        xlabel="learning rate, over 2 / sharpness at the start",
        ylabel="loss at the end, over start",
        ylim=(None, 10),
    )
    left.minorticks_off()
    shown = result.ratios[:: max(1, len(result.ratios) // 5)]
    left.set_xticks(shown, [f"{ratio:g}" for ratio in shown])
    row = _high(result)
    for curves, label, color in (
        (result.curves[0, row], "kept", PALETTE[0]),
        (result.dropped[row], "dropped to a tenth", PALETTE[1]),
    ):
        right.plot(result.steps, np.median(curves, 0), color=color, label=label)
        right.plot(result.steps, curves.T, color=color, lw=0.4, alpha=0.5)
    right.axvline(result.steps[RECORDS // 4 - 1], color=GRAY, ls=":", lw=0.8)
    right.set(xlabel="step", ylabel="training loss")
    right.legend(title=f"learning rate {result.rates[row]:g}", title_fontsize=8)
    failure = first_failure(result)
    return Plot(
        drawn,
        caption="Left: full-batch gradient descent, each line a seed; a cross is a "
        "run that ends tenfold above its start or not finite. Right: mini-batches, "
        "the rate kept or dropped at the dotted line; thin lines are seeds.",
        alt="Left: loss at the end falls as the rate grows, past 2 / sharpness, until "
        f"runs fail at {np.min(failure):.2g} to {np.max(failure):.2g} times that. "
        "Right: the loss of the dropped run falls at the drop; at the end it is "
        f"{np.median(result.dropped[row, :, -1]):.3g}, that of the kept one "
        f"{np.median(result.curves[0, row, :, -1]):.3g}.",
    )


def metrics(result: Result) -> Iterator[dict]:
    """One row a rule and rate."""
    ends = final(result)
    for row, name in enumerate(RULES):
        for column, rate in enumerate(result.rates):
            yield {
                "part": "network",
                "rule": name,
                "rate": float(rate),
                "final_loss": float(ends[row, column]),
            }
