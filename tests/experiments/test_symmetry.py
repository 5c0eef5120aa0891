"""The study at tiny size: its parts, its claims, its settings."""

import dataclasses

import jax
import numpy as np
import pytest

from experiments import (
    _sym_actions,
    _sym_barriers,
    _sym_conserved,
    _sym_orbits,
    symmetry,
)
from jaxdl.landscape import mlp_symmetry
from jaxdl.models import mlp

ACTIONS = _sym_actions.Config(
    activations=("relu", "tanh"), hidden=(3,), examples=5, draws=2
)
CONSERVED = _sym_conserved.Config(
    n_train=20, hidden=(4,), learning_rates=(0.02, 0.08), steps=40
)
ORBITS = _sym_orbits.Config(n_train=40, hidden=(6,), seeds=2, steps=60, most=4)
BARRIERS = _sym_barriers.Config(
    widths=(3, 8),
    pairs=1,
    n_train=100,
    steps=30,
    curve_steps=20,
    points=5,
    random_starts=1,
)
TINY = symmetry.Config(
    actions=ACTIONS, conserved=CONSERVED, orbits=ORBITS, barriers=BARRIERS
)
KEY = jax.random.key(0)
PARTS = {
    "actions": (_sym_actions, ACTIONS),
    "conserved": (_sym_conserved, CONSERVED),
    "orbits": (_sym_orbits, ORBITS),
    "barriers": (_sym_barriers, BARRIERS),
}


def run(name, key=KEY, **changes):
    part, config = PARTS[name]
    return part.run(dataclasses.replace(config, **changes), key, lambda share: None)


@pytest.fixture(scope="module")
def result():
    return symmetry.run(TINY)


def holds(findings, words):
    (finding,) = [f for f in findings if words in f.claim]
    return finding.holds


def test_the_whole_study_runs_and_reports(result):
    findings = symmetry.check(result)
    assert len({finding.claim for finding in findings}) == len(findings) > 20
    plots = symmetry.plot(result)
    assert {*plots} == {"actions", "conserved", "orbits", "barriers", "paths"}
    for drawn in plots.values():
        drawn.figure.draw_without_rendering()
    rows = list(symmetry.metrics(result))
    assert {row["part"] for row in rows} == {*PARTS}
    assert len([row for row in rows if row["part"] == "barriers"]) == 2 * 1 * 4


def test_what_is_exact_holds_already_at_tiny_size(result):
    findings = symmetry.check(result)
    for words in (
        "leave the outputs alone",
        "the same in float32",
        "that pass the check",
        "the gradient moves along",
        "same eigenvalues",
        "by what the law says",
        "over the classes are conserved",
        "orthogonal to each rescaling",
        "the Hessian takes",
        "null vectors",
        "with epsilon 0",
        "one loss",
        "is not convex",
    ):
        assert holds(findings, words), words


def test_wrong_results_are_found(result):
    actions = dataclasses.replace(
        result.actions,
        single=result.actions.single + 1e-3,
        double=result.actions.double + 1e-6,
        wrong=result.actions.wrong * 0,
        gradient=result.actions.gradient + 1e-6,
        spectrum=1e-6,
    )
    assert not any(f.holds for f in _sym_actions.check(actions))
    grown = result.conserved.quantities.copy()
    grown[:, -1] *= 2
    conserved = dataclasses.replace(
        result.conserved,
        quantities=grown,
        law=result.conserved.law + 1e-9,
        logits=result.conserved.logits + 1e-9,
        cosine=1e-6,
        hessian=1e-6,
        softmax=1e-6,
        normalized=1e-3 + 0 * result.conserved.normalized,
    )
    assert not any(f.holds for f in _sym_conserved.check(conserved))
    orbits = dataclasses.replace(
        result.orbits,
        losses=np.ones_like(result.orbits.losses),
        exact=result.orbits.exact * 0 + 1,
        spread=result.orbits.spread + 1,
    )
    assert not any(f.holds for f in _sym_orbits.check(orbits))
    barriers = dataclasses.replace(
        result.barriers,
        loss_barriers=np.broadcast_to([0.01, 0.02, 0.03, 0.04], (2, 1, 4)),
        objectives=np.ones_like(result.barriers.objectives),
        planted=~result.barriers.planted,
    )
    assert not any(f.holds for f in _sym_barriers.check(barriers))


def test_the_quantities_are_those_of_replayed_descent():
    found = run("conserved", steps=3)
    _, init_key = jax.random.split(KEY)
    with jax.enable_x64(True):
        params = mlp.init(init_key, (64, 4, 10), dtype=np.float64)
        (w, b), (v, _) = params
        expected = np.sum(w**2, 0) + b**2 - np.sum(v**2, 1)
    np.testing.assert_allclose(found.quantities[:, 0], np.stack([expected] * 4))
    assert found.quantities.shape == (4, 4, 4)
    assert found.quantities.dtype == np.float64


def test_drifts_are_compared_at_one_time(result):
    rates, moved = _sym_conserved.drifts(result.conserved)
    q = result.conserved.quantities
    np.testing.assert_allclose(rates, [0.02, 0.08])
    np.testing.assert_allclose(moved[0], np.sqrt(np.mean((q[0, 40] - q[0, 0]) ** 2)))
    np.testing.assert_allclose(moved[1], np.sqrt(np.mean((q[1, 10] - q[1, 0]) ** 2)))


def test_declarations_with_one_axis_missing():
    right = mlp_symmetry(mlp.init(KEY, (2, 3, 1)), "relu")
    wrong = _sym_actions.one_axis_missing(right)
    assert len(wrong) == len(right.axes) == 3
    for i, symmetry_ in enumerate(wrong):
        assert {*right.axes} - {*symmetry_.axes} == {right.axes[i]}


@pytest.mark.parametrize("name", PARTS)
def test_the_key_decides_the_result(name):
    first, again = run(name), run(name)
    other = run(name, key=jax.random.key(1))
    field = {
        "actions": "wrong",
        "conserved": "quantities",
        "orbits": "losses",
        "barriers": "losses",
    }[name]
    np.testing.assert_array_equal(getattr(first, field), getattr(again, field))
    assert not np.array_equal(getattr(first, field), getattr(other, field))


CHANGES = {
    "actions": [
        {"activations": ("relu", "gelu")},
        {"hidden": (4,)},
        {"examples": 6},
        {"draws": 3},
    ],
    "conserved": [
        {"n_train": 15},
        {"hidden": (5,)},
        {"learning_rates": (0.02, 0.04)},
        {"momentum": 0.5},
        {"weight_decay": 0.2},
        {"steps": 20},
        {"epsilon": 1e-4},
    ],
    "orbits": [
        {"n_train": 30},
        {"hidden": (5,)},
        {"seeds": 1},
        {"steps": 40},
        {"most": 2},
    ],
    "barriers": [
        {"widths": (3, 6)},
        {"pairs": 2},
        {"n_train": 150},
        {"steps": 20},
        {"curve_steps": 10},
        {"points": 7},
        {"random_starts": 0},
    ],
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "change"),
    [(name, change) for name, changes in CHANGES.items() for change in changes],
)
def test_every_setting_matters(name, change):
    before, after = run(name), run(name, **change)
    assert any(
        not np.array_equal(getattr(before, f.name), getattr(after, f.name))
        for f in dataclasses.fields(before)
    )


def test_no_setting_is_left_untested():
    for name, (_, config) in PARTS.items():
        changed = {field for change in CHANGES[name] for field in change}
        assert changed == {field.name for field in dataclasses.fields(config)}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: _sym_actions.Config(activations=("no",)), r"actions\.activations"),
        (lambda: _sym_actions.Config(hidden=(1,)), r"actions\.hidden"),
        (lambda: _sym_actions.Config(draws=0), r"actions\.draws must be >= 1"),
        (lambda: _sym_conserved.Config(steps=1), r"conserved\.steps must be >= 2"),
        (lambda: _sym_conserved.Config(hidden=()), r"conserved\.hidden"),
        (lambda: _sym_conserved.Config(learning_rates=(0.1,)), "learning_rates"),
        (lambda: _sym_conserved.Config(momentum=1.0), r"conserved\.momentum"),
        (lambda: _sym_conserved.Config(epsilon=0.0), r"conserved\.epsilon"),
        (lambda: _sym_orbits.Config(seeds=0), r"orbits\.seeds must be >= 1"),
        (lambda: _sym_orbits.Config(hidden=(1,)), r"orbits\.hidden"),
        (lambda: _sym_orbits.Config(most=1), r"orbits\.most must be >= 2"),
        (lambda: _sym_barriers.Config(widths=(8, 4)), r"barriers\.widths"),
        (lambda: _sym_barriers.Config(points=2), r"barriers\.points must be >= 3"),
        (lambda: _sym_barriers.Config(n_train=50), r"barriers\.n_train"),
        (lambda: symmetry.Config(seed=-1), "seed must lie in"),
    ],
)
def test_wrong_settings_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
