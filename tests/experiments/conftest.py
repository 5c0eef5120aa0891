"""A study that takes no time, alone in a folder of its own."""

import sys

import pytest

import experiments
from experiments import _cli, _run, _study  # noqa: F401 (imported before the folder goes)

TEXT = '''
"""Averages of coin tosses.

Claim: the mean of many tosses is near
one half.

Source: Bernoulli (1713), https://example.org/ars
Run: python -m experiments coin
Time: quick 1 second,
full 2 seconds.

This paragraph has no label.

Expected: both claims hold.
"""

from dataclasses import dataclass, field

import numpy as np

from experiments import _cli
from experiments._figures import Plot, figure
from experiments._findings import at_least, close

DEMO = True


@dataclass(frozen=True)
class Coin:
    """The coin."""

    heads: float = 0.5  # probability of heads


@dataclass(frozen=True)
class Config:
    """What to run."""

    tosses: int = 1000  # how many tosses
    fail: str = ""  # where to fail
    data: str = "none"  # a file
    coin: Coin = field(default_factory=Coin)
    seed: int = 0

    def __post_init__(self):
        if self.tosses < 1:
            raise ValueError(f"tosses must be at least 1, got {self.tosses}")


PRESETS = {"quick": Config(), "full": Config(tosses=20000)}


@dataclass(frozen=True)
class Result:
    tosses: np.ndarray
    fail: str


def run(config):
    if config.fail == "run":
        raise ValueError("no such coin")
    if config.fail == "interrupt":
        raise KeyboardInterrupt
    rng = np.random.default_rng(config.seed)
    return Result(rng.uniform(size=config.tosses) < config.coin.heads, config.fail)


def check(result):
    if result.fail == "check":
        raise ValueError("cannot check")
    labels = {"kind": "theorem", "source": "Bernoulli (1713)"}
    mean = result.tosses.mean()
    return [
        close("the mean is 1/2", measured=mean, expected=0.5, tolerance=0.1, **labels),
        at_least("heads come up", measured=result.tosses.sum(), low=1, **labels),
    ]


def plot(result):
    if result.fail == "plot":
        raise RuntimeError("cannot plot")
    drawing, axes = figure(height=1)
    axes.plot(np.cumsum(result.tosses)[:20])
    return {"tosses": Plot(drawing, "Heads so far.", "A line that rises.")}


if __name__ == "__main__":
    _cli.main(__file__)
'''


@pytest.fixture
def text():
    """The study's file, to change."""
    return TEXT.lstrip()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of studies that holds the coin; results go beside it."""
    folder = tmp_path / "studies"
    folder.mkdir()
    (folder / "coin.py").write_text(TEXT.lstrip())
    monkeypatch.setattr(experiments, "__path__", [str(folder)])
    monkeypatch.setattr(_cli, "RESULTS", tmp_path / "results")
    known = set(sys.modules)
    yield folder
    for name in set(sys.modules) - known:
        if name.startswith("experiments."):
            del sys.modules[name]
            delattr(experiments, name.removeprefix("experiments."))
