"""A neuron split in two: the same loss, and an index known beforehand."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.ticker import MaxNLocator

from experiments._figures import Plot, figure
from experiments._findings import Finding, at_most, close
from experiments._sad_points import gaussian, loss
from jaxdl import tree
from jaxdl.landscape import (
    find_critical_points,
    split_inertia,
    split_neuron,
    splitting_matrix,
)


@dataclass(frozen=True)
class Config:
    """Parents are critical points of a tanh network with one hidden unit."""

    starts: int = 40
    """For each problem."""
    problems: int = 4
    """Sets of random targets."""
    examples: int = 12
    """Rows of two inputs."""
    low: float = -0.75
    """The line of mu starts here."""
    high: float = 1.75
    """And ends here."""
    points: int = 21
    """On it; those at 0 and 1 are left out of the claims."""

    def __post_init__(self):
        """Reject what could not be run.

        Raises:
            ValueError: Which field is wrong.
        """
        for name, least in (
            ("starts", 1),
            ("problems", 1),
            ("examples", 4),
            ("points", 3),
        ):
            if getattr(self, name) < least:
                raise ValueError(
                    f"splitting.{name} must be >= {least}, got {getattr(self, name)}"
                )
        if not self.low < 0 < 1 < self.high:
            raise ValueError(
                "splitting.low and splitting.high must hold 0 and 1 between them, got "
                f"{self.low} and {self.high}"
            )


@dataclass(frozen=True)
class Result:
    """One row a parent."""

    mus: np.ndarray  # (m,)
    losses: np.ndarray  # (p,) of the parents
    parents: np.ndarray  # (p,) index
    signature: np.ndarray  # (p, 2) negative and positive eigenvalues of S
    measured: np.ndarray  # (p, m) index of the wider network, by its exact Hessian
    predicted: np.ndarray  # (p, m)
    gradients: np.ndarray  # (p, m) norms
    change: np.ndarray  # (p, m) of the loss


def work(config: Config) -> float:
    """Seconds this takes, roughly, on two cores."""
    return 8 + config.problems * (2 + config.starts * 0.01)


def run(config: Config, key: jax.Array, tick: Callable[[float], object]) -> Result:
    """Find parents, split them, count."""
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    mus = np.linspace(config.low, config.high, config.points)
    rows = []
    for _ in range(config.problems):
        x = rng.normal(size=(config.examples, 2))
        hidden = np.tanh(2 * x @ rng.normal(size=(2, 3)) + rng.normal(size=3))
        batch = x, hidden @ rng.normal(size=3)
        objective = partial(loss, batch=batch)
        starts = gaussian(rng, 2, 1, config.starts)
        found = jax.tree.map(
            np.asarray, find_critical_points(objective, starts, "levenberg_marquardt")
        )
        with jax.enable_x64(True):
            rows += _children(objective, found, mus)
        tick(1 / config.problems)
    shapes = [(), (), (2,), *[(len(mus),)] * 4]
    columns = [
        np.array([row[i] for row in rows]).reshape(len(rows), *shape)
        for i, shape in enumerate(shapes)
    ]
    return Result(mus, *columns)


def _children(objective, found, mus):
    """One row for each nondegenerate parent of its loss."""

    @jax.jit
    def along(params):
        def one(mu):
            wider = split_neuron(params, 0, mu)
            flat, unravel = tree.ravel(wider)
            matrix = jax.hessian(lambda v: objective(unravel(v)))(flat)
            added = split_inertia(objective, params, 0, mu, threshold=1e-10)
            return (
                jnp.linalg.eigvalsh(matrix),
                added.negative,
                tree.norm(jax.grad(objective)(wider)),
                objective(wider) - objective(params),
            )

        spectra = jax.vmap(one)(jnp.asarray(mus))
        return *spectra, jnp.linalg.eigvalsh(splitting_matrix(objective, params, 0))

    sizes = np.abs(found.eigenvalues)
    clean = found.critical & np.all(sizes > 1e-6, axis=1)
    chosen = {round(float(found.loss[i]), 7): i for i in np.flatnonzero(clean)}
    rows = []
    for i in chosen.values():
        params = jax.tree.map(lambda leaf, i=i: jnp.asarray(leaf[i]), found.points)
        values, added, gradients, change, s = map(np.asarray, along(params))
        if np.min(np.abs(s)) < 1e-6:
            continue  # too near to where the counts change
        before = int(found.negative[i])
        rows.append((
            float(found.loss[i]),
            before,
            (np.sum(s < 0), np.sum(s > 0)),
            np.sum(values < -1e-10, axis=1),
            before + added,
            gradients,
            change,
        ))
    return rows


def inside(mus: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which points lie between 0 and 1, and which outside; those on the ends nowhere.

    Args:
        mus: ``(m,)``.

    Returns:
        Two masks, ``(m,)``.
    """
    return (mus > 1e-9) & (mus < 1 - 1e-9), (mus < -1e-9) | (mus > 1 + 1e-9)


def check(result: Result) -> list[Finding]:
    """The counts add up, and S decides."""
    theory = {
        "kind": "theorem",
        "source": "Fukumizu, Amari (2000); Simsek et al. (2021), "
        "https://arxiv.org/abs/2105.12221",
    }
    between, beyond = inside(result.mus)
    used = between | beyond
    by_hand = np.where(between[None], result.signature[:, :1], result.signature[:, 1:])
    law = result.parents[:, None] + by_hand
    return [
        at_most(
            "splitting a neuron of a critical point changes neither the loss nor that "
            "the gradient is zero: largest gradient norm",
            high=1e-9,
            measured=np.max(result.gradients, initial=0),
            **theory,
            note=f"largest change of the loss "
            f"{np.max(np.abs(result.change), initial=0):.2g}; "
            f"{len(result.parents)} parents",
        ),
        close(
            "the index grows by the negative eigenvalues of S between mu = 0 and 1 and "
            "by the positive ones outside: points on the lines where it does not",
            expected=0,
            measured=int(np.sum((result.measured != law)[:, used])),
            tolerance=0,
            **theory,
            note=f"{int(np.sum(used)) * len(law)} points",
        ),
        close(
            "the block of the Hessian predicts the same: points where it does not",
            expected=0,
            measured=int(np.sum((result.measured != result.predicted)[:, used])),
            tolerance=0,
            **theory,
        ),
    ]


def plot(result: Result) -> Plot:
    """The index along each line."""
    drawn, axes = figure()
    between, beyond = inside(result.mus)
    used = np.where(between | beyond, 1.0, np.nan)
    for row, (loss_, line) in enumerate(
        zip(result.losses, result.measured, strict=True)
    ):
        axes.plot(
            result.mus,
            (line + 0.04 * row) * used,
            "o-",
            ms=3,
            label=f"loss {loss_:.3g}",
        )
    axes.set(xlabel="mu", ylabel="negative eigenvalues, shifted a little")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    if len(result.losses) <= 8:
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return Plot(
        drawn,
        caption="The index of a network whose one neuron was split, along the line of "
        "equal functions; each curve a parent.",
        alt=f"{len(result.losses)} curves that jump where mu is 0 and 1 and are "
        "constant elsewhere.",
    )


def metrics(result: Result) -> Iterator[dict]:
    """One row a parent."""
    between, beyond = inside(result.mus)
    for i, loss_ in enumerate(result.losses):
        yield {
            "part": "splitting",
            "loss": float(loss_),
            "index": int(result.parents[i]),
            "between": int(result.measured[i][between][0]),
            "outside": int(result.measured[i][beyond][0]),
        }
