"""Optimizers on a ravine: what they pay for a condition number.

Claim: the steps of gradient descent grow as the condition number kappa, those of heavy
ball and Nesterov as its root, at the exact rates of the formulas; a Newton step needs
one. Momentum ends at a velocity of rate g / (1 - beta). Adam and RMSprop do not see
the scale of the axes, but their direction; gradient descent the other way round.
Standardized inputs turn the ravine of least squares into a bowl.

Source: Polyak (1964), Some methods of speeding up the convergence of iteration methods;
Goh (2017), https://distill.pub/2017/momentum; Sutskever et al. (2013), On the
importance of initialization and momentum in deep learning; Kingma and Ba (2015),
https://arxiv.org/abs/1412.6980.

Run: python -m experiments optimizers_on_a_ravine

Time: quick 20 seconds, full 3 minutes on two cores.

Expected: every claim holds. The slope of heavy ball is a little above 1/2, as the
double roots of its best setting delay it by a factor that grows with the logarithm.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from experiments import (
    _cli,
    _parts,
    _ravine_axes,
    _ravine_inputs,
    _ravine_paths,
    _ravine_rates,
    _ravine_velocity,
)
from experiments._figures import Plot
from experiments._findings import Finding

DEMO = False


@dataclass(frozen=True)
class Config:
    """What to run; every field is a command-line flag."""

    seed: int = 0
    """Of all randomness: axes, starting points, inputs."""
    paths: _ravine_paths.Config = field(default_factory=_ravine_paths.Config)
    rates: _ravine_rates.Config = field(default_factory=_ravine_rates.Config)
    velocity: _ravine_velocity.Config = field(default_factory=_ravine_velocity.Config)
    axes: _ravine_axes.Config = field(default_factory=_ravine_axes.Config)
    inputs: _ravine_inputs.Config = field(default_factory=_ravine_inputs.Config)

    def __post_init__(self):
        """Reject a seed that is no key."""
        _parts.check_seed(self.seed)


PRESETS = {
    "quick": Config(),
    "full": Config(
        rates=_ravine_rates.Config(
            dim=20,
            kappas=(
                *(10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0, 10000.0, 30000.0),
                100000.0,
            ),
            seeds=50,
            limit=200000,
        ),
        axes=_ravine_axes.Config(dim=20, seeds=100, angles=91),
        inputs=_ravine_inputs.Config(dim=20, seeds=100),
    ),
}


@dataclass(frozen=True)
class Result:
    """The results of the five parts."""

    paths: _ravine_paths.Result
    rates: _ravine_rates.Result
    velocity: _ravine_velocity.Result
    axes: _ravine_axes.Result
    inputs: _ravine_inputs.Result


PARTS = {
    "paths": _ravine_paths,
    "rates": _ravine_rates,
    "velocity": _ravine_velocity,
    "axes": _ravine_axes,
    "inputs": _ravine_inputs,
}


def run(config: Config) -> Result:
    """Everything in float64."""
    return Result(**_parts.run("optimizers_on_a_ravine", PARTS, config))


def check(result: Result) -> list[Finding]:
    """The findings of all parts."""
    return _parts.check(PARTS, result)


def plot(result: Result) -> dict[str, Plot]:
    """The ravine, two figures of rates, and one of each other part."""
    return _parts.plot(PARTS, result)


def metrics(result: Result) -> Iterator[dict]:
    """The rows of all parts."""
    return _parts.metrics(PARTS, result)


if __name__ == "__main__":
    _cli.main(__file__)
