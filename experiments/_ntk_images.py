"""Convolution: the kernel of a network on all images, and its limit."""

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import jax
import numpy as np

from experiments._figures import BLUE, GRAY, GREEN, VERMILLION, Plot, figure
from experiments._findings import Finding, at_least, at_most, between
from experiments._ntk_network import network, one_hot, relative, rows
from jaxdl.ntk import empirical_ntk, gp_posterior, infinite, ntk_to_file

CLASSES = 10
KERNELS = ("one network", "infinite, convolutional", "infinite, fully connected")


@dataclass(frozen=True)
class Config:
    """Two convolutions of ReLU units, 3 x 3, then a linear layer; no training."""

    rows: int = 150
    """Digits; two thirds are for training."""
    channels: int = 32
    """Of both convolutions."""
    block_size: int = 75
    """Rows and columns of the blocks that are written to a file."""
    ridge: float = 1e-3
    """Of the regression, in units of the mean of the kernel's diagonal."""
    few: int = 16
    """Rows on which draws are compared with the analytic kernel."""
    seeds: int = 12
    """Draws, at the number of channels and at a quarter of it."""

    def __post_init__(self):
        """Reject what could not be run.

        Raises:
            ValueError: Which field is wrong.
        """
        if not 10 <= self.rows <= 1797:
            raise ValueError(f"images.rows must lie in 10..1797, got {self.rows}")
        if not 2 <= self.few <= self.rows:
            raise ValueError(f"images.few must lie in 2..{self.rows}, got {self.few}")
        for name, least in (("channels", 4), ("block_size", 1), ("seeds", 2)):
            if getattr(self, name) < least:
                raise ValueError(
                    f"images.{name} must be >= {least}, got {getattr(self, name)}"
                )
        if not 0 < self.ridge < np.inf:
            raise ValueError(f"images.ridge must be positive, got {self.ridge}")


@dataclass(frozen=True)
class Result:
    """Of one network, of draws, and of regression with three kernels (`KERNELS`)."""

    channels: np.ndarray  # (2,) a quarter, and all
    distance: np.ndarray  # (2, s) |K - K_infinite| / |K_infinite| of draws, few rows
    eigenvalues: np.ndarray  # (2, n) of the one network's kernel, and of the limit
    block_difference: float  # of the file from one call, over the largest entry
    error: np.ndarray  # (3,) share of held-out rows misclassified
    n_train: int


def work(config: Config) -> float:
    """Seconds this takes, roughly, on two cores."""
    pairs = (config.rows / 100) ** 2
    return 8 + pairs * config.channels / 100 + (config.rows / 1000) ** 3


def convolutional(channels: int) -> infinite.Layer:
    """The network; images 8 x 8, channels last."""
    return infinite.serial(
        infinite.conv(channels, (3, 3), w_std=2**0.5),
        infinite.relu(),
        infinite.conv(channels, (3, 3), w_std=2**0.5),
        infinite.relu(),
        infinite.flatten(),
        infinite.dense(CLASSES),
    )


def run(config: Config, key: jax.Array, tick: Callable[[float], object]) -> Result:
    """The kernel of one network goes through a file, as if memory were short."""
    row_key, init_key = jax.random.split(key)
    n_train = 2 * config.rows // 3
    picked = rows(row_key, range(CLASSES), n_train, config.rows - n_train)
    x = np.concatenate([picked.x_train, picked.x_test])
    images = x.reshape(-1, 8, 8, 1)
    layer = convolutional(config.channels)
    params = _draw(layer.init, jax.random.fold_in(init_key, 0))
    with tempfile.TemporaryDirectory() as folder:
        written = ntk_to_file(
            layer.apply,
            params,
            images,
            None,
            Path(folder, "kernel.npy"),
            block_size=config.block_size,
            progress=False,
        )
        own = np.array(written, float)
        del written
    tick(0.4)
    few = images[: config.few]
    at_once = np.asarray(_kernel(layer.apply, params, few), float)
    difference = np.max(np.abs(own[: config.few, : config.few] - at_once))
    with jax.enable_x64(True):
        limit = np.asarray(jax.jit(layer.kernel)(images.astype(float)).ntk)
        flat = jax.jit(network(1, CLASSES).kernel)(x.astype(float)).ntk
        flat = np.asarray(flat)
    tick(0.2)
    channels = (config.channels // 4, config.channels)
    distance = []
    for number, count in enumerate(channels):
        drawn = convolutional(count)
        keys = jax.random.split(jax.random.fold_in(init_key, 1 + number), config.seeds)
        params = _draw(drawn.init, keys)
        each = np.asarray(_kernels(drawn.apply, params, few), float)
        near = limit[: config.few, : config.few]
        distance.append([float(relative(one, near)) for one in each])
        tick(0.2)
    return Result(
        channels=np.array(channels),
        distance=np.array(distance),
        eigenvalues=np.stack([np.linalg.eigvalsh(k)[::-1] for k in (own, limit)]),
        block_difference=float(difference / np.max(np.abs(at_once))),
        error=np.array([_error(config, k, picked) for k in (own, limit, flat)]),
        n_train=n_train,
    )


@partial(jax.jit, static_argnums=0)
def _draw(init, keys):
    if keys.ndim:
        return jax.vmap(lambda key: init(key, (8, 8, 1)))(keys)
    return init(keys, (8, 8, 1))


@partial(jax.jit, static_argnums=0)
def _kernel(apply, params, x):
    return empirical_ntk(apply, params, x, outputs="trace")


@partial(jax.jit, static_argnums=0)
def _kernels(apply, params, x):
    def kernel(params):
        return empirical_ntk(apply, params, x, outputs="trace")

    return jax.lax.map(kernel, params)


@jax.jit
def _mean(arrays, noise):
    return gp_posterior(*arrays, noise=noise)[0]


def _error(config, kernel, picked):
    """Held-out error of regression on the classes."""
    n = len(picked.x_train)
    arrays = (
        kernel[:n, :n].astype(np.float32),  # the precision of its round-off
        kernel[n:, :n],
        kernel[n:, n:],
        one_hot(picked.y_train, CLASSES),
    )
    with jax.enable_x64(True):
        mean = _mean(arrays, config.ridge * float(np.mean(np.diag(kernel))))
    return np.mean(np.argmax(np.asarray(mean), -1) != picked.y_test)


def check(result: Result) -> list[Finding]:
    """The file, the spectrum, the limit, and what the kernels are good for."""
    here = {"kind": "observation", "source": "this study"}
    few, all_ = np.median(result.distance, axis=1)
    lowest = result.eigenvalues[0, -1] / result.eigenvalues[0, 0]
    told = ", ".join(
        f"{name} {value:.3g}" for name, value in zip(KERNELS, result.error, strict=True)
    )
    return [
        at_most(
            f"images: the kernel of {result.eigenvalues.shape[1]} images, written in "
            "blocks to a file, is what one call gives: largest difference over the "
            "largest entry",
            high=1e-5,
            measured=result.block_difference,
            kind="theorem",
            source="a block is a kernel of some of the rows",
        ),
        at_least(
            "images: in float32 its eigenvalues are positive but for round-off: lowest "
            "over largest",
            low=-1e-6,
            measured=lowest,
            kind="theorem",
            source="a product of a matrix with its transpose",
        ),
        between(
            "images: four times the channels halve the distance of a draw to the "
            "analytic convolutional kernel: ratio of medians over draws",
            low=0.2,
            high=0.85,
            measured=all_ / few,
            kind="theorem",
            source="central limit theorem over channels; Garriga-Alonso et al. (2019), "
            "https://arxiv.org/abs/1808.05587",
            note=f"{few:.3g} at {result.channels[0]} channels, {all_:.3g} at "
            f"{result.channels[1]}",
        ),
        at_most(
            "images: regression with one network's kernel at its start errs little "
            "more often than with the infinite one: difference of held-out errors",
            high=0.1,
            measured=result.error[0] - result.error[1],
            **here,
            note=f"trained on {result.n_train} images; {told}",
        ),
    ]


def plot(result: Result) -> Plot:
    """Spectra, and errors."""
    drawn, (left, right) = figure(1, 2)
    number = 1 + np.arange(result.eigenvalues.shape[1])
    for values, color, label in zip(
        result.eigenvalues, (BLUE, VERMILLION), KERNELS, strict=False
    ):
        left.plot(number, values / values[0], color=color, label=label)
    left.set(
        xscale="log",
        yscale="log",
        xlabel="number",
        ylabel="eigenvalue over the largest",
    )
    left.legend()
    places = np.arange(len(KERNELS))
    right.barh(places, result.error, color=(BLUE, VERMILLION, GREEN), height=0.6)
    for place, value in zip(places, result.error, strict=True):
        right.text(value, place, f" {value:.3f}", va="center", color=GRAY)
    right.set_yticks(places, [name.replace(", ", ",\n") for name in KERNELS])
    right.set(xlabel="held-out error", xlim=(0, 1.25 * max(result.error.max(), 0.01)))
    right.invert_yaxis()
    return Plot(
        drawn,
        caption=f"Tangent kernels on {len(number)} digits. Left: eigenvalues of the "
        f"kernel of one convolutional network of {result.channels[1]} channels, at "
        "its start, and of the infinite one. Right: held-out error of regression with "
        f"each kernel, trained on {result.n_train} images.",
        alt="Two spectra that fall alike over several orders of magnitude, and bars: "
        + ", ".join(
            f"{name} {value:.3f}"
            for name, value in zip(KERNELS, result.error, strict=True)
        )
        + ".",
    )


def metrics(result: Result) -> Iterator[dict]:
    """One row a draw, and one a kernel."""
    for (c, s), distance in np.ndenumerate(result.distance):
        yield {
            "part": "images",
            "channels": int(result.channels[c]),
            "seed": s,
            "distance": float(distance),
        }
    for name, error in zip(KERNELS, result.error, strict=True):
        yield {"part": "images", "kernel": name, "error": float(error)}
