"""What Adam and RMSprop are blind to: the scale of each axis, not its direction."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from experiments._figures import BLACK, Plot, figure
from experiments._findings import Finding, at_least, at_most, relative
from experiments._ravine_descent import COLORS, trajectories

NAMES = {
    "gradient_descent": "gradient descent",
    "heavy_ball": "momentum 0.9",
    "rmsprop": "RMSprop",
    "adam": "Adam",
}
ADAPTIVE = ("rmsprop", "adam")
_LOWEST = 1e-6
"""The lower end of the distances drawn."""


@dataclass(frozen=True)
class Config:
    """A bowl, the ravine that rescaling its axes makes of it, and that one turned.

    Gradient descent and momentum run at rate 1 / L; eps is 0; float64.
    """

    dim: int = 10
    """Dimensions."""
    kappa: float = 1000.0
    """Condition number of the ravine; that of the bowl is 1."""
    rate: float = 0.01
    """Learning rate of Adam and RMSprop."""
    steps: int = 2000
    """Updates."""
    seeds: int = 10
    """Draws of the starting point, on the unit sphere, and of the turn."""
    angles: int = 19
    """Turns of a ravine in two dimensions, from 0 to 90 degrees."""

    def __post_init__(self):
        """Reject what could not be run.

        Raises:
            ValueError: Which field is wrong.
        """
        for name in ("dim", "steps", "seeds", "angles"):
            if getattr(self, name) < 2:
                raise ValueError(f"axes.{name} must be >= 2, got {getattr(self, name)}")
        if not 1 < self.kappa < np.inf:
            raise ValueError(f"axes.kappa must be > 1, got {self.kappa}")
        if not 0 < self.rate < np.inf:
            raise ValueError(f"axes.rate must be > 0, got {self.rate}")


@dataclass(frozen=True)
class Result:
    """Rows are the methods of `NAMES`; changes are over the distance at the start."""

    kappa: float
    rate: float
    dim: int
    scaling: np.ndarray  # (m, s) largest change of the path by rescaling the axes
    turning: np.ndarray  # (m, s) by turning them, seen in the turned axes
    bowl: np.ndarray  # (m, s, t) distance to the minimum
    aligned: np.ndarray  # (m, s, t) in the ravine along the axes
    turned: np.ndarray  # (m, s, t) in the turned ravine
    angles: np.ndarray  # (a,) degrees
    left: np.ndarray  # (m, a) distance after the last step in two dimensions


def work(config: Config) -> float:
    """Seconds this takes, roughly, on two cores."""
    return 5 + 6e-7 * config.steps * (3 * config.seeds + config.angles) * config.dim


def run(config: Config, key: jax.Array, tick: Callable[[float], object]) -> Result:
    """One method at a time, from the same points."""
    start_key, turn_key = jax.random.split(key)
    shape = (config.seeds, config.dim)
    rows = []
    with jax.enable_x64(True):
        starts = jax.random.normal(start_key, shape)
        starts /= jnp.linalg.norm(starts, axis=1, keepdims=True)
        turns, _ = jnp.linalg.qr(jax.random.normal(turn_key, (*shape, config.dim)))
        degrees = np.linspace(0, 90, config.angles)
        for name in NAMES:
            rows.append(_paths(config, name, starts, turns))
            rows[-1]["left"] = _at_angles(config, name, degrees)
            tick(1 / len(NAMES))
    return Result(
        kappa=config.kappa,
        rate=config.rate,
        dim=config.dim,
        angles=degrees,
        **{name: np.stack([row[name] for row in rows]) for name in rows[0]},
    )


def _paths(config, name, starts, turns):
    """Paths on the bowl and on both ravines, in the axes of the curvature."""
    spectrum = jnp.geomspace(1, 1 / config.kappa, config.dim)
    cases = {
        "bowl": (
            jnp.ones_like(spectrum),
            jnp.broadcast_to(jnp.eye(config.dim), turns.shape),
        ),
        "aligned": (spectrum, jnp.broadcast_to(jnp.eye(config.dim), turns.shape)),
        "turned": (spectrum, turns),
    }
    paths = {
        label: _descend(config, name, values, axes, starts)
        for label, (values, axes) in cases.items()
    }
    distances = {label: np.linalg.norm(path, axis=2) for label, path in paths.items()}

    def change(one, other):
        return np.max(np.linalg.norm(paths[one] - paths[other], axis=2), axis=1)

    return distances | {
        "scaling": change("bowl", "aligned"),
        "turning": change("aligned", "turned"),
    }


def _at_angles(config, name, degrees):
    """How far from the minimum a ravine of two dimensions leaves one, at each turn."""
    angle = jnp.deg2rad(degrees)
    cosine, sine = jnp.cos(angle), jnp.sin(angle)
    axes = jnp.stack([jnp.stack([cosine, -sine], 1), jnp.stack([sine, cosine], 1)], 1)
    starts = jnp.full((len(degrees), 2), np.sqrt(0.5))
    values = jnp.array([1, 1 / config.kappa])
    path = _descend(config, name, values, axes, starts)
    return np.linalg.norm(path[:, -1], axis=1)


def _descend(config, name, spectrum, axes, starts):
    """Paths ``(s, t, d)`` in the axes of the curvature, from starts given in them."""
    hessians = jnp.einsum("sij,j,skj->sik", axes, spectrum, axes)
    points = jnp.einsum("sij,sj->si", axes, starts)
    rate = config.rate if name in ADAPTIVE else 1.0
    path = trajectories(name, hessians, points, rate, 0.9, config.steps, eps=0.0)
    return np.asarray(jnp.einsum("sti,sij->stj", path, axes))


def check(result: Result) -> list[Finding]:
    """Who sees the scale of the axes, and who their direction."""
    exact = {"kind": "theorem"}
    findings = []
    for row, (name, label) in enumerate(NAMES.items()):
        adaptive = name in ADAPTIVE
        same = "scaling" if adaptive else "turning"
        other = "turning" if adaptive else "scaling"
        words = {"scaling": "rescaling the axes", "turning": "turning the axes"}
        source = (
            "g / sqrt(mean of g^2) of each coordinate; Kingma and Ba (2015), "
            "https://arxiv.org/abs/1412.6980, section 2.1"
            if adaptive
            else "the update is linear in the gradient, and Q' Q = I"
        )
        findings += [
            at_most(
                f"{label}: {words[same]} leaves the path as it is: largest change, "
                "over the distance at the start, over steps and seeds",
                measured=np.max(getattr(result, same)[row]),
                high=1e-9,
                source=source,
                **exact,
                note=f"kappa = {result.kappa:g}; "
                + ("curvatures multiplied, eps = 0" if adaptive else "in those axes"),
            ),
            at_least(
                f"{label}: {words[other]} does not: largest change over steps, least "
                "over seeds",
                measured=np.min(getattr(result, other)[row]),
                low=0.1,
                kind="observation",
                source="this study",
            ),
        ]
    adam = list(NAMES).index("adam")
    rms = list(NAMES).index("rmsprop")
    slower = _steps_to(result.turned[adam], 0.1) / _steps_to(result.aligned[adam], 0.1)
    return [
        *findings,
        at_least(
            "turning the axes of a ravine slows Adam: steps to a tenth of the "
            "distance, turned over aligned, median over seeds",
            measured=np.median(slower),
            low=2.0,
            kind="observation",
            source="this study",
            note="a run that does not get there counts with its last step",
        ),
        relative(
            "RMSprop along the axes ends in a jump of one learning rate to and fro: "
            "distance at the end, median over seeds",
            measured=np.median(result.aligned[rms, :, -1]),
            expected=result.rate * np.sqrt(result.dim) / 2,
            tolerance=1e-6,
            kind="closed form",
            source="rate / 2 in each coordinate: a gradient of constant size makes "
            "steps of rate",
        ),
    ]


def _steps_to(distances, goal):
    """First step at or below the goal, ``(s,)``; the last one where there is none."""
    reached = distances <= goal
    last = distances.shape[1] - 1
    return np.where(reached.any(1), reached.argmax(1), last).clip(1)


def plot(result: Result) -> Plot:
    """Distances of one seed, aligned and turned; and what each angle leaves."""
    drawn, (left, right) = figure(1, 2)
    for row, name in enumerate(NAMES):
        color = COLORS[name]
        left.semilogy(_shown(result.aligned[row, 0]), color=color, label=NAMES[name])
        left.semilogy(_shown(result.turned[row, 0]), color=color, ls=":")
        clipped = np.maximum(result.left[row], _LOWEST)
        right.semilogy(result.angles, clipped, ".-", color=color, clip_on=False)
    left.plot([], [], color=BLACK, ls=":", label="axes turned")
    left.set(xlabel="step", ylabel="distance to the minimum", ylim=(_LOWEST, 3))
    right.set(
        xlabel="turn of the ravine, degrees",
        xticks=(0, 30, 60, 90),
        ylabel=f"distance after {result.turned.shape[2] - 1} steps",
        ylim=(_LOWEST, 3),
    )
    drawn.legend(loc="outside lower center", ncols=5, columnspacing=1.2)
    adam = list(NAMES).index("adam")
    half = len(result.angles) // 2
    return Plot(
        drawn,
        caption=f"A ravine of condition number {result.kappa:g}. Left: in "
        f"{result.dim} dimensions, one seed, along the axes and (dotted) turned at "
        "random. Right: in two dimensions, by the angle; dots on the lower edge "
        "lie below it.",
        alt="Distance to the minimum against step and against the turn of the ravine. "
        f"Adam in two dimensions ends at {result.left[adam, 0]:.1g} where the ravine "
        f"lies along an axis and at {result.left[adam, half]:.1g} at "
        f"{result.angles[half]:g} degrees; gradient descent and momentum end at the "
        "same distance at all angles.",
    )


def _shown(distances):
    """Without what lies far below the axis."""
    return np.where(distances >= _LOWEST / 10, distances, np.nan)


def metrics(result: Result) -> Iterator[dict]:
    """One row a method and seed."""
    for row, name in enumerate(NAMES):
        for seed in range(result.scaling.shape[1]):
            yield {
                "part": "axes",
                "method": name,
                "seed": seed,
                "changed_by_scaling": float(result.scaling[row, seed]),
                "changed_by_turning": float(result.turning[row, seed]),
                "left_aligned": float(result.aligned[row, seed, -1]),
                "left_turned": float(result.turned[row, seed, -1]),
            }
