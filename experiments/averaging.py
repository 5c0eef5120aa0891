"""Averaging the iterates: what it gains over the last one, and when it hurts.

Claim: at a constant learning rate SGD ends in noise that does not go away; the mean of
its iterates does better, and in the end as well as any rate could, without knowing the
curvature. On a noisy quadratic all of this is exact, and measured runs agree. It hurts
while the start is not forgotten. On a network the average is about as good as a run
whose rate decays.

Source: Polyak and Juditsky (1992), Acceleration of stochastic approximation by
averaging; the moments of a first-order autoregression.

Run: python -m experiments averaging

Time: quick 30 seconds, full 5 minutes on two cores.

Expected: every claim holds.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from experiments import _avg_quadratic, _avg_training, _cli, _parts
from experiments._figures import Plot
from experiments._findings import Finding

DEMO = False


@dataclass(frozen=True)
class Config:
    """What to run; every field is a command-line flag."""

    seed: int = 0
    """Of all randomness: noise, rows, labels, initial weights, batches."""
    quadratic: _avg_quadratic.Config = field(default_factory=_avg_quadratic.Config)
    training: _avg_training.Config = field(default_factory=_avg_training.Config)

    def __post_init__(self):
        """Reject a seed that is no key."""
        _parts.check_seed(self.seed)


PRESETS = {
    "quick": Config(),
    "full": Config(
        quadratic=_avg_quadratic.Config(looks=16, steps=10_000, seeds=5000),
        training=_avg_training.Config(n_train=1400, steps=10_000, seeds=30),
    ),
}


@dataclass(frozen=True)
class Result:
    """The results of the two parts."""

    quadratic: _avg_quadratic.Result
    training: _avg_training.Result


PARTS = {
    "quadratic": _avg_quadratic,
    "training": _avg_training,
}


def run(config: Config) -> Result:
    """The quadratic in float64, the network in float32."""
    return Result(**_parts.run("averaging", PARTS, config))


def check(result: Result) -> list[Finding]:
    """The findings of all parts."""
    return _parts.check(PARTS, result)


def plot(result: Result) -> dict[str, Plot]:
    """Two figures of the quadratic, one of the network."""
    return _parts.plot(PARTS, result)


def metrics(result: Result) -> Iterator[dict]:
    """The rows of all parts."""
    return _parts.metrics(PARTS, result)


if __name__ == "__main__":
    _cli.main(__file__)
