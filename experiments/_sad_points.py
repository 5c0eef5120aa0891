"""Critical points of small tanh networks: XOR, and a regression with noise."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.ticker import MaxNLocator

from experiments._figures import BLUE, GRAY, PALETTE, Plot, figure
from experiments._findings import Finding, at_least, between, close
from jaxdl import tree
from jaxdl.landscape import find_critical_points, mlp_symmetry, slice_2d
from jaxdl.landscape.critical_points import MethodName
from jaxdl.models import mlp
from jaxdl.nn import Dense

METHODS: tuple[MethodName, ...] = (
    "newton_trust_region",
    "gradient_norm",
    "newton_minres",
    "levenberg_marquardt",
)
XOR = np.array([[0, 0], [0, 1], [1, 0], [1, 1.0]]), np.array([0, 1, 1, 0.0])


@dataclass(frozen=True)
class Config:
    """Searches from Gaussian starts, in float64."""

    starts: int = 256
    """A method and network."""
    examples: int = 12
    """Of the regression."""
    width: int = 2
    """Hidden units there."""
    grid: int = 41
    """Points on a side of the surface around a saddle."""

    def __post_init__(self):
        """Reject what could not be run.

        Raises:
            ValueError: Which field is wrong.
        """
        for name, least in (("starts", 2), ("examples", 4), ("width", 1), ("grid", 3)):
            if getattr(self, name) < least:
                raise ValueError(
                    f"points.{name} must be >= {least}, got {getattr(self, name)}"
                )


@dataclass(frozen=True)
class Result:
    """One row a search: a method on XOR 2-2-1, then XOR 2-3-1 and the regression."""

    names: list[str]  # of the searches
    status: np.ndarray  # (r, n) 0 critical, 1 stalled, 2 diverged
    losses: np.ndarray  # (r, n)
    negative: np.ndarray  # (r, n), -1 where not critical
    zero: np.ndarray  # (r, n)
    gradients: np.ndarray  # (r, n) norms
    recheck: np.ndarray  # (r,) largest gradient norm of a critical point, by hand
    grid: np.ndarray  # (g,) steps along both axes
    surface: np.ndarray  # (g, g) loss around a saddle of the regression
    curvatures: np.ndarray  # (2,) along the axes


def work(config: Config) -> float:
    """Seconds this takes, roughly, on two cores."""
    return 20 + config.starts * 0.01


def loss(params, batch):
    """Half the mean squared error of one output.

    Args:
        params: Of a tanh network.
        batch: Inputs ``(n, d)`` and targets ``(n,)``.

    Returns:
        ``()``.
    """
    x, y = batch
    outputs = jax.vmap(lambda x: mlp.apply(params, x, activation=jnp.tanh))(x)
    return jnp.mean((outputs[:, 0] - y) ** 2) / 2


def gaussian(rng: np.random.Generator, inputs: int, width: int, n: int):
    """Standard normal parameters of n networks.

    Args:
        rng: NumPy's generator.
        inputs: Of the network.
        width: Hidden units.
        n: Networks.

    Returns:
        Layers with a leading axis.
    """

    def draw(*shape: int) -> Any:
        return rng.normal(size=(n, *shape))

    return Dense(draw(inputs, width), draw(width)), Dense(draw(width, 1), draw(1))


def run(config: Config, key: jax.Array, tick: Callable[[float], object]) -> Result:
    """Search, then look at one saddle."""
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    x = rng.normal(size=(config.examples, 2))
    smooth = np.tanh(2 * x @ rng.normal(size=(2, 3)) + rng.normal(size=3))
    regression = x, smooth @ np.array([1, -0.6, 0.8]) + 0.1 * rng.normal(size=len(x))
    searches: list[tuple[str, Any, int, MethodName]] = [
        (f"2-2-1 {method}", XOR, 2, method) for method in METHODS
    ]
    searches += [
        ("2-3-1 levenberg_marquardt", XOR, 3, METHODS[-1]),
        (f"regression {config.width}", regression, config.width, METHODS[-1]),
    ]
    found, checks = [], []
    for _, batch, width, method in searches:
        starts = gaussian(rng, 2, width, config.starts)
        symmetry = mlp_symmetry(jax.tree.map(lambda a: a[0], starts), "tanh")
        points = find_critical_points(
            partial(loss, batch=batch), starts, method, symmetry=symmetry
        )
        points = jax.tree.map(np.asarray, points)
        found.append(points)
        checks.append(_recheck(points, batch))
        tick(0.9 / len(searches))
    grid = np.linspace(-1, 1, config.grid)
    surface, curvatures = _surface(found[-1], regression, grid)
    tick(0.1)
    return Result(
        names=[name for name, *_ in searches],
        status=np.stack([f.status for f in found]),
        losses=np.stack([f.loss for f in found]),
        negative=np.stack([f.negative for f in found]),
        zero=np.stack([f.zero for f in found]),
        gradients=np.stack([f.gradient_norm for f in found]),
        recheck=np.array(checks),
        grid=grid,
        surface=surface,
        curvatures=curvatures,
    )


def _recheck(found, batch) -> float:
    """Gradients of the critical points, by back-propagation in NumPy."""
    (w, b), (a, c) = found.points
    x, y = batch
    t = np.tanh(np.einsum("nd,sdh->snh", x, w) + b[:, None])
    r = (np.einsum("snh,sh->sn", t, a[:, :, 0]) + c - y) / len(y)
    dz = r[:, :, None] * a[:, None, :, 0] * (1 - t**2)
    squares = (
        np.sum(np.einsum("nd,snh->sdh", x, dz) ** 2, axis=(1, 2))
        + np.sum(np.sum(dz, axis=1) ** 2, axis=1)
        + np.sum(np.einsum("snh,sn->sh", t, r) ** 2, axis=1)
        + np.sum(r, axis=1) ** 2
    )
    return float(np.sqrt(np.max(squares[found.critical], initial=0)))


def _surface(found, batch, grid):
    """Losses around the lowest saddle, in the plane of two eigenvectors."""
    with jax.enable_x64(True):
        chosen = np.lexsort((found.loss, found.negative <= 0))[0]
        params = jax.tree.map(lambda leaf: jnp.asarray(leaf[chosen]), found.points)
        flat, unravel = tree.ravel(params)
        matrix = jax.jit(jax.hessian(lambda v: loss(unravel(v), batch)))(flat)
        values, vectors = np.linalg.eigh(matrix)
        pair = unravel(jnp.asarray(vectors[:, -1])), unravel(jnp.asarray(vectors[:, 0]))
        # A step of 1 along an axis changes the loss by about a tenth of what it is.
        spans = [
            min(1.0, float(np.sqrt(0.2 * found.loss[chosen] / max(abs(v), 1e-6))))
            for v in (values[-1], values[0])
        ]
        pair = tuple(tree.scale(s, d) for s, d in zip(spans, pair, strict=True))
        values = np.array([values[-1], values[0]]) * np.square(spans)
        sheet = jax.jit(
            lambda p: slice_2d(
                partial(loss, batch=batch), p, pair, grid, grid, batch_size=64
            )
        )(params)
        return np.asarray(sheet), values


def check(result: Result) -> list[Finding]:
    """Certificates, and what XOR is known for."""
    critical = result.status == 0
    xor = [i for i, name in enumerate(result.names) if name.startswith("2-2-1")]
    strict = (result.negative == 0) & (result.zero == 0) & (result.losses > 1e-9)
    plateau = critical & (np.abs(result.losses - 0.125) > 1e-9) & (result.losses > 1e-9)
    row = result.names.index("2-3-1 levenberg_marquardt")
    last = critical[-1]
    pair = result.losses[-1][last], result.negative[-1][last]
    together = np.corrcoef(*pair)[0, 1] if all(np.ptp(v) > 0 for v in pair) else np.nan
    return [
        between(
            "back-propagation by hand confirms all critical points: largest gradient "
            "norm",
            low=0,
            high=1e-10,
            measured=np.max(result.recheck),
            kind="theorem",
            source="critical means a gradient norm of at most 1e-10",
        ),
        close(
            "XOR 2-2-1 has no bad strict local minimum at finite weights: how many the "
            "searches found",
            expected=0,
            measured=int(np.sum(strict[xor])),
            tolerance=0,
            kind="observation",
            source="this study, as proved for a sigmoid output by Hamey (1998), XOR "
            "has no local minima, Neural Networks 11(4), 669-681",
        ),
        close(
            "all its critical points have the loss of the constant 1/2, or none: "
            "others",
            expected=0,
            measured=int(np.sum(plateau[xor])),
            tolerance=0,
            kind="observation",
            source="this study",
        ),
        at_least(
            "a small gradient is no certificate: points on XOR 2-2-1 with a gradient "
            "norm below 1e-10 that are not critical",
            low=1,
            measured=int(np.sum((result.gradients < 1e-10)[xor] & ~critical[xor])),
            kind="observation",
            source="this study; saturated units on their way to infinity",
            note=", ".join(
                f"{name.split()[1]}: {np.mean(critical[i]):.0%} critical"
                for i, name in enumerate(result.names[: len(xor)])
            ),
        ),
        at_least(
            "XOR 2-3-1: share of the starts that end at a critical point",
            low=0.3,
            measured=np.mean(critical[row]),
            kind="observation",
            source="this study",
            note=f"strict minima above zero among them: {int(np.sum(strict[row]))}",
        ),
        at_least(
            "in the regression the index rises with the loss: correlation of the two",
            low=0,
            measured=together,
            kind="observation",
            source="this study, as in Dauphin et al. (2014), "
            "https://arxiv.org/abs/1406.2572",
        ),
    ]


def plot(result: Result) -> dict[str, Plot]:
    """Index against loss, and the surface around a saddle."""
    drawn, axes = figure()
    for name, row, color in (
        ("XOR 2-3-1", -2, PALETTE[1]),
        ("regression", -1, BLUE),
    ):
        critical = result.status[row] == 0
        axes.plot(
            np.maximum(result.losses[row][critical], 1e-4),
            result.negative[row][critical],
            "o",
            color=color,
            alpha=0.4,
            label=name,
        )
    axes.set(xlabel="loss (1e-4 and less at the left)", ylabel="negative eigenvalues")
    axes.set_xscale("log")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend()
    sheet, plane = figure()
    middle = len(result.grid) // 2
    above = result.surface.T - result.surface[middle, middle]
    # As far above the saddle as the surface falls below it: the rest is a wall.
    reach = max(float(-above.min()), 1e-12)
    lines = plane.contourf(
        result.grid, result.grid, above, levels=np.linspace(-reach, reach, 21),
        cmap="RdBu_r", extend="both",
    )  # fmt: skip
    plane.contour(
        result.grid, result.grid, above, levels=[0.0], colors=[GRAY], linewidths=1
    )
    sheet.colorbar(lines, ax=plane, label="loss less that at the saddle", format="%.1e")
    plane.plot(0, 0, "k+")
    plane.set(xlabel="along the largest curvature", ylabel="along the most negative")
    return {
        "points": Plot(
            drawn,
            caption="Critical points found, each with a certificate: the index against "
            "the loss.",
            alt="Scatter of negative eigenvalues, from 0 to "
            f"{np.max(result.negative[-2:])}, against loss.",
        ),
        "surface": Plot(
            sheet,
            caption="The loss around a saddle of the regression, in the plane of the "
            "two extreme eigenvectors; a step of 1 changes the quadratic form by a "
            "tenth of the loss, or is 1 long.",
            alt="Contour lines around a saddle, with curvatures "
            f"{result.curvatures[0]:.2g} and {result.curvatures[1]:.2g}.",
        ),
    }


def metrics(result: Result) -> Iterator[dict]:
    """One row a search."""
    for name, status, negative in zip(
        result.names, result.status, result.negative, strict=True
    ):
        yield {
            "part": "points",
            "search": name,
            "critical": int(np.sum(status == 0)),
            "stalled": int(np.sum(status == 1)),
            "diverged": int(np.sum(status == 2)),
            "largest_index": int(np.max(negative)),
        }
