"""What a kernel costs by each method, against examples, outputs and width."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import jax
import numpy as np

from experiments._figures import BLUE, GREEN, VERMILLION, Plot, figure
from experiments._findings import Finding, at_least, at_most
from experiments._ntk_network import check_ascending, network, rows
from jaxdl.ntk import empirical_ntk

METHODS = ("jacobian", "products", "structured")
AXES = ("n", "k", "width")
COLORS = {"jacobian": VERMILLION, "products": GREEN, "structured": BLUE}


@dataclass(frozen=True)
class Config:
    """Full kernels of one batch, compiled, in float32; one axis varies at a time."""

    n: tuple[int, ...] = (8, 32)
    """Examples, ascending; the middle one, or the upper, where others vary."""
    k: tuple[int, ...] = (2, 8)
    """Outputs, likewise."""
    width: tuple[int, ...] = (64, 256)
    """Units of both hidden layers, likewise."""
    repeats: int = 3
    """Measurements, of which the shortest counts."""

    def __post_init__(self):
        """Reject what could not be run.

        Raises:
            ValueError: Which field is wrong.
        """
        for name in AXES:
            check_ascending(f"cost.{name}", getattr(self, name))
        if self.n[-1] > 1795:
            raise ValueError(f"cost.n must end at 1795 or below, got {self.n}")
        if self.repeats < 1:
            raise ValueError(f"cost.repeats must be >= 1, got {self.repeats}")


@dataclass(frozen=True)
class Result:
    """One row a point ``(n, k, width)``; columns: methods (`METHODS`)."""

    points: np.ndarray  # (q, 3)
    base: np.ndarray  # (3,) the point in the middle
    seconds: np.ndarray  # (q, 3) of processor time, all cores together
    difference: np.ndarray  # (q,) largest, between methods, relative to the kernel
    device: str


def work(config: Config) -> float:
    """Seconds this takes, roughly, on two cores."""
    return 1.0 * len(_points(config)[1]) * len(METHODS) + 0.1 * config.repeats


def _points(config):
    """The base, and what differs from it in one axis."""
    base = tuple(
        getattr(config, name)[len(getattr(config, name)) // 2] for name in AXES
    )
    found = {base}
    for axis, name in enumerate(AXES):
        for value in getattr(config, name):
            found.add((*base[:axis], value, *base[axis + 1 :]))
    return base, sorted(found)


def run(config: Config, key: jax.Array, tick: Callable[[float], object]) -> Result:
    """Compile each method at each point, and take the time."""
    row_key, init_key = jax.random.split(key)
    x = rows(row_key, range(10), config.n[-1], 2).x_train
    base, points = _points(config)
    seconds, difference = np.empty((len(points), len(METHODS))), []
    for row, (n, k, width) in enumerate(points):
        layer = network(width, k)
        params = jax.jit(lambda key, init=layer.init: init(key, (64,)))(init_key)
        kernels = []
        for column, method in enumerate(METHODS):
            kernel = jax.block_until_ready(_kernel(layer.apply, method, params, x[:n]))
            kernels.append(np.asarray(kernel, float))
            taken = []
            for _ in range(config.repeats):
                start = time.process_time()
                jax.block_until_ready(_kernel(layer.apply, method, params, x[:n]))
                taken.append(time.process_time() - start)
            seconds[row, column] = min(taken)
            tick(1 / len(points) / len(METHODS))
        size = np.max(np.abs(kernels[0]))
        difference.append(max(np.max(np.abs(a - kernels[0])) for a in kernels) / size)
    return Result(
        points=np.array(points),
        base=np.array(base),
        seconds=seconds,
        difference=np.array(difference),
        device=jax.devices()[0].device_kind,
    )


@partial(jax.jit, static_argnums=(0, 1))
def _kernel(apply, method, params, x):
    return empirical_ntk(apply, params, x, method=method)


def along(result: Result, axis: int) -> np.ndarray:
    """Rows of the points on one axis, ascending.

    Args:
        result: With its points and base.
        axis: Of `AXES`.

    Returns:
        Indices.
    """
    same = np.delete(result.points == result.base, axis, axis=1).all(1)
    found = np.flatnonzero(same)
    return found[np.argsort(result.points[found, axis])]


def check(result: Result) -> list[Finding]:
    """All methods agree, and the structured one pays, the more so for wide layers."""
    here = {"kind": "observation", "source": "this study"}
    novak = {
        "kind": "published figure",
        "source": "Novak, Sohl-Dickstein, Schoenholz (2022), Fast finite width neural "
        "tangent kernel, table 1, https://arxiv.org/abs/2206.08720",
    }
    ratio = result.seconds[:, 0] / result.seconds[:, 2]
    wide = along(result, AXES.index("width"))
    told = "; ".join(
        f"{name}: "
        + ", ".join(
            f"{ratio[row]:.3g} at {result.points[row, axis]}"
            for row in along(result, axis)
        )
        for axis, name in enumerate(AXES)
    )
    return [
        at_most(
            "cost: all methods give the same kernel: largest difference over the "
            "largest entry, over all sizes",
            high=1e-4,
            measured=np.max(result.difference),
            kind="theorem",
            source="they reorder one sum",
        ),
        at_least(
            "cost: structure beats the contraction of Jacobians: time of the latter "
            f"over the former at n = {result.base[0]}, k = {result.base[1]}, width "
            f"{result.points[wide[-1], 2]}",
            low=3.0,
            measured=ratio[wide[-1]],
            **novak,
            note=f"processor time on {result.device}; ratios along {told}",
        ),
        at_least(
            "cost: the more, the wider: that ratio at the largest width over the "
            "smallest",
            low=1.5,
            measured=ratio[wide[-1]] / ratio[wide[0]],
            **novak,
            note="per pair of examples, k^2 width^2 against width^2 + k^2 width",
        ),
        at_least(
            "cost: it is never slower: least ratio over all sizes",
            low=1.0,
            measured=np.min(ratio),
            **here,
        ),
    ]


def plot(result: Result) -> Plot:
    """Time against each axis, a line a method."""
    drawn, axes = figure(1, 3, sharey=True)
    for axis, (name, panel) in enumerate(zip(AXES, axes, strict=True)):
        found = along(result, axis)
        sizes = result.points[found, axis]
        for column, method in enumerate(METHODS):
            panel.plot(
                sizes,
                1e3 * result.seconds[found, column],
                color=COLORS[method],
                marker="o",
                label=method,
            )
        others = ", ".join(
            f"{other} = {value}"
            for other, value in zip(AXES, result.base, strict=True)
            if other != name
        )
        label = {"n": "examples n", "k": "outputs k", "width": "width"}[name]
        panel.set(xscale="log", yscale="log", xlabel=label, title=others)
        panel.set_xticks(sizes, [f"{size}" for size in sizes], minor=False)
        panel.minorticks_off()
    axes[0].set_ylabel("processor time, ms")
    axes[0].legend()
    ratio = result.seconds[:, 0] / result.seconds[:, 2]
    return Plot(
        drawn,
        caption="Processor time of a full tangent kernel (n, n, k, k) of a network of "
        f"two hidden layers by three methods, compiled, on {result.device}; the "
        "shortest of several measurements.",
        alt="Time against examples, outputs and width for the contraction of "
        "Jacobians, products and structure. Structure is faster than Jacobians by "
        f"factors from {ratio.min():.2g} to {ratio.max():.2g}.",
    )


def metrics(result: Result) -> Iterator[dict]:
    """One row a point and method."""
    for (row, column), seconds in np.ndenumerate(result.seconds):
        n, k, width = result.points[row].tolist()
        yield {
            "part": "cost",
            "n": n,
            "k": k,
            "width": width,
            "method": METHODS[column],
            "seconds": float(seconds),
        }
