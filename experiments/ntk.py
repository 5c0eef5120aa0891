"""Tangent kernels: the limit of infinite width, what they predict, and where not.

Claim: as a network gets wider its tangent kernel tends to an analytic one, changes less
in training, and its training follows the linearization at the start, whatever the loss.
The kernel's change falls about as 1 / width, faster than the proven bound. The scale of
the outputs leads from lazy training, which kernels describe, to rich training, where
the kernel turns towards the labels. On digits the infinite network errs less often than
a finite one. With convolutions it is the same. Kernels from structure cost less than
from Jacobians.

Source: Jacot et al. (2018), https://arxiv.org/abs/1806.07572; Lee et al. (2019),
https://arxiv.org/abs/1902.06720; Dyer and Gur-Ari (2019),
https://arxiv.org/abs/1909.11304; Chizat et al. (2019),
https://arxiv.org/abs/1812.07956; Lee et al. (2020), https://arxiv.org/abs/2007.15801;
Novak et al. (2022), https://arxiv.org/abs/2206.08720.

Run: python -m experiments ntk

Time: quick 60 seconds (90 the first time, to compile), full about 20 minutes on two
cores.

Expected: every claim holds. At these widths the slope of the kernel's change is -0.8 to
-0.95, and nearer to -1 early in training.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from experiments import (
    _cli,
    _ntk_change,
    _ntk_cost,
    _ntk_curves,
    _ntk_digits,
    _ntk_images,
    _ntk_limit,
    _ntk_scale,
    _parts,
)
from experiments._figures import Plot
from experiments._findings import Finding

DEMO = True


@dataclass(frozen=True)
class Config:
    """What to run; every field is a command-line flag."""

    seed: int = 0
    """Of all randomness: rows, initial weights, batches."""
    limit: _ntk_limit.Config = field(default_factory=_ntk_limit.Config)
    change: _ntk_change.Config = field(default_factory=_ntk_change.Config)
    curves: _ntk_curves.Config = field(default_factory=_ntk_curves.Config)
    scale: _ntk_scale.Config = field(default_factory=_ntk_scale.Config)
    digits: _ntk_digits.Config = field(default_factory=_ntk_digits.Config)
    images: _ntk_images.Config = field(default_factory=_ntk_images.Config)
    cost: _ntk_cost.Config = field(default_factory=_ntk_cost.Config)

    def __post_init__(self):
        """Reject a seed that is no key."""
        _parts.check_seed(self.seed)


PRESETS = {
    "quick": Config(),
    "full": Config(
        limit=_ntk_limit.Config(widths=(32, 64, 128, 256, 512, 1024, 2048), seeds=50),
        change=_ntk_change.Config(
            widths=(32, 64, 128, 256, 512, 1024, 2048), n_train=32, seeds=30
        ),
        curves=_ntk_curves.Config(
            widths=(32, 64, 128, 256, 512, 1024), n_train=32, n_test=64, seeds=16
        ),
        scale=_ntk_scale.Config(width=256, seeds=16),
        digits=_ntk_digits.Config(
            sizes=(50, 100, 200, 400, 800), width=256, steps=4000, seeds=10
        ),
        images=_ntk_images.Config(
            rows=1797, channels=64, block_size=200, few=32, seeds=16
        ),
        cost=_ntk_cost.Config(
            n=(16, 32, 64, 128), k=(1, 2, 4, 8, 16), width=(64, 128, 256, 512, 1024)
        ),
    ),
}


@dataclass(frozen=True)
class Result:
    """The results of the parts."""

    limit: _ntk_limit.Result
    change: _ntk_change.Result
    curves: _ntk_curves.Result
    scale: _ntk_scale.Result
    digits: _ntk_digits.Result
    images: _ntk_images.Result
    cost: _ntk_cost.Result


PARTS = {
    "limit": _ntk_limit,
    "change": _ntk_change,
    "curves": _ntk_curves,
    "scale": _ntk_scale,
    "digits": _ntk_digits,
    "images": _ntk_images,
    "cost": _ntk_cost,
}


def run(config: Config) -> Result:
    """Networks in float32, kernels of infinite width and predictions in float64."""
    return Result(**_parts.run("ntk", PARTS, config))


def check(result: Result) -> list[Finding]:
    """The findings of all parts."""
    return _parts.check(PARTS, result)


def plot(result: Result) -> dict[str, Plot]:
    """Two figures of the curves, one of each other part."""
    return _parts.plot(PARTS, result)


def metrics(result: Result) -> Iterator[dict]:
    """The rows of all parts."""
    return _parts.metrics(PARTS, result)


if __name__ == "__main__":
    _cli.main(__file__)
