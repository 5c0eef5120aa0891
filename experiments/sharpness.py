"""The Hessian along training: edge of stability, outliers, and what sharpness is not.

Claim: under full-batch gradient descent the largest eigenvalue of the Hessian rises
until it is 2 / learning rate and stays there, while the loss goes on falling, not
monotonically; with momentum beta at 2 (1 + beta) / learning rate. The spectrum has a
bulk near zero and about as many outliers as classes. A rescaling of layers that leaves
the function alone makes the sharpness as large as one likes.

Source: Cohen et al. (2021), https://arxiv.org/abs/2103.00065; Papyan (2019),
https://arxiv.org/abs/1901.08244; Sagun et al. (2017), https://arxiv.org/abs/1706.04454;
Dinh et al. (2017), https://arxiv.org/abs/1703.04933.

Run: python -m experiments sharpness

Time: quick 80 seconds, full about 20 minutes on two cores.

Expected: every claim holds. Some seeds fit their labels before they reach the edge; the
notes say how many. There is one outlier fewer than classes, and none stands apart where
inputs are centred.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from experiments import _cli, _parts, _sharp_edge, _sharp_rescaling, _sharp_spectrum
from experiments._figures import Plot
from experiments._findings import Finding

DEMO = False


@dataclass(frozen=True)
class Config:
    """What to run; every field is a command-line flag."""

    seed: int = 0
    """Of all randomness: rows, labels, initial weights, probes."""
    edge: _sharp_edge.Config = field(default_factory=_sharp_edge.Config)
    spectrum: _sharp_spectrum.Config = field(default_factory=_sharp_spectrum.Config)
    rescaling: _sharp_rescaling.Config = field(default_factory=_sharp_rescaling.Config)

    def __post_init__(self):
        """Reject a seed that is no key."""
        _parts.check_seed(self.seed)


PRESETS = {
    "quick": Config(),
    "full": Config(
        edge=_sharp_edge.Config(n_train=500, seeds=10, steps=6000),
        spectrum=_sharp_spectrum.Config(
            classes=(2, 3, 4, 5, 6, 7, 8, 9, 10), per_class=150, seeds=30
        ),
        rescaling=_sharp_rescaling.Config(n_train=1000, largest_factor=64, factors=13),
    ),
}


@dataclass(frozen=True)
class Result:
    """The results of the three parts."""

    edge: _sharp_edge.Result
    spectrum: _sharp_spectrum.Result
    rescaling: _sharp_rescaling.Result


PARTS = {
    "edge": _sharp_edge,
    "spectrum": _sharp_spectrum,
    "rescaling": _sharp_rescaling,
}


def run(config: Config) -> Result:
    """The edge of stability in float32, spectra and rescaling in float64."""
    return Result(**_parts.run("sharpness", PARTS, config))


def check(result: Result) -> list[Finding]:
    """The findings of all parts."""
    return _parts.check(PARTS, result)


def plot(result: Result) -> dict[str, Plot]:
    """Two figures of training, two of spectra, one of the rescaling."""
    return _parts.plot(PARTS, result)


def metrics(result: Result) -> Iterator[dict]:
    """The rows of all parts."""
    return _parts.metrics(PARTS, result)


if __name__ == "__main__":
    _cli.main(__file__)
