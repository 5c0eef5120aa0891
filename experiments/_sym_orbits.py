"""Means of networks that are all the same function."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from experiments._figures import BLUE, GRAY, VERMILLION, Plot, band, figure
from experiments._findings import Finding, at_least, at_most
from jaxdl import data, losses, optim, train
from jaxdl.landscape import (
    act,
    mlp_symmetry,
    orbit_average,
    random_element,
    sampled_orbit_average,
)
from jaxdl.models import mlp


@dataclass(frozen=True)
class Config:
    """ReLU networks on digits, cross-entropy."""

    n_train: int = 300
    """Training rows."""
    hidden: tuple[int, ...] = (16, 8)
    """Units of each hidden layer."""
    seeds: int = 6
    """Initial weights."""
    steps: int = 300
    """Updates of full-batch Adam at rate 0.01."""
    most: int = 64
    """Members of the orbit in the largest mean: powers of two up to this."""

    def __post_init__(self):
        """Reject what could not be run.

        Raises:
            ValueError: Which field is wrong.
        """
        for name in ("n_train", "seeds", "steps"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"orbits.{name} must be >= 1, got {getattr(self, name)}"
                )
        if not self.hidden or min(self.hidden) < 2:
            raise ValueError(f"orbits.hidden must be >= 2, got {self.hidden}")
        if self.most < 2:
            raise ValueError(f"orbits.most must be >= 2, got {self.most}")


@dataclass(frozen=True)
class Result:
    """One row a seed."""

    members: np.ndarray  # (m,) networks in a mean
    losses: np.ndarray  # (s, m) of the mean
    exact: np.ndarray  # (s,) of the mean over the whole orbit
    errors: np.ndarray  # (s, 2) misclassified: by the network, by the exact mean
    spread: np.ndarray  # (s,) largest relative change of the loss within the orbit


def work(config: Config) -> float:
    """Seconds this takes, roughly, on two cores."""
    return 5 + config.seeds * config.steps * config.n_train * 1e-6


def run(config: Config, key: jax.Array, tick: Callable[[float], object]) -> Result:
    """Train all seeds as one, then take means over more and more of each orbit."""
    row_key, init_key, mean_key = jax.random.split(key, 3)
    table = data.digits()
    order = np.asarray(jax.random.permutation(row_key, len(table.x)))
    rows = order[: config.n_train]
    x = jnp.asarray(table.x[rows])
    y = jnp.asarray(table.y[rows].astype(np.int32))
    keys = jax.random.split(init_key, config.seeds)
    sizes = (64, *config.hidden, 10)
    params = jax.vmap(lambda key: mlp.init(key, sizes))(keys)
    fitted = train.fit_ensemble(
        keys, _supervised, params, optim.adam(0.01), (x, y), steps=config.steps
    ).params
    tick(0.5)
    symmetry = mlp_symmetry(jax.tree.map(lambda leaf: leaf[0], params), "relu")
    members = 2 ** np.arange(int(math.log2(config.most)) + 1)

    def evaluate(params):
        outputs = jax.vmap(mlp.apply, (None, 0))(params, x)
        return (
            jnp.mean(jax.vmap(losses.cross_entropy)(outputs, y)),
            jnp.mean(jax.vmap(losses.misclassified)(outputs, y)),
        )

    def of_one(key, params):
        elements = jax.vmap(random_element, (0, None))(
            jax.random.split(key, 8), symmetry
        )
        moved = jax.vmap(act, (None, 0, None))(symmetry, elements, params)
        loss, error = evaluate(params)
        mean_loss, mean_error = evaluate(orbit_average(symmetry, params))
        means = [
            evaluate(sampled_orbit_average(key, symmetry, params, int(draws)))[0]
            for draws in members[1:]
        ]
        within = jax.vmap(evaluate)(moved)[0]
        spread = jnp.max(jnp.abs(within / loss - 1))
        return (
            jnp.stack([loss, *means]),
            mean_loss,
            jnp.stack([error, mean_error]),
            spread,
        )

    mean_keys = jax.random.split(mean_key, config.seeds)
    found = jax.jit(jax.vmap(of_one))(mean_keys, fitted)
    tick(0.5)
    return Result(members, *map(np.asarray, found))


_supervised = train.supervised(mlp.apply, losses.cross_entropy)


def check(result: Result) -> list[Finding]:
    """A mean of equal networks is worse than each of them."""
    rise = result.losses[:, 1] - result.losses[:, 0]
    return [
        at_most(
            "all members of an orbit have one loss: largest relative difference",
            high=1e-3,
            measured=np.max(result.spread),
            kind="theorem",
            source="permutations and scales leave the function alone; float32",
        ),
        at_least(
            "the mean of two of them has a higher one, so the loss is not convex: the "
            "least rise over the seeds",
            low=1e-3,
            measured=np.min(rise),
            kind="theorem",
            source="Jensen's inequality would forbid it",
            note=f"median rise {np.median(rise):.3g} from "
            f"{np.median(result.losses[:, 0]):.2g}",
        ),
        at_least(
            "the mean over the whole orbit, all units equal, is worth little: median "
            "loss over log 10, that of guessing",
            low=0.5,
            measured=np.median(result.exact) / math.log(10),
            kind="observation",
            source="this study",
            note=f"it misclassifies {np.median(result.errors[:, 1]):.0%}, the networks "
            f"{np.median(result.errors[:, 0]):.0%} of the training rows",
        ),
    ]


def plot(result: Result) -> Plot:
    """Loss of the mean against how many networks are in it."""
    drawn, axes = figure()
    low, mid, high = np.quantile(result.losses, (0, 0.5, 1), axis=0)
    band(
        axes,
        result.members,
        low,
        mid,
        high,
        color=BLUE,
        marker="o",
        label="mean of so many",
    )
    axes.axhline(
        np.median(result.exact), color=VERMILLION, ls="--", label="mean of the orbit"
    )
    axes.axhline(math.log(10), color=GRAY, lw=0.8, ls=":", label="guessing")
    axes.set(xlabel="networks of one orbit in the mean", ylabel="training loss")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.legend()
    return Plot(
        drawn,
        caption="The loss of the mean of networks that differ by permutations of their "
        "units and are the same function; median and range over seeds.",
        alt="Training loss against the number of networks in the mean, both "
        f"logarithmic: from {mid[0]:.2g} for one network up to {mid[-1]:.2g} for "
        f"{result.members[-1]}; the mean of the whole orbit has "
        f"{np.median(result.exact):.2g}.",
    )


def metrics(result: Result) -> Iterator[dict]:
    """One row a seed."""
    for seed, values in enumerate(result.losses):
        yield {
            "part": "orbits",
            "seed": seed,
            "loss": float(values[0]),
            "loss_of_two": float(values[1]),
            "loss_of_orbit_mean": float(result.exact[seed]),
            "error": float(result.errors[seed, 0]),
            "error_of_orbit_mean": float(result.errors[seed, 1]),
        }
