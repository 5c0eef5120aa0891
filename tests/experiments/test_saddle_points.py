"""The study at tiny size: its parts, its claims, its settings."""

import dataclasses

import jax
import numpy as np
import pytest

from experiments import (
    _sad_escape,
    _sad_linear,
    _sad_points,
    _sad_splitting,
    saddle_points,
)

pytestmark = pytest.mark.filterwarnings("ignore:scatter inputs:FutureWarning")

POINTS = _sad_points.Config(starts=40, grid=5)
LINEAR = _sad_linear.Config(singular=(2.0, 1.0), hidden=2, starts=4)
SPLITTING = _sad_splitting.Config(problems=2, points=7)
ESCAPE = _sad_escape.Config(noises=(1e-8, 1e-4), steps=600, widths=(7,), tied_steps=50)
TINY = saddle_points.Config(
    points=POINTS, linear=LINEAR, splitting=SPLITTING, escape=ESCAPE
)
KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def result():
    return saddle_points.run(TINY)


@pytest.mark.slow
def test_the_whole_study_runs_and_reports(result):
    findings = saddle_points.check(result)
    assert len({finding.claim for finding in findings}) == len(findings) > 15
    failed = [f.claim for f in findings if not f.holds and f.kind != "observation"]
    assert not failed
    plots = saddle_points.plot(result)
    assert {*plots} == {"points", "surface", "linear", "splitting", "escape"}
    for drawn in plots.values():
        drawn.figure.draw_without_rendering()
    rows = list(saddle_points.metrics(result))
    assert {row["part"] for row in rows} == {*saddle_points.PARTS}


def test_a_wrong_index_would_be_noticed():
    linear = _sad_linear.run(LINEAR, KEY, lambda share: None)
    assert all(finding.holds for finding in _sad_linear.check(linear))
    wrong = dataclasses.replace(linear, predicted=linear.predicted + np.eye(3)[1])
    assert not _sad_linear.check(wrong)[0].holds
    missing = dataclasses.replace(linear, losses=linear.losses + 0.01)
    assert not _sad_linear.check(missing)[1].holds


def test_escape_follows_its_settings():
    escape = _sad_escape.run(ESCAPE, KEY, lambda share: None)
    assert all(f.holds for f in _sad_escape.check(escape) if f.kind == "theorem")
    np.testing.assert_allclose(escape.theory[0], 1.04)
    slower = dataclasses.replace(escape, growth=escape.growth - 0.01)
    assert not _sad_escape.check(slower)[0].holds


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: _sad_points.Config(starts=1), "points.starts must be >= 2"),
        (lambda: _sad_linear.Config(singular=(1.0, 2.0)), "linear.singular must"),
        (lambda: _sad_linear.Config(noise=0), "must be positive"),
        (lambda: _sad_linear.Config(hidden=0), "linear.hidden must be"),
        (lambda: _sad_splitting.Config(problems=0), "splitting.problems must be"),
        (lambda: _sad_splitting.Config(low=0.5), "must hold 0 and 1"),
        (lambda: _sad_escape.Config(noises=(1e-3,)), "escape.noises must be two"),
        (lambda: _sad_escape.Config(noises=(1e-3, 0.1)), "escape.noises must be at"),
        (lambda: _sad_escape.Config(momentum=1.0), "escape.momentum"),
        (lambda: _sad_escape.Config(widths=(1,)), "escape.widths"),
        (lambda: saddle_points.Config(seed=-1), "seed must lie"),
    ],
)
def test_settings_are_checked(make, message):
    with pytest.raises(ValueError, match=message):
        make()
