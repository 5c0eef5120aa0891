"""The picture of a ravine: where each method goes, on the contours of a quadratic."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from experiments._figures import BLACK, GRAY, Plot, figure
from experiments._findings import Finding, relative
from experiments._ravine_descent import COLORS, LABELS, trajectories, tuning
from jaxdl import diagnostics

SHOWN = ("gradient_descent", "best_step", "heavy_ball", "nesterov", "rmsprop", "adam")


@dataclass(frozen=True)
class Config:
    """Two dimensions, a fixed start; nothing is drawn; float64."""

    kappa: float = 20.0
    """Condition number."""
    turn: float = 20.0
    """Angle from the horizontal to the floor of the ravine, in degrees."""
    adaptive_rate: float = 0.08
    """Learning rate of Adam and RMSprop, in units of the way along the floor."""
    steps: int = 30
    """Updates."""

    def __post_init__(self):
        """Reject what could not be run.

        Raises:
            ValueError: Which field is wrong.
        """
        if not 1 < self.kappa < np.inf:
            raise ValueError(f"paths.kappa must be > 1, got {self.kappa}")
        if not -180 <= self.turn <= 180:
            raise ValueError(f"paths.turn must lie in [-180, 180], got {self.turn}")
        if not 0 < self.adaptive_rate < np.inf:
            raise ValueError(
                f"paths.adaptive_rate must be > 0, got {self.adaptive_rate}"
            )
        if self.steps < 2:
            raise ValueError(f"paths.steps must be >= 2, got {self.steps}")


@dataclass(frozen=True)
class Result:
    """Rows are the methods of `SHOWN`."""

    kappa: float
    turn: float
    adaptive_rate: float
    points: np.ndarray  # (m, t, 2)
    directness: np.ndarray  # (m,) distance from first to last over length of path
    zigzag: np.ndarray  # (m,) share of steps that go back


def work(config: Config) -> float:
    """Seconds this takes, roughly, on two cores."""
    return 3 + 1e-5 * config.steps


def run(config: Config, key: jax.Array, tick: Callable[[float], object]) -> Result:
    """The key is not used."""
    del key
    hessian, start, _ = _ravine(config.kappa, config.turn)
    rows, looks = [], []
    with jax.enable_x64(True):
        for name in SHOWN:
            path = trajectories(
                name,
                jnp.asarray(hessian)[None],
                jnp.asarray(start)[None],
                *tuning(name, config.kappa, config.adaptive_rate),
                config.steps,
            )[0]
            look = diagnostics.path(path)
            rows.append(np.asarray(path))
            looks.append((float(look.directness), float(look.zigzag)))
            tick(1 / len(SHOWN))
    directness, zigzag = np.array(looks).T
    return Result(
        config.kappa,
        config.turn,
        config.adaptive_rate,
        np.stack(rows),
        directness,
        zigzag,
    )


def _ravine(kappa, turn):
    """Hessian, start, and axes: the first column along the floor."""
    angle = np.deg2rad(turn)
    axes = np.array([
        [np.cos(angle), -np.sin(angle)],
        [np.sin(angle), np.cos(angle)],
    ])
    return axes @ np.diag([1 / kappa, 1.0]) @ axes.T, axes @ [-1.0, 0.3], axes


def check(result: Result) -> list[Finding]:
    """The zigzag of gradient descent at its best step."""
    *_, axes = _ravine(result.kappa, result.turn)
    row = SHOWN.index("best_step")
    across, along = result.points[row] @ axes[:, 1], result.points[row] @ axes[:, 0]
    rate = (result.kappa - 1) / (result.kappa + 1)
    ratios = np.concatenate([across[1:] / across[:-1], -along[1:] / along[:-1]])
    return [
        relative(
            "gradient descent at 2 / (L + mu) crosses the ravine at every step and "
            "shrinks both axes by (kappa - 1) / (kappa + 1): factor across, and minus "
            "that along, farthest over steps",
            measured=ratios[np.argmax(np.abs(ratios + rate))],
            expected=-rate,
            tolerance=1e-9,
            kind="closed form",
            source="1 - rate lambda at both ends of the spectrum",
        )
    ]


def plot(result: Result) -> Plot:
    """One panel a method."""
    hessian, start, axes_of = _ravine(result.kappa, result.turn)
    drawn, panels = figure(2, 3, height=4.6, sharex=True, sharey=True)
    reach = 1.25 * np.max(np.abs(start))
    x = np.linspace(-reach, 0.55 * reach, 240)
    y = np.linspace(-0.75 * reach, 0.6 * reach, 240)
    grid = np.stack(np.meshgrid(x, y), -1)
    height = np.einsum("abi,ij,abj->ab", grid, hessian, grid) / 2
    levels = np.geomspace(np.max(height) / 3000, np.max(height), 12)
    floor = np.outer(np.array([-2, 2]), axes_of[:, 0])
    for row, (name, panel) in enumerate(zip(SHOWN, panels.flat, strict=True)):
        panel.contour(x, y, height, levels, colors=GRAY, linewidths=0.4, alpha=0.7)
        panel.plot(*floor.T, color=GRAY, ls=":", lw=0.6)
        panel.plot(*result.points[row].T, ".-", color=COLORS[name], lw=1.1, ms=4)
        panel.plot(*start, "o", color=COLORS[name], mfc="white", ms=5)
        panel.plot(0, 0, "+", color=BLACK, ms=8, zorder=5)
        panel.set(
            aspect="equal",
            title=LABELS[name],
            xticks=(),
            yticks=(),
            xlim=(x[0], x[-1]),
            ylim=(y[0], y[-1]),
        )
        panel.spines[["left", "bottom"]].set_visible(False)
    ends = np.linalg.norm(result.points[:, -1], axis=1) / np.linalg.norm(start)
    return Plot(
        drawn,
        caption=f"A ravine of condition number {result.kappa:g}: "
        f"{result.points.shape[1] - 1} steps from the circle towards the cross. "
        "Dotted: its floor; contours at heights in equal ratios. Adam and RMSprop "
        f"have a learning rate of {result.adaptive_rate:g}. A Newton step leads to "
        "the cross at once.",
        alt="Six paths over the contours of a narrow valley. Distance left, over that "
        "at the start, and share of steps that turn back: "
        + "; ".join(
            f"{LABELS[name]} {ends[row]:.2g}, {result.zigzag[row]:.2g}"
            for row, name in enumerate(SHOWN)
        )
        + ".",
    )


def metrics(result: Result) -> Iterator[dict]:
    """One row a method."""
    for row, name in enumerate(SHOWN):
        yield {
            "part": "paths",
            "method": name,
            "directness": float(result.directness[row]),
            "zigzag": float(result.zigzag[row]),
            "left": float(np.linalg.norm(result.points[row, -1])),
        }
