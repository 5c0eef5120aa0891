"""Averages of SGD on a noisy quadratic, against their exact moments."""

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from experiments._avg_moments import ema, last, polyak, undebiased, variance
from experiments._figures import BLUE, GRAY, GREEN, ORANGE, VERMILLION, Plot, figure
from experiments._findings import Finding, at_least, at_most, close, largest_z
from jaxdl import optim

POLYAK = {
    "kind": "theorem",
    "source": "Polyak and Juditsky (1992), Acceleration of stochastic approximation by "
    "averaging",
}
AR1 = {"kind": "closed form", "source": "weighted sums of a first-order autoregression"}
NAMES = ("last", "mean", "late_mean", "ema", "ema_undebiased", "decayed")
"""What is followed: the last iterate, four averages, and a run with 1/t rate."""
BEGINNINGS = ("stationary", "far")


@dataclass(frozen=True)
class Config:
    """Loss ``sum l x^2 / 2``, Gaussian gradient noise of one variance; float64."""

    curvatures: tuple[float, ...] = (1.0, 0.3, 0.1)
    """Eigenvalues l of the Hessian, descending."""
    rates: tuple[float, ...] = (0.1, 0.4, 1.2)
    """Learning rates of SGD, ascending, below 2 / largest curvature."""
    noise: float = 1.0
    """Variance of the gradient along each direction."""
    distance: float = 30.0
    """Where the runs begin that do not begin from stationarity, each coordinate."""
    decay: float = 0.98
    """Of the exponential average."""
    start: int = 200
    """First iterate of the late mean."""
    steps: int = 2000
    """Updates; more than start."""
    looks: int = 8
    """Times at which moments are compared, in equal ratios."""
    seeds: int = 2000
    """Runs of each rate and beginning."""

    def __post_init__(self):
        """Reject what could not be run.

        Raises:
            ValueError: Which field is wrong.
        """
        falling = self.curvatures[::-1]
        for name, values in (("curvatures", falling), ("rates", self.rates)):
            rising = all(a < b for a, b in itertools.pairwise(values))
            if not values or not rising or not 0 < values[0] <= values[-1] < math.inf:
                raise ValueError(
                    f"quadratic.{name} must be positive and in order, "
                    f"got {getattr(self, name)}"
                )
        if self.rates[-1] * self.curvatures[0] >= 2:
            raise ValueError(
                "quadratic.rates must lie below 2 / largest curvature, "
                f"{2 / self.curvatures[0]:g}, got {self.rates}"
            )
        for name in ("noise", "distance"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(
                    f"quadratic.{name} must be positive, got {getattr(self, name)}"
                )
        if not 0 < self.decay < 1:
            raise ValueError(f"quadratic.decay must lie in (0, 1), got {self.decay}")
        if not 1 <= self.start < self.steps:
            raise ValueError(
                f"quadratic.start must lie in 1..{self.steps - 1}, got {self.start}"
            )
        for name in ("looks", "seeds"):
            if getattr(self, name) < 2:
                raise ValueError(
                    f"quadratic.{name} must be >= 2, got {getattr(self, name)}"
                )


@dataclass(frozen=True)
class Result:
    """Axes: what (`NAMES`), beginning (`BEGINNINGS`), look, rate, direction."""

    curvatures: np.ndarray  # (d,)
    rates: np.ndarray  # (r,)
    noise: float
    distance: float
    start: int
    decay: float
    steps: np.ndarray  # (t,) updates at each look
    mean: np.ndarray  # (w, 2, t, r, d) over seeds
    mean_error: np.ndarray  # standard error
    mean_expected: np.ndarray
    square: np.ndarray  # (w, 2, t, r, d) mean square
    square_error: np.ndarray  # standard error
    square_expected: np.ndarray


def work(config: Config) -> float:
    """Seconds this takes, roughly, on two cores."""
    draws = 2 * config.seeds * len(config.rates) * len(config.curvatures)
    return 5 + 4e-8 * draws * config.steps


def run(config: Config, key: jax.Array, tick: Callable[[float], object]) -> Result:
    """Simulate all seeds, rates and beginnings as one program; compare at looks."""
    looks = np.unique(np.geomspace(1, config.steps, config.looks).astype(int))
    curvatures, rates = np.array(config.curvatures), np.array(config.rates)
    begin_key, noise_key = jax.random.split(key)
    grid = (2, config.seeds, len(rates))
    with jax.enable_x64(True):
        spread = np.sqrt(variance(curvatures, rates[:, None], config.noise))
        drawn = jax.random.normal(begin_key, (*grid[1:], len(curvatures)))
        near = np.asarray(drawn) * spread
        x = np.stack([near, np.full(near.shape, config.distance)])
        keys = jax.random.split(noise_key, grid)
        setting = (config.decay, config.start, config.noise, jnp.asarray(curvatures))
        x = jnp.asarray(np.stack([x, x]))
        carry = _begin(x, jnp.asarray(rates), *setting)
        seen, done = [], 0
        for look in looks.tolist():
            carry = _advance(carry, keys, jnp.asarray(rates), done, look, *setting)
            seen.append(jax.tree.map(np.asarray, _values(carry)))
            tick((look - done) / config.steps)
            done = look
    values = np.swapaxes(np.stack(seen), 0, 1)  # (w, t, 2, s, r, d)
    values = np.moveaxis(values, 2, 1)  # (w, 2, t, s, r, d)
    mean, square = _expected(config, looks, curvatures, rates)
    root = np.sqrt(config.seeds)
    return Result(
        curvatures=curvatures,
        rates=rates,
        noise=config.noise,
        distance=config.distance,
        start=config.start,
        decay=config.decay,
        steps=looks,
        mean=values.mean(3),
        mean_error=values.std(3, ddof=1) / root,
        mean_expected=mean,
        square=(values**2).mean(3),
        square_error=(values**2).std(3, ddof=1) / root,
        square_expected=square,
    )


def _optimizers(rate, decay, start, curvatures):
    """SGD with all averages behind it, and SGD whose rate falls as 1/t."""
    averaged = optim.chain(
        optim.sgd(rate),
        optim.polyak_average(),
        optim.polyak_average(start),
        optim.ema_average(decay),
        optim.ema_average(decay, debias=False),
    )
    # From the same rate on, 1 / (l t) in the end, for the smallest curvature l: with
    # less the flat directions would be left behind.
    slowing = optim.inverse_time_decay(rate, rate * curvatures[-1])
    return averaged, optim.sgd(slowing)


def _over_runs(function, axes):
    """Map over beginnings, seeds and rates; `axes` are those of the rates."""
    outer = tuple(0 if leading else None for leading, _ in axes)
    inner = tuple(0 if over else None for _, over in axes)
    return jax.vmap(jax.vmap(jax.vmap(function, inner), outer), outer)


@jax.jit
def _begin(x, rates, decay, start, noise, curvatures):
    """Both iterates and their states."""
    del noise

    def begin(x, y, rate):
        averaged, slowing = _optimizers(rate, decay, start, curvatures)
        return (x, averaged.init(x)), (y, slowing.init(y))

    return _over_runs(begin, [(True, True), (True, True), (False, True)])(
        x[0], x[1], rates
    )


@jax.jit
def _advance(carry, keys, rates, done, until, decay, start, noise, curvatures):
    """Updates ``done + 1`` to ``until``; both iterates see the same noise."""

    def advance(carry, key, rate):
        optimizers = _optimizers(rate, decay, start, curvatures)

        def update(step, carry):
            drawn = jax.random.normal(jax.random.fold_in(key, step), curvatures.shape)
            moved = []
            for optimizer, (x, state) in zip(optimizers, carry, strict=True):
                gradient = curvatures * x + jnp.sqrt(noise) * drawn
                updates, state = optimizer.update(gradient, state, x)
                moved.append((optim.apply_updates(x, updates), state))
            return tuple(moved)

        return jax.lax.fori_loop(done, until, update, carry)

    return _over_runs(advance, [(True, True), (True, True), (False, True)])(
        carry, keys, rates
    )


@jax.jit
def _values(carry):
    """What is followed, ``(w, 2, s, r, d)``."""
    (x, (_, *averages)), (slowed, _) = carry
    return jnp.stack([x, *(state.average for state in averages), slowed])


def _expected(config, looks, curvatures, rates):
    """Mean and mean square in closed form, ``(w, 2, t, r, d)`` each."""
    ratio = 1 - rates[:, None] * curvatures
    spread = variance(curvatures, rates[:, None], config.noise)
    means, squares = [], []
    for t in looks.tolist():
        late = polyak(ratio, t, config.start) if t > config.start else last(ratio, t)
        moments = [last(ratio, t), polyak(ratio, t, 0), late]
        moments += [ema(ratio, t, config.decay), undebiased(ratio, t, config.decay)]
        kept, added = _slowed(curvatures, rates[:, None], config.noise, t)
        # From x0 the mean is c x0. From stationarity the mean square is that of a
        # stationary sum, v q; from x0 it is v (q - c^2) + c^2 x0^2.
        c = np.stack([each[0] for each in moments] + [kept])
        q = np.stack([each[1] for each in moments] + [kept**2 + added / spread])
        means.append(np.stack([0 * c, c * config.distance], axis=1))
        far = spread * (q - c**2) + c**2 * config.distance**2
        squares.append(np.stack([spread * q, far], axis=1))
    return np.stack(means, axis=2), np.stack(squares, axis=2)


def _slowed(curvatures, rate, noise, steps):
    """With 1/t rate: what is left of the start, and the variance added since."""
    kept, added = np.ones_like(rate * curvatures), np.zeros_like(rate * curvatures)
    for t in range(steps):
        slowed = rate / (1 + rate * curvatures[-1] * t)
        kept = kept * (1 - slowed * curvatures)
        added = added * (1 - slowed * curvatures) ** 2 + slowed**2 * noise
    return kept, added


def scores(result: Result, moment: str, what: str, beginning: str) -> np.ndarray:
    """Differences from the closed form in standard errors, ``(t, r, d)``."""
    pick = NAMES.index(what), BEGINNINGS.index(beginning)
    parts = (getattr(result, moment + end)[pick] for end in ("", "_expected", "_error"))
    measured, expected, error = parts
    scale = result.distance ** (2 if moment == "square" else 1)
    return np.abs(measured - expected) / (error + 1e-12 * scale)


def risk(result: Result, what: str, beginning: str) -> np.ndarray:
    """The measured expected loss, ``(t, r)``."""
    square = result.square[NAMES.index(what), BEGINNINGS.index(beginning)]
    return square @ result.curvatures / 2


def check(result: Result) -> list[Finding]:
    """Each closed form, the limit, and where averaging hurts."""

    def agrees(claim, parts, **labels):
        z = np.concatenate([scores(result, *part).ravel() for part in parts])
        return at_most(
            f"{claim}: difference in standard errors, largest over times, rates and "
            "directions",
            high=largest_z(len(z)),
            measured=np.max(z),
            **labels,
        )

    return [
        agrees(
            "in the stationary state the variance of SGD is a s2 / (l (2 - a l))",
            [("square", "last", "stationary")],
            **AR1,
        ),
        agrees(
            "from there the variance of the mean of n iterates is the sum of the "
            "autocovariances, exactly",
            [("square", "mean", "stationary")],
            **AR1,
        ),
        _limit(result),
        _spread(result),
        agrees(
            "the variance of the exponential average is that of the filtered "
            "autoregression",
            [("square", name, "stationary") for name in ("ema", "ema_undebiased")],
            **AR1,
        ),
        *(
            agrees(
                f"from a distant start {words} has the mean and the mean square of the "
                "closed form",
                [("mean", name, "far"), ("square", name, "far")],
                **AR1,
            )
            for name, words in (
                ("last", "the last iterate"),
                ("mean", "the mean of all iterates"),
                ("late_mean", "the mean of late iterates"),
                ("ema", "the exponential average"),
                ("ema_undebiased", "the exponential average that counts the start"),
                ("decayed", "the iterate with 1/t rate"),
            )
        ),
        *_comparisons(result),
    ]


def _limit(result):
    """The measured variance of the mean, against s2 / (l^2 n)."""
    n = result.steps[-1] + 1
    pick = NAMES.index("mean"), 0, -1
    unit = n * result.curvatures**2 / result.noise
    measured = result.square[pick] * unit  # (r, d)
    # The exact value is below 1 by 2 r (1 - r^n) / ((1 - r^2) n), which is known.
    gap = result.square_expected[pick] * unit - 1
    off = (measured - 1) / (
        np.abs(gap) + largest_z(gap.size) * result.square_error[pick] * unit
    )
    worst = np.unravel_index(np.argmax(np.abs(off)), off.shape)
    return close(
        "the variance of the mean tends to s2 / (l^2 n), whatever the rate: ratio "
        f"after {n - 1} updates, the one farthest off for its standard error",
        expected=1.0,
        measured=measured[worst],
        tolerance=np.abs(measured[worst] - 1) / np.abs(off[worst])
        if off[worst]
        else 0.0,
        **POLYAK,
        note="tolerance: what the exact sum leaves at this n, and standard errors; "
        f"rate {result.rates[worst[0]]:g}, curvature {result.curvatures[worst[1]]:g}",
    )


def _spread(result):
    """The exact formula at very many steps: all rates alike."""
    n, rates = 10**8, result.rates[:, None]
    ratio = 1 - rates * result.curvatures
    stationary = variance(result.curvatures, rates, result.noise)
    value = stationary * polyak(ratio, n - 1, 0)[1]
    value = value * n * result.curvatures**2 / result.noise
    return at_most(
        "in the exact sum nothing of the rate is left for large n: largest relative "
        "difference from s2 / (l^2 n) at n = 1e8",
        high=1e-5,
        measured=np.max(np.abs(value - 1)),
        **POLYAK,
    )


def _comparisons(result):
    """Averages against the last iterate and against a decayed rate."""
    end, early = -1, int(np.argmin(np.abs(result.steps - result.start / 10)))
    here = {"kind": "observation", "source": "this study"}
    mean, late, slowed, final = (
        risk(result, name, "far") for name in ("mean", "late_mean", "decayed", "last")
    )
    return [
        at_most(
            "at the end averaging has lowered the loss: late mean over last iterate, "
            "largest over rates",
            high=0.5,
            measured=np.max(late[end] / final[end]),
            **here,
        ),
        at_least(
            "averaging hurts where the start is not forgotten: mean of all iterates "
            f"over last iterate after {result.steps[early]} updates, least over rates",
            low=1.0,
            measured=np.min(mean[early] / final[early]),
            **here,
        ),
        at_least(
            "at the end the start still weighs: mean of all iterates over late mean, "
            "least over rates",
            low=1.0,
            measured=np.min(mean[end] / late[end]),
            **here,
        ),
        at_least(
            "at equal budget a rate that falls as 1 / (l t), l the smallest curvature, "
            "does no better: loss over that of the late mean, least over rates",
            low=1.0,
            measured=np.min(slowed[end] / late[end]),
            **here,
            note="mean square along the flattest and the steepest direction: "
            + ", ".join(
                f"{ratio[-1]:.3g} and {ratio[0]:.3g} at rate {rate:g}"
                for ratio, rate in zip(
                    result.square[5, 1, -1] / result.square[2, 1, -1],
                    result.rates,
                    strict=True,
                )
            ),
        ),
    ]


def plot(result: Result) -> dict[str, Plot]:
    """Expected loss over time; variance of the mean in units of its limit."""
    return {"loss": _plot_loss(result), "variance": _plot_variance(result)}


def _plot_loss(result):
    """From far away, at the middle rate."""
    drawn, axes = figure()
    row = len(result.rates) // 2
    labels = (
        "last iterate",
        "mean of all",
        f"mean from {result.start} on",
        f"exponential, {result.decay:g}",
        "the same, start counted",
        "rate falling as 1/t",
    )
    colors = (GRAY, BLUE, VERMILLION, GREEN, ORANGE, "black")
    for what, (label, color) in enumerate(zip(labels, colors, strict=True)):
        exact = result.square_expected[what, 1, :, row] @ result.curvatures / 2
        axes.plot(result.steps, exact, color=color, lw=0.9)
        seen = risk(result, NAMES[what], "far")[:, row]
        axes.plot(result.steps, seen, "o", color=color, label=label)
    axes.set(xscale="log", yscale="log", xlabel="update", ylabel="expected loss")
    axes.legend()
    late, final = (risk(result, name, "far")[-1, row] for name in ("late_mean", "last"))
    return Plot(
        drawn,
        caption="SGD on a noisy quadratic from a distant start, at rate "
        f"{result.rates[row]:g}: points are means over runs, lines join the closed "
        "forms at the same times. Until it starts, a late mean is the last iterate.",
        alt="Expected loss against the update, both logarithmic. The last iterate "
        f"falls and then stays at {final:.3g}; the mean of late iterates goes on "
        f"falling, to {late:.3g}; the mean of all iterates lags behind at first.",
    )


def _plot_variance(result):
    """From stationarity, in the flattest and the steepest direction."""
    drawn, axes = figure()
    n = result.steps + 1
    looks = zip(result.rates, (BLUE, VERMILLION, GREEN, ORANGE), strict=False)
    for row, (rate, color) in enumerate(looks):
        for direction, line in ((0, "-"), (-1, "--")):
            unit = n * result.curvatures[direction] ** 2 / result.noise
            exact = result.square_expected[1, 0, :, row, direction] * unit
            seen = result.square[1, 0, :, row, direction] * unit
            axes.plot(result.steps, exact, line, color=color, lw=0.9)
            axes.plot(result.steps, seen, "o", color=color)
        axes.plot([], [], "o-", color=color, label=f"rate {rate:g}")
    axes.axhline(1, color=GRAY, ls=":", lw=0.8)
    axes.set(
        xscale="log",
        xlabel="update",
        ylabel="variance of the mean x n l² / s²",
        ylim=(0, None),
    )
    axes.legend()
    return Plot(
        drawn,
        caption="Variance of the mean of n iterates from stationarity, in units of its "
        "limit: points measured, lines join exact values; solid the steepest "
        "direction, dashed the flattest.",
        alt="Variance of the mean of n iterates times n, in units of gradient noise "
        "over squared curvature, against the update. All curves approach one, "
        "sooner for larger rate times curvature.",
    )


def metrics(result: Result) -> Iterator[dict]:
    """One row for each average and rate, at the end."""
    for what in NAMES:
        for row, rate in enumerate(result.rates):
            yield {
                "part": "quadratic",
                "average": what,
                "rate": float(rate),
                "loss": float(risk(result, what, "far")[-1, row]),
            }
