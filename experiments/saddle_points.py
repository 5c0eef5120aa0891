"""Saddle points: found with certificates, predicted exactly, split, and left.

Claim: a small gradient does not make a critical point; with a certificate XOR 2-2-1 has
saddles and no bad strict minimum. A linear network has exactly the critical points that
theory lists, each with its index. A neuron split in two keeps the loss, and the matrix
S tells the index of what it becomes. Descent leaves a saddle by a known factor a step,
after a time that grows with the logarithm of the noise alone.

Source: Baldi and Hornik (1989), Neural networks and principal component analysis;
Fukumizu and Amari (2000), Local minima and plateaus in hierarchical structures of
multilayer perceptrons; Simsek et al. (2021), https://arxiv.org/abs/2105.12221; Frye et
al. (2021), https://arxiv.org/abs/2003.10397; Dauphin et al. (2014),
https://arxiv.org/abs/1406.2572.

Run: python -m experiments saddle_points

Time: quick 45 seconds, full about 4 minutes on two cores.

Expected: every claim holds.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from experiments import (
    _cli,
    _parts,
    _sad_escape,
    _sad_linear,
    _sad_points,
    _sad_splitting,
)
from experiments._figures import Plot
from experiments._findings import Finding

DEMO = True


@dataclass(frozen=True)
class Config:
    """What to run; every field is a command-line flag."""

    seed: int = 0
    """Of all randomness: starts, targets, noise."""
    points: _sad_points.Config = field(default_factory=_sad_points.Config)
    linear: _sad_linear.Config = field(default_factory=_sad_linear.Config)
    splitting: _sad_splitting.Config = field(default_factory=_sad_splitting.Config)
    escape: _sad_escape.Config = field(default_factory=_sad_escape.Config)

    def __post_init__(self):
        """Reject a seed that is no key."""
        _parts.check_seed(self.seed)


PRESETS = {
    "quick": Config(),
    "full": Config(
        points=_sad_points.Config(starts=4096, examples=20, width=3, grid=81),
        linear=_sad_linear.Config(singular=(4.0, 3.0, 2.0, 1.0), hidden=5, starts=60),
        splitting=_sad_splitting.Config(starts=200, problems=12, points=41),
        escape=_sad_escape.Config(widths=(5, 7, 8, 9, 33, 100), tied_steps=1500),
    ),
}


@dataclass(frozen=True)
class Result:
    """The results of the parts."""

    points: _sad_points.Result
    linear: _sad_linear.Result
    splitting: _sad_splitting.Result
    escape: _sad_escape.Result


PARTS = {
    "points": _sad_points,
    "linear": _sad_linear,
    "splitting": _sad_splitting,
    "escape": _sad_escape,
}


def run(config: Config) -> Result:
    """All in float64 but the tied units."""
    return Result(**_parts.run("saddle_points", PARTS, config))


def check(result: Result) -> list[Finding]:
    """The findings of all parts."""
    return _parts.check(PARTS, result)


def plot(result: Result) -> dict[str, Plot]:
    """A figure or two for each part."""
    return _parts.plot(PARTS, result)


def metrics(result: Result) -> Iterator[dict]:
    """The rows of all parts."""
    return _parts.metrics(PARTS, result)


if __name__ == "__main__":
    _cli.main(__file__)
