"""The batch size: noise of the gradient, steps it saves, time it costs.

Claim: a minibatch gradient is right on average and its variance falls as one over the
batch size S. The steps to a target loss fall as 1/S while S is small and stop falling
beyond a critical size, which the gradient noise scale predicts to an order of
magnitude. The time of a step does not grow with S at first, then in proportion.

Source: McCandlish et al. (2018), https://arxiv.org/abs/1812.06162; Shallue et al.
(2018), https://arxiv.org/abs/1811.03600; Zhang et al. (2019),
https://arxiv.org/abs/1907.04164.

Run: python -m experiments batch_size

Time: quick 1 minute, full 8 minutes on two cores.

Expected: every claim holds. The times are of the device at hand and of nothing else.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from experiments import (
    _bs_gradient,
    _bs_quadratic,
    _bs_timing,
    _bs_training,
    _cli,
    _parts,
)
from experiments._figures import Plot
from experiments._findings import Finding

DEMO = False


@dataclass(frozen=True)
class Config:
    """What to run; every field is a command-line flag."""

    seed: int = 0
    """Of all randomness: rows, initial weights, batches, noise."""
    gradient: _bs_gradient.Config = field(default_factory=_bs_gradient.Config)
    quadratic: _bs_quadratic.Config = field(default_factory=_bs_quadratic.Config)
    training: _bs_training.Config = field(default_factory=_bs_training.Config)
    timing: _bs_timing.Config = field(default_factory=_bs_timing.Config)

    def __post_init__(self):
        """Reject a seed that is no key."""
        _parts.check_seed(self.seed)


PRESETS = {
    "quick": Config(),
    "full": Config(
        gradient=_bs_gradient.Config(draws=40_000),
        quadratic=_bs_quadratic.Config(octaves=14, per_octave=8, seeds=10_000),
        training=_bs_training.Config(
            sizes=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024), seeds=20
        ),
        timing=_bs_timing.Config(
            sizes=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)
        ),
    ),
}


@dataclass(frozen=True)
class Result:
    """The results of the four parts."""

    gradient: _bs_gradient.Result
    quadratic: _bs_quadratic.Result
    training: _bs_training.Result
    timing: _bs_timing.Result


PARTS = {
    "gradient": _bs_gradient,
    "quadratic": _bs_quadratic,
    "training": _bs_training,
    "timing": _bs_timing,
}


def run(config: Config) -> Result:
    """Gradients and the model in float64, network and times in float32."""
    return Result(**_parts.run("batch_size", PARTS, config))


def check(result: Result) -> list[Finding]:
    """The findings of all parts."""
    return _parts.check(PARTS, result)


def plot(result: Result) -> dict[str, Plot]:
    """One figure a part."""
    return _parts.plot(PARTS, result)


def metrics(result: Result) -> Iterator[dict]:
    """The rows of all parts."""
    return _parts.metrics(PARTS, result)


if __name__ == "__main__":
    _cli.main(__file__)
