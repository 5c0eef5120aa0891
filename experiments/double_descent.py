"""Test error against model size: the peak at the interpolation threshold.

Claim: as a model grows, its test error falls, rises to a peak where the model can
just fit its training data, and falls again. Least squares on Gaussian data follows
the exact formulas; random features and a trained network on handwritten digits show
the same shape. Ridge, or stopping at the best step, removes the peak.

Source: Belkin et al. (2019), https://arxiv.org/abs/1812.11118; Hastie et al. (2022),
https://arxiv.org/abs/1903.08560; Nakkiran et al. (2019),
https://arxiv.org/abs/1912.02292.

Run: python -m experiments double_descent

Time: quick 2 minutes, full 20 minutes on two cores.

Expected: on the digits every claim holds. The random-feature and network parts can be
run on other data: --data mnist1d, or --data FILE.npz with x_train, y_train, x_test,
y_test; where the peak lies then depends on the data, and the report says which claims
hold.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field

import jax
import numpy as np

from experiments import (
    _cli,
    _dd_least_squares,
    _dd_mlp,
    _dd_random_features,
    _parts,
)
from experiments._figures import Plot
from experiments._findings import Finding
from jaxdl import data
from jaxdl.progress import bar

DEMO = True


@dataclass(frozen=True)
class Config:
    """What to run; every field is a command-line flag."""

    seed: int = 0
    """Of all randomness: data, noise, splits, features, initial weights."""
    data: str = "digits"
    """Images for the random features and the network: digits, mnist1d, or the path
    of an .npz file, whose inputs are then standardized."""
    least_squares: _dd_least_squares.Config = field(
        default_factory=_dd_least_squares.Config
    )
    random_features: _dd_random_features.Config = field(
        default_factory=_dd_random_features.Config
    )
    mlp: _dd_mlp.Config = field(default_factory=_dd_mlp.Config)

    def __post_init__(self):
        """Reject a seed that is no key."""
        _parts.check_seed(self.seed)


PRESETS = {
    "quick": Config(),
    "full": Config(
        least_squares=_dd_least_squares.Config(trials=2000),
        random_features=_dd_random_features.Config(trials=100, predicted_trials=5),
        mlp=_dd_mlp.Config(
            widths=(
                *(2, 3, 4, 5, 6, 7, 8, 9, 11, 13, 16, 18, 20, 23, 27, 32, 38, 45, 54),
                *(64, 90, 128, 180, 256, 512),
            ),
            seeds=10,
            steps=4000,
        ),
    ),
}


@dataclass(frozen=True)
class Result:
    """The results of the three parts."""

    least_squares: _dd_least_squares.Result
    random_features: _dd_random_features.Result
    mlp: _dd_mlp.Result


PARTS = {
    "least_squares": _dd_least_squares,
    "random_features": _dd_random_features,
    "mlp": _dd_mlp,
}


def run(config: Config) -> Result:
    """Least squares and random features in float64, the network in float32."""
    dataset = _load(config.data)
    x, y = _whole(dataset)
    keys = jax.random.split(jax.random.key(config.seed), 3)
    works = [
        _dd_least_squares.work(config.least_squares),
        _dd_random_features.work(config.random_features),
        _dd_mlp.work(config.mlp),
    ]
    with bar(sum(works), "double_descent") as drawn:
        ticks = [lambda share, work=work: drawn.update(share * work) for work in works]
        result = Result(
            _dd_least_squares.run(config.least_squares, keys[0], ticks[0]),
            _dd_random_features.run(config.random_features, keys[1], x, y, ticks[1]),
            _dd_mlp.run(config.mlp, keys[2], dataset, ticks[2]),
        )
    for name in ("random_features", "mlp"):
        asked, used = getattr(config, name).n_train, getattr(result, name).n_train
        if used < asked:
            print(
                f"note: {name}.n_train: {used} rows used, as the data set has no more "
                f"for training; {asked} were asked for",
                file=sys.stderr,
            )
    return result


def check(result: Result) -> list[Finding]:
    """The findings of all parts."""
    return _parts.check(PARTS, result)


def plot(result: Result) -> dict[str, Plot]:
    """One figure a part."""
    return _parts.plot(PARTS, result)


def metrics(result: Result) -> Iterator[dict]:
    """The rows of all parts."""
    return _parts.metrics(PARTS, result)


def _load(name: str) -> data.Table | data.Dataset:
    """The data set of that name, or of that file.

    Raises:
        ValueError: If there is none of that name, or the file is not as it should be.
    """
    if name == "digits":
        return data.digits()
    if name == "mnist1d":
        return data.mnist1d()
    if not name.endswith(".npz"):
        raise ValueError(
            f"data must be digits, mnist1d, or the path of an .npz file, got {name!r}"
        )
    dataset = data.load_npz(name)
    stats = data.standardize_fit(dataset.x_train)
    return dataset._replace(
        x_train=data.standardize(stats, dataset.x_train),
        x_test=data.standardize(stats, dataset.x_test),
    )


def _whole(dataset: data.Table | data.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """All rows, as a population to draw from."""
    if isinstance(dataset, data.Table):
        return np.asarray(dataset.x), np.asarray(dataset.y)
    return (
        np.concatenate([dataset.x_train, dataset.x_test]),
        np.concatenate([dataset.y_train, dataset.y_test]),
    )


if __name__ == "__main__":
    _cli.main(__file__)
