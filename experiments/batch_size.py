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

import jax

from experiments import _bs_gradient, _bs_quadratic, _bs_timing, _bs_training, _cli
from experiments._figures import Plot
from experiments._findings import Finding
from jaxdl.progress import bar

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
        """Reject a seed that is no key.

        Raises:
            ValueError: If the seed is out of range.
        """
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed must lie in 0..2**32 - 1, got {self.seed}")


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


def run(config: Config) -> Result:
    """Gradients and the model in float64, network and times in float32."""
    keys = jax.random.split(jax.random.key(config.seed), 4)
    works = [
        _bs_gradient.work(config.gradient),
        _bs_quadratic.work(config.quadratic),
        _bs_training.work(config.training),
        _bs_timing.work(config.timing),
    ]
    with bar(sum(works), "batch_size") as drawn:
        ticks = [lambda share, work=work: drawn.update(share * work) for work in works]
        return Result(
            _bs_gradient.run(config.gradient, keys[0], ticks[0]),
            _bs_quadratic.run(config.quadratic, keys[1], ticks[1]),
            _bs_training.run(config.training, keys[2], ticks[2]),
            _bs_timing.run(config.timing, keys[3], ticks[3]),
        )


def check(result: Result) -> list[Finding]:
    """The findings of the four parts."""
    return [
        *_bs_gradient.check(result.gradient),
        *_bs_quadratic.check(result.quadratic),
        *_bs_training.check(result.training),
        *_bs_timing.check(result.timing),
    ]


def plot(result: Result) -> dict[str, Plot]:
    """One figure a part."""
    return {
        "variance": _bs_gradient.plot(result.gradient),
        "quadratic": _bs_quadratic.plot(result.quadratic),
        "network": _bs_training.plot(result.training),
        "time": _bs_timing.plot(result.timing),
    }


def metrics(result: Result) -> Iterator[dict]:
    """The rows of the four parts."""
    yield from _bs_gradient.metrics(result.gradient)
    yield from _bs_quadratic.metrics(result.quadratic)
    yield from _bs_training.metrics(result.training)
    yield from _bs_timing.metrics(result.timing)


if __name__ == "__main__":
    _cli.main(__file__)
