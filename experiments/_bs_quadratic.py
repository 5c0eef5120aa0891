"""Steps to a target loss against the batch size, on the noisy quadratic model."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from experiments._bs_gradient import scores
from experiments._bs_scaling import critical_size, slopes
from experiments._figures import BLUE, GRAY, GREEN, ORANGE, VERMILLION, Plot, figure
from experiments._findings import Finding, at_least, at_most, between, close, largest_z
from jaxdl import optim

ZHANG = {
    "kind": "published figure",
    "source": "Zhang et al. (2019), https://arxiv.org/abs/1907.04164",
}


@dataclass(frozen=True)
class Config:
    """Loss ``sum h_i x_i^2 / 2``, gradient ``h_i x_i`` plus noise; float64.

    The curvatures are ``h_i = 1 / i``; the noise of one example has variance
    ``noise h_i`` along direction i; the start is ``x_i = 1``.
    """

    dim: int = 50
    """Directions."""
    noise: float = 2.0
    """Covariance of one example's gradient, in units of the Hessian."""
    target: float = 0.02
    """The expected loss to reach, in units of that at the start."""
    octaves: int = 12
    """Batch sizes are the powers of two from 1 to 2 to this."""
    per_octave: int = 4
    """Learning rates an octave."""
    seeds: int = 1000
    """Simulated runs at each of three batch sizes."""

    def __post_init__(self):
        """Reject what could not be run.

        Raises:
            ValueError: Which field is wrong.
        """
        for name, least in (("dim", 1), ("octaves", 3), ("per_octave", 1)):
            if getattr(self, name) < least:
                raise ValueError(
                    f"quadratic.{name} must be >= {least}, got {getattr(self, name)}"
                )
        if self.seeds < 2:
            raise ValueError(f"quadratic.seeds must be >= 2, got {self.seeds}")
        if not 0 < self.noise < math.inf:
            raise ValueError(f"quadratic.noise must be positive, got {self.noise}")
        if not 0 < self.target < 1:
            raise ValueError(f"quadratic.target must lie in (0, 1), got {self.target}")


@dataclass(frozen=True)
class Result:
    """One row a batch size; the last of `steps` and `rates` is without noise."""

    sizes: np.ndarray  # (b,)
    rates: np.ndarray  # (r,) the grid, ascending
    target: float  # expected loss
    steps: np.ndarray  # (b + 1,) updates of the best rate; -1: never
    best: np.ndarray  # (b + 1,) the best rate
    formula: np.ndarray  # (b + 1, 2) expected loss one update before, and then
    recursed: np.ndarray  # (b + 1, 2) the same by the recursion of the moments
    scales: np.ndarray  # (t,) noise scale along the run without noise, tr C / |G|^2
    full_scales: np.ndarray  # (t,) the same in the Hessian's metric
    one_step: np.ndarray  # (b, 2) best gain of one update: found, formula
    simulated_sizes: np.ndarray  # (3,)
    simulated: np.ndarray  # (3,) mean loss over runs at those sizes' steps
    simulated_error: np.ndarray  # (3,) standard error
    simulated_expected: np.ndarray  # (3,)


def work(config: Config) -> float:
    """Seconds this takes, roughly, on two cores."""
    updates = 40 * config.noise / config.target
    cells = config.dim * config.octaves * config.per_octave * (config.octaves + 4)
    return 6 + 3e-10 * updates * cells + 1e-8 * updates * config.dim * config.seeds


def run(config: Config, key: jax.Array, tick: Callable[[float], object]) -> Result:
    """Race a grid of rates for each batch size; then simulate some of the winners."""
    curvatures = 1 / np.arange(1.0, config.dim + 1)
    sizes = 2.0 ** np.arange(config.octaves + 1)
    fineness = np.arange(config.per_octave * (config.octaves + 4))
    rates = 2 / curvatures[0] * 2.0 ** (-(fineness + 0.5) / config.per_octave)[::-1]
    target = config.target * np.sum(curvatures) / 2
    noises = config.noise * np.append(1 / sizes, 0.0)
    with jax.enable_x64(True):
        won = _race(
            *(jnp.asarray(array) for array in (curvatures, noises, rates)),
            target,
            LONGEST,
        )
        steps, columns = (np.asarray(leaf) for leaf in won)
    tick(0.5)
    best = np.where(steps > 0, rates[columns], np.nan)
    picked = config.octaves * np.array([2, 3, 4]) // 4
    found = [
        _simulated(config, curvatures, noises[i], best[i], int(steps[i]), k)
        for i, k in zip(picked, jax.random.split(key, 3), strict=True)
    ]
    tick(0.5)
    path = _second_moments(
        curvatures, 0.0, best[-1], np.arange(max(steps[-1], 1))[:, None]
    )
    noise = config.noise * curvatures
    around = [
        (
            expected_loss(curvatures, noise_level, rate, np.array([n - 1, n])),
            _recursed(curvatures, noise_level, rate, n),
        )
        for noise_level, rate, n in zip(noises, best, steps.tolist(), strict=True)
    ]
    return Result(
        sizes=sizes,
        rates=rates,
        target=target,
        steps=steps,
        best=best,
        formula=np.stack([each[0] for each in around]),
        recursed=np.stack([each[1] for each in around]),
        scales=np.sum(noise) / np.sum(curvatures**2 * path, axis=1),
        full_scales=np.sum(curvatures * noise) / np.sum(curvatures**3 * path, axis=1),
        one_step=_one_step(curvatures, noise, sizes),
        simulated_sizes=sizes[picked],
        simulated=np.array([each[0] for each in found]),
        simulated_error=np.array([each[1] for each in found]),
        simulated_expected=np.array([
            expected_loss(curvatures, float(noises[i]), float(best[i]), steps[i])
            for i in picked
        ]),
    )


def expected_loss(
    curvatures: np.ndarray, noise: float, rate: float, steps: np.ndarray
) -> np.ndarray:
    """The expected loss after so many updates at a constant rate, in closed form.

    Along each direction ``x -> (1 - a h) x + a sqrt(c) e``: the mean is a power, the
    variance a geometric series.

    Args:
        curvatures: ``(d,)`` h.
        noise: Variance c of the gradient along each direction over its h.
        rate: The learning rate a, below 2 / max(h).
        steps: Integers, any shape.

    Returns:
        In the shape of ``steps``.
    """
    moments = _second_moments(curvatures, noise, rate, np.asarray(steps)[..., None])
    return np.sum(curvatures * moments, axis=-1) / 2


def _second_moments(curvatures, noise, rate, steps):
    """E x^2 along each direction, from x = 1."""
    kept = (1 - rate * curvatures) ** 2
    end = rate**2 * noise * curvatures / (1 - kept)
    return kept**steps * (1 - end) + end


def _recursed(curvatures, noise, rate, steps):
    """The expected loss one update before the last, and after it, update by update."""
    mean, variance, seen = np.ones_like(curvatures), 0 * curvatures, [math.nan] * 2
    for _ in range(steps + 1):
        seen = [seen[1], np.sum(curvatures * (mean**2 + variance)) / 2]
        mean = (1 - rate * curvatures) * mean
        variance = (1 - rate * curvatures) ** 2 * variance
        variance = variance + rate**2 * noise * curvatures
    return seen


@jax.jit
def _race(curvatures, noises, rates, target, longest):
    """For each noise the fewest updates to the target, and the rate that needs them.

    All rates run at once, until the first of them arrives.
    """
    kept = (1 - jnp.outer(rates, curvatures)) ** 2  # (r, d)

    def race(noise):
        added = noise * jnp.outer(rates**2, curvatures)

        def racing(state):
            return (state[2] > target) & (state[0] < longest)

        def update(state):
            step, moments, *_ = state
            moments = kept * moments + added
            losses = moments @ curvatures / 2
            least = losses.argmin().astype(jnp.int32)
            return step + 1, moments, losses[least], least

        start = (jnp.int32(0), jnp.ones_like(kept), jnp.inf, jnp.int32(0))
        step, _, loss, winner = jax.lax.while_loop(racing, update, start)
        return jnp.where(loss > target, -1, step), winner

    return jax.lax.map(race, noises)


LONGEST = 200_000
"""Updates after which a race is given up."""


def _simulated(config, curvatures, noise, rate, steps, key):
    """Mean loss over runs of `optim.sgd` on drawn noise, and its standard error."""
    with jax.enable_x64(True):
        keys = jax.random.split(key, config.seeds)
        values = _simulate(keys, jnp.asarray(curvatures), noise, rate, max(steps, 1))
        values = np.asarray(values)
    return values.mean(), values.std(ddof=1) / np.sqrt(len(values))


@jax.jit
@partial(jax.vmap, in_axes=(0, None, None, None, None))
def _simulate(key, curvatures, noise, rate, steps):
    """The loss of a run after its last update."""
    optimizer = optim.sgd(rate)

    def update(step, carry):
        x, state = carry
        drawn = jax.random.normal(jax.random.fold_in(key, step), curvatures.shape)
        gradient = curvatures * x + jnp.sqrt(noise * curvatures) * drawn
        updates, state = optimizer.update(gradient, state, x)
        return optim.apply_updates(x, updates), state

    x = jnp.ones_like(curvatures)
    x, _ = jax.lax.fori_loop(0, steps, update, (x, optimizer.init(x)))
    return x**2 @ curvatures / 2


def _one_step(curvatures, noise, sizes):
    """The best gain of one update from the start, found by search and by formula."""
    square, along = np.sum(curvatures**2), np.sum(curvatures**3)
    scale = np.sum(curvatures * noise) / along
    rows = []
    for size in sizes:

        def gain(rate, size=size):
            after = (1 - rate * curvatures) ** 2 + rate**2 * noise / size
            return np.sum(curvatures * (1 - after)) / 2

        low, high = 0.0, 2 / curvatures[0]
        for _ in range(100):  # golden section would save nothing here
            third = (high - low) / 3
            if gain(low + third) < gain(high - third):
                low += third
            else:
                high -= third
        rows.append([gain(low), square**2 / (2 * along) / (1 + scale / size)])
    return np.array(rows)


def updates(result: Result) -> tuple[np.ndarray, float]:
    """Updates to the target ``(b,)``, and without noise; NaN where never reached."""
    steps = np.where(result.steps > 0, result.steps.astype(float), np.nan)
    return steps[:-1], float(steps[-1])


def hyperbola(result: Result) -> np.ndarray:
    """``fewest updates + fewest examples / S``, ``(b,)``, from the two ends."""
    steps, fewest = updates(result)
    return fewest + (steps[0] - fewest) * result.sizes[0] / result.sizes


def check(result: Result) -> list[Finding]:
    """The closed forms, the two regimes, and where they meet."""
    steps, fewest = updates(result)
    slope = slopes(result.sizes, steps)
    rises = slopes(result.sizes, result.best[:-1])
    critical = critical_size(result.sizes, steps, fewest)
    z = scores(result.simulated, result.simulated_expected, result.simulated_error)
    before, after = result.formula.T
    octave = math.log2(result.rates[1] / result.rates[0])
    mccandlish = {
        "kind": "published figure",
        "source": "McCandlish et al. (2018), https://arxiv.org/abs/1812.06162",
    }
    return [
        at_most(
            "noisy quadratic: the expected loss in closed form is that of the "
            "recursion of mean and variance: largest relative difference",
            high=1e-10,
            measured=np.max(np.abs(result.formula / result.recursed - 1)),
            kind="closed form",
            source="a power and a geometric series",
        ),
        at_most(
            "noisy quadratic: simulated runs have that loss: difference in standard "
            f"errors, largest of {len(z)} batch sizes",
            high=largest_z(len(z)),
            measured=np.max(z),
            kind="closed form",
            source="a power and a geometric series",
        ),
        close(
            "noisy quadratic: the race stops at the first update below the target, by "
            "the closed form: batch sizes where it does not",
            expected=0,
            measured=int(
                np.sum(~((before > result.target) & (after <= result.target)))
            ),
            tolerance=0,
            kind="closed form",
            source="a power and a geometric series",
        ),
        at_most(
            "noisy quadratic: the best gain of one update is the largest over "
            "1 + B / S, B = tr(H C) / (g' H g): largest relative difference",
            high=1e-9,
            measured=np.max(np.abs(result.one_step[:, 0] / result.one_step[:, 1] - 1)),
            kind="theorem",
            source="McCandlish et al. (2018), https://arxiv.org/abs/1812.06162, "
            "section 2.2",
        ),
        close(
            "noisy quadratic: twice a small batch halves the updates to the target: "
            "slope in log-log between the smallest two",
            expected=-1.0,
            measured=slope[0],
            tolerance=0.05,
            **ZHANG,
            note=f"{steps[0]:g} updates at batch size {result.sizes[0]:g}",
        ),
        close(
            "noisy quadratic: and doubles the best rate: slope in log-log between the "
            "smallest two, within one step of the grid",
            expected=1.0,
            measured=rises[0],
            tolerance=octave,
            kind="closed form",
            source="at small rates only rate x steps and rate / S matter",
        ),
        at_least(
            "noisy quadratic: no batch does better than halve: least slope",
            low=-1.05,
            measured=np.min(slope),
            **ZHANG,
        ),
        at_most(
            "noisy quadratic: a large batch saves nothing: updates with the largest "
            "over updates without noise",
            high=1.1,
            measured=steps[-1] / fewest,
            **ZHANG,
            note=f"{fewest:g} updates without noise",
        ),
        at_most(
            "noisy quadratic: between the regimes the updates are fewest + examples / "
            "S: largest relative difference",
            high=0.25,
            measured=np.max(np.abs(steps / hyperbola(result) - 1)),
            **mccandlish,
            note="their derivation tunes the rate at each update, here it is constant",
        ),
        between(
            "noisy quadratic: the critical batch size, with twice the fewest updates, "
            "over the noise scale, geometric mean along the run without noise",
            low=0.1,
            high=10,
            measured=critical / np.exp(np.mean(np.log(result.scales))),
            **mccandlish,
            note=f"critical size {critical:.3g}; noise scale {result.scales[0]:.3g} at "
            f"the start, {result.scales[-1]:.3g} at the end; weighted with the "
            f"Hessian {result.full_scales[0]:.3g} and {result.full_scales[-1]:.3g}. "
            "Predicted to an order of magnitude.",
        ),
    ]


def plot(result: Result) -> Plot:
    """Updates and examples to the target against the batch size."""
    drawn, (left, right) = figure(1, 2)
    steps, fewest = updates(result)
    critical = critical_size(result.sizes, steps, fewest)
    left.plot(result.sizes, steps, "o-", color=BLUE, label="best rate")
    left.plot(
        result.sizes,
        steps[0] * result.sizes[0] / result.sizes,
        color=GRAY,
        ls="--",
        lw=0.8,
        label="halved by doubling",
    )
    left.axhline(fewest, color=GRAY, ls=":", lw=0.8, label="without noise")
    left.plot(result.sizes, hyperbola(result), color=ORANGE, lw=0.9, label="their sum")
    left.set(
        ylabel="updates to the target",
        ylim=(fewest / 2, None) if fewest > 0 else (1, LONGEST),
    )
    right.plot(result.sizes, result.best[:-1], "s-", color=VERMILLION)
    right.axhline(2.0, color=GRAY, ls=":", lw=0.8, label="stable below")
    right.set(ylabel="best learning rate", ylim=(result.rates[0], 4))
    for axes in (left, right):
        if np.isfinite(critical):
            axes.axvline(critical, color=GREEN, lw=0.8, label="critical size")
        axes.set(
            xscale="log",
            yscale="log",
            xlabel="batch size S (examples)",
            xlim=(result.sizes[0] / 1.5, result.sizes[-1] * 1.5),
        )
        axes.legend(loc="upper right" if axes is left else "lower right")
    return Plot(
        drawn,
        caption="Noisy quadratic model, expected loss in closed form, the best of a "
        f"grid of constant rates for each batch size. The critical size, {critical:.3g}"
        ", needs twice the fewest updates.",
        alt="Updates to the target against the batch size, both logarithmic: a line of "
        f"slope minus one from {steps[0]:.4g} updates at {result.sizes[0]:g} that "
        f"bends to a floor of {fewest:.4g} near size {critical:.3g}. The best rate "
        "rises in proportion to the size, and stays near its bound from there on.",
    )


def metrics(result: Result) -> Iterator[dict]:
    """One row a batch size."""
    steps, _ = updates(result)
    for row, size in enumerate(result.sizes):
        yield {
            "part": "quadratic",
            "batch_size": float(size),
            "updates": float(steps[row]),
            "best_rate": float(result.best[row]),
        }
