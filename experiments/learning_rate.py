"""The learning rate: too small, too large, and how to lower it.

Claim: on a quadratic gradient descent is monotone up to 1 / lambda_max, oscillates up
to 2 / lambda_max and diverges beyond. With noise a constant rate ends at a variance of
rate sigma^2 / (lambda (2 - rate lambda)); a drop of the rate lowers the loss at once,
but if it comes early the run that kept the high rate overtakes; 1 / (lambda t) is
optimal. The final loss of a network is U-shaped in the rate and fails near
2 / sharpness; decaying the rate helps.

Source: Goh (2017), Why momentum really works, https://distill.pub/2017/momentum;
Lewkowycz et al. (2020), https://arxiv.org/abs/2003.02218; and the recursion of second
moments under gradient noise.

Run: python -m experiments learning_rate

Time: quick 40 seconds, full 4 minutes on two cores.

Expected: all that is exact holds. Two claims about networks do not: the rate that fails
is well above 2 / sharpness at the start, and some rules whose rate is low for most of
the run end above a constant rate.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from experiments import (
    _cli,
    _parts,
    _rate_drops,
    _rate_network,
    _rate_regimes,
    _rate_rules,
)
from experiments._figures import Plot
from experiments._findings import Finding

DEMO = False


@dataclass(frozen=True)
class Config:
    """What to run; every field is a command-line flag."""

    seed: int = 0
    """Of all randomness: starting points, noise, rows, labels, initial weights."""
    regimes: _rate_regimes.Config = field(default_factory=_rate_regimes.Config)
    drops: _rate_drops.Config = field(default_factory=_rate_drops.Config)
    rules: _rate_rules.Config = field(default_factory=_rate_rules.Config)
    network: _rate_network.Config = field(default_factory=_rate_network.Config)

    def __post_init__(self):
        """Reject a seed that is no key."""
        _parts.check_seed(self.seed)


PRESETS = {
    "quick": Config(),
    "full": Config(
        regimes=_rate_regimes.Config(rates=231, seeds=50),
        drops=_rate_drops.Config(seeds=4000),
        rules=_rate_rules.Config(rates=60, seeds=4000),
        network=_rate_network.Config(
            n_train=1000,
            steps=1500,
            rates=tuple(2.0 ** (k / 2) for k in range(-16, 4)),
            seeds=5,
            ratios=(0.5, 0.7, 1.0, 1.4, 2.0, 2.4, 2.8, 3.4, 4.0, 4.8, 5.7, 8.0),
            full_steps=300,
        ),
    ),
}


@dataclass(frozen=True)
class Result:
    """The results of the four parts."""

    regimes: _rate_regimes.Result
    drops: _rate_drops.Result
    rules: _rate_rules.Result
    network: _rate_network.Result


PARTS = {
    "regimes": _rate_regimes,
    "drops": _rate_drops,
    "rules": _rate_rules,
    "network": _rate_network,
}


def run(config: Config) -> Result:
    """Quadratics in float64, the network in float32."""
    return Result(**_parts.run("learning_rate", PARTS, config))


def check(result: Result) -> list[Finding]:
    """The findings of all parts."""
    return _parts.check(PARTS, result)


def plot(result: Result) -> dict[str, Plot]:
    """Regimes, drops, rules and powers on quadratics; two figures of the network."""
    return _parts.plot(PARTS, result)


def metrics(result: Result) -> Iterator[dict]:
    """The rows of all parts."""
    return _parts.metrics(PARTS, result)


if __name__ == "__main__":
    _cli.main(__file__)
