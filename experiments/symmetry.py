"""Symmetries of weights: what they leave alone, what they conserve, and matching.

Claim: hidden units may change places, sign or scale by what the activation function
allows, and a declaration of it that is wrong by one axis is noticed. Each continuous
symmetry has a quantity that every step of descent changes by an amount known exactly.
The mean of equal networks is a worse network, so the landscape is not convex. Two
networks from different seeds have a barrier on the line between them, which matching
their units lowers, the more the wider they are.

Source: Hecht-Nielsen (1990), On the algebraic structure of feedforward network weight
spaces; Kunin et al. (2021), https://arxiv.org/abs/2012.04728; Ainsworth et al. (2023),
https://arxiv.org/abs/2209.04836; Entezari et al. (2022),
https://arxiv.org/abs/2110.06296; Garipov et al. (2018),
https://arxiv.org/abs/1802.10026.

Run: python -m experiments symmetry

Time: quick 60 seconds, full about 8 minutes on two cores.

Expected: every claim holds.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from experiments import (
    _cli,
    _parts,
    _sym_actions,
    _sym_barriers,
    _sym_conserved,
    _sym_orbits,
)
from experiments._figures import Plot
from experiments._findings import Finding

DEMO = True


@dataclass(frozen=True)
class Config:
    """What to run; every field is a command-line flag."""

    seed: int = 0
    """Of all randomness: rows, initial weights, elements, batches."""
    actions: _sym_actions.Config = field(default_factory=_sym_actions.Config)
    conserved: _sym_conserved.Config = field(default_factory=_sym_conserved.Config)
    orbits: _sym_orbits.Config = field(default_factory=_sym_orbits.Config)
    barriers: _sym_barriers.Config = field(default_factory=_sym_barriers.Config)

    def __post_init__(self):
        """Reject a seed that is no key."""
        _parts.check_seed(self.seed)


PRESETS = {
    "quick": Config(),
    "full": Config(
        actions=_sym_actions.Config(hidden=(65, 33), examples=100, draws=16),
        conserved=_sym_conserved.Config(n_train=1000, hidden=(32, 16), steps=2000),
        orbits=_sym_orbits.Config(n_train=1000, hidden=(64, 32), seeds=20, steps=1000),
        barriers=_sym_barriers.Config(
            widths=(16, 32, 64, 128, 256, 512), pairs=5, steps=2000, curve_steps=1000
        ),
    ),
}


@dataclass(frozen=True)
class Result:
    """The results of the parts."""

    actions: _sym_actions.Result
    conserved: _sym_conserved.Result
    orbits: _sym_orbits.Result
    barriers: _sym_barriers.Result


PARTS = {
    "actions": _sym_actions,
    "conserved": _sym_conserved,
    "orbits": _sym_orbits,
    "barriers": _sym_barriers,
}


def run(config: Config) -> Result:
    """Exact statements in float64, training and barriers in float32."""
    return Result(**_parts.run("symmetry", PARTS, config))


def check(result: Result) -> list[Finding]:
    """The findings of all parts."""
    return _parts.check(PARTS, result)


def plot(result: Result) -> dict[str, Plot]:
    """A figure for each part."""
    return _parts.plot(PARTS, result)


def metrics(result: Result) -> Iterator[dict]:
    """The rows of all parts."""
    return _parts.metrics(PARTS, result)


if __name__ == "__main__":
    _cli.main(__file__)
