"""Initialization: what the first weights do to signals, gradients and training.

Claim: by layer, mean squares of activations and gradients follow recursions that need
no network: He's weights keep them with ReLU, Xavier's halve them; with tanh they decay
slowly. Orthogonal weights keep every length. Networks learn where chi^depth is near 1.
Identical units stay identical, zero weights never learn, narrow networks are born dead.

Source: Glorot, Bengio (2010); He et al. (2015), https://arxiv.org/abs/1502.01852; Saxe
et al. (2013), https://arxiv.org/abs/1312.6120; Schoenholz et al. (2016),
https://arxiv.org/abs/1611.01232; Lu et al. (2019), https://arxiv.org/abs/1903.06733.

Run: python -m experiments initialization

Time: quick 1 minute, full 10 minutes on two cores.

Expected: every claim holds.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from experiments import _cli, _init_exact, _init_signal, _init_training, _parts
from experiments._figures import Plot
from experiments._findings import Finding

DEMO = False


@dataclass(frozen=True)
class Config:
    """What to run; every field is a command-line flag."""

    seed: int = 0
    """Of all randomness: weights, inputs, rows, batches."""
    signal: _init_signal.Config = field(default_factory=_init_signal.Config)
    exact: _init_exact.Config = field(default_factory=_init_exact.Config)
    training: _init_training.Config = field(default_factory=_init_training.Config)

    def __post_init__(self):
        """Reject a seed that is no key."""
        _parts.check_seed(self.seed)


PRESETS = {
    "quick": Config(),
    "full": Config(
        signal=_init_signal.Config(width=128, networks=500),
        exact=_init_exact.Config(networks=20000),
        training=_init_training.Config(
            depths=(2, 4, 8, 16, 32, 64),
            variances=(
                0.25,
                0.5,
                0.75,
                0.9,
                1.0,
                1.2,
                1.5,
                1.75,
                2.0,
                2.25,
                2.5,
                3.0,
                4.0,
            ),
            width=64,
            steps=300,
            seeds=4,
        ),
    ),
}


@dataclass(frozen=True)
class Result:
    """The results of the three parts."""

    signal: _init_signal.Result
    exact: _init_exact.Result
    training: _init_training.Result


PARTS = {
    "signal": _init_signal,
    "exact": _init_exact,
    "training": _init_training,
}


def run(config: Config) -> Result:
    """Signals and training in float32, what is exact in float64."""
    return Result(**_parts.run("initialization", PARTS, config))


def check(result: Result) -> list[Finding]:
    """The findings of all parts."""
    return _parts.check(PARTS, result)


def plot(result: Result) -> dict[str, Plot]:
    """Two figures of signals, one of dead networks, two of training."""
    return _parts.plot(PARTS, result)


def metrics(result: Result) -> Iterator[dict]:
    """The rows of all parts."""
    return _parts.metrics(PARTS, result)


if __name__ == "__main__":
    _cli.main(__file__)
