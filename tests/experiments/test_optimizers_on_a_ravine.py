"""The study at tiny size: its parts, its claims, its settings."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import (
    _ravine_axes,
    _ravine_descent,
    _ravine_inputs,
    _ravine_paths,
    _ravine_rates,
    _ravine_velocity,
    optimizers_on_a_ravine,
)

PATHS = _ravine_paths.Config(kappa=10.0, steps=8)
RATES = _ravine_rates.Config(
    dim=4, kappas=(30.0, 100.0, 300.0), seeds=2, limit=3000, curve_steps=60
)
VELOCITY = _ravine_velocity.Config(steps=100)
AXES = _ravine_axes.Config(dim=3, kappa=100.0, steps=300, seeds=2, angles=3)
INPUTS = _ravine_inputs.Config(n_train=60, dim=3, seeds=2)
TINY = optimizers_on_a_ravine.Config(
    paths=PATHS, rates=RATES, velocity=VELOCITY, axes=AXES, inputs=INPUTS
)
KEY = jax.random.key(0)
PARTS = {
    "paths": (_ravine_paths, PATHS),
    "rates": (_ravine_rates, RATES),
    "velocity": (_ravine_velocity, VELOCITY),
    "axes": (_ravine_axes, AXES),
    "inputs": (_ravine_inputs, INPUTS),
}


def run(name, key=KEY, **changes):
    part, config = PARTS[name]
    return part.run(dataclasses.replace(config, **changes), key, lambda share: None)


@pytest.fixture(scope="module")
def result():
    return optimizers_on_a_ravine.run(TINY)


def holds(findings, words):
    found = [f for f in findings if words in f.claim]
    assert found, words
    return all(f.holds for f in found)


def test_the_whole_study_runs_and_reports(result):
    findings = optimizers_on_a_ravine.check(result)
    assert len({finding.claim for finding in findings}) == len(findings) > 30
    plots = optimizers_on_a_ravine.plot(result)
    assert {*plots} == {"paths", "steps", "errors", "velocity", "axes", "inputs"}
    for drawn in plots.values():
        drawn.figure.draw_without_rendering()
    rows = list(optimizers_on_a_ravine.metrics(result))
    assert {row["part"] for row in rows} == {*PARTS}
    assert len([row for row in rows if row["part"] == "rates"]) == 7 * 3


def test_what_is_exact_holds_already_at_tiny_size(result):
    findings = optimizers_on_a_ravine.check(result)
    for words in (
        "crosses the ravine",
        "the spectral radius of the update is",
        "are those of the closed form",
        "the error along the",
        "one Newton step",
        "on a constant slope",
        "when the rate drops",
        "leaves the path as it is",
        "no run takes more steps",
    ):
        assert holds(findings, words), words
    assert result.rates.distances.dtype == np.float64


def replay(name, hessian, x, rate, decay, steps, eps=1e-8):
    """The methods from their textbooks, in NumPy."""
    path, velocity, mean, square = [x], 0 * x, 0 * x, 0 * x
    for t in range(1, steps + 1):
        ahead = x + decay * velocity if name == "nesterov" else x
        g = hessian @ ahead
        if name == "adam":
            mean = decay * mean + (1 - decay) * g
            square = 0.999 * square + 0.001 * g**2
            root = np.sqrt(square / (1 - 0.999**t)) + eps
            x = x - rate * mean / (1 - decay**t) / root
        elif name == "rmsprop":
            square = decay * square + (1 - decay) * g**2
            x = x - rate * g / np.sqrt(square + eps)
        else:
            velocity = decay * velocity - rate * g
            x = x + velocity
        path.append(x + decay * velocity if name == "nesterov" else x)
    return np.array(path)


@pytest.mark.parametrize("name", _ravine_descent.LABELS)
def test_distances_and_steps_replayed_in_numpy(result, name):
    part = result.rates
    key = jax.random.split(jax.random.key(0), 5)[1]
    with jax.enable_x64(True):
        axes, starts = map(np.asarray, _ravine_rates._draw(key, 2, 4))
        drawn = jax.random.normal(jax.random.split(key)[1], (2, 4))
        np.testing.assert_array_equal(starts, drawn)
    np.testing.assert_allclose(axes[1] @ axes[1].T, np.eye(4), atol=1e-12)
    row, x = part.methods.index(name), starts[1]
    for kappa, steps in ((1000.0, 60), (30.0, 3000)):
        hessian = axes[1] @ np.diag(np.geomspace(1, 1 / kappa, 4)) @ axes[1].T
        setting = _ravine_descent.tuning(name, kappa, RATES.adaptive_rate)
        path = replay(name, hessian, x, *setting, steps)
        left = np.linalg.norm(path, axis=1) / np.linalg.norm(x)
        if kappa == 1000.0:
            np.testing.assert_allclose(part.distances[row, 1], left, rtol=1e-9)
        else:
            reached = left <= RATES.tolerance
            assert part.steps[row, 0, 1] == (reached.argmax() if reached.any() else 0)


def test_settings_by_hand():
    tuning = _ravine_descent.tuning
    assert tuning("gradient_descent", 4.0, 0.1) == (1, 0)
    np.testing.assert_allclose(tuning("best_step", 4.0, 0.1), (1.6, 0))
    np.testing.assert_allclose(tuning("heavy_ball", 4.0, 0.1), (16 / 9, 1 / 9))
    np.testing.assert_allclose(tuning("nesterov", 4.0, 0.1), (1, 1 / 3))
    assert tuning("adam", 4.0, 0.1) == (0.1, 0.9)


@pytest.mark.parametrize("name", ["heavy_ball", "nesterov"])
def test_amplitudes_are_those_of_the_recurrence(name):
    rate, decay = _ravine_descent.tuning(name, 50.0, 0.1)
    curvatures = np.array([1.0, 0.7, 0.1, 0.02])
    found = _ravine_descent.amplitudes(name, curvatures, rate, decay, 40)
    for column, c in enumerate(curvatures):
        path = replay(name, np.array([[c]]), np.ones(1), rate, decay, 40)
        np.testing.assert_allclose(found[:, column], path[:, 0], rtol=1e-6, atol=1e-15)


def test_a_wrong_rate_is_found(result):
    part = result.rates
    wrong = dataclasses.replace(
        part,
        radii=part.radii + 1e-6,
        steps=part.steps[:, ::-1],
        flattest=part.flattest * (1 + 1e-7),
        steepest=part.steepest * (1 + 1e-7),
        newton=part.newton + 1e-3,
    )
    findings = _ravine_rates.check(wrong)
    assert not any(f.holds for f in findings if "RMSprop" not in f.claim)
    near = dataclasses.replace(part, steps=np.maximum(part.steps, 1))
    assert not holds(_ravine_rates.check(near), "RMSprop")


def test_methods_that_do_not_arrive_are_drawn(result):
    part = dataclasses.replace(result.rates, steps=result.rates.steps * 0)
    assert np.isnan(_ravine_rates.slope(part, 0))
    assert not holds(_ravine_rates.check(part), "steps grow as")
    for drawn in _ravine_rates.plot(part).values():
        drawn.figure.draw_without_rendering()
    assert {row["steps_median"] for row in _ravine_rates.metrics(part)} == {None}
    inputs = dataclasses.replace(result.inputs, steps=result.inputs.steps * 0)
    assert not holds(_ravine_inputs.check(inputs), "no run takes more steps")
    assert not holds(_ravine_inputs.check(inputs), "saves steps")
    _ravine_inputs.plot(inputs).figure.draw_without_rendering()


def test_a_wrong_velocity_is_found(result):
    part = result.velocity
    np.testing.assert_allclose(part.lengths[:2, 0], 0.02)
    np.testing.assert_allclose(part.lengths[2, 0], 0.038)
    np.testing.assert_allclose(part.lengths[1, 100], 0.9 * part.lengths[1, 99] + 0.002)
    wrong = dataclasses.replace(
        part, lengths=part.lengths[::-1] * np.linspace(1, 2, 200)
    )
    assert not any(f.holds for f in _ravine_velocity.check(wrong))


def test_a_path_over_a_turned_ravine_replayed_in_numpy(result):
    part = result.axes
    key = jax.random.split(jax.random.key(0), 5)[3]
    start_key, turn_key = jax.random.split(key)
    with jax.enable_x64(True):
        start = np.asarray(jax.random.normal(start_key, (2, 3)))[0]
        turn = np.asarray(jnp.linalg.qr(jax.random.normal(turn_key, (2, 3, 3)))[0])[0]
    start = start / np.linalg.norm(start)
    values = np.geomspace(1, 0.01, 3)
    row = list(_ravine_axes.NAMES).index("adam")
    paths = {
        "bowl": replay("adam", np.eye(3), start, 0.01, 0.9, 300, eps=0),
        "aligned": replay("adam", np.diag(values), start, 0.01, 0.9, 300, eps=0),
        "turned": replay(
            "adam", turn * values @ turn.T, turn @ start, 0.01, 0.9, 300, eps=0
        ),
    }
    for label, path in paths.items():
        left = np.linalg.norm(path, axis=1)
        np.testing.assert_allclose(getattr(part, label)[row, 0], left, atol=1e-9)
    change = np.linalg.norm(paths["aligned"] - paths["turned"] @ turn, axis=1)
    np.testing.assert_allclose(part.turning[row, 0], change.max(), rtol=1e-6)


def test_blindness_is_told_from_sight(result):
    part = result.axes
    wrong = dataclasses.replace(
        part,
        scaling=part.turning,
        turning=part.scaling,
        aligned=part.turned,
        turned=part.aligned,
    )
    claims = [f for f in _ravine_axes.check(wrong) if "RMSprop along" not in f.claim]
    assert not any(f.holds for f in claims)
    longer = dataclasses.replace(part, rate=0.02)
    assert not holds(_ravine_axes.check(longer), "RMSprop along")


def test_condition_numbers_of_prepared_inputs(result):
    part = result.inputs
    key = jax.random.split(jax.random.key(0), 5)[4]
    with jax.enable_x64(True):
        draws = np.asarray(jax.random.normal(key, (2, 60, 3)))[1]
    raw = (draws + 1) * np.geomspace(1, 10, 3)
    for row, x in enumerate((raw, raw - raw.mean(0), (raw - raw.mean(0)) / raw.std(0))):
        biased = np.column_stack([x, np.ones(60)])
        hessian = biased.T @ biased / 60
        values = np.linalg.eigvalsh(hessian)
        kappa = values[-1] / values[0]
        np.testing.assert_allclose(part.kappas[row, 1], kappa, rtol=1e-9)
        rate = 2 / (values[0] + values[-1])
        path = replay("best_step", hessian, np.ones(4), rate, 0, 20000)
        left = np.linalg.norm(path, axis=1) / 2
        assert part.steps[row, 1] == (left <= INPUTS.tolerance).argmax()


def test_inputs_that_do_not_help_are_found(result):
    part = result.inputs
    wrong = dataclasses.replace(
        part,
        kappas=part.kappas[::-1],
        wine=part.wine[::-1],
        steps=part.steps[:, ::-1] + 100000,
    )
    assert not any(f.holds for f in _ravine_inputs.check(wrong))


def test_a_zigzag_that_is_none_is_found(result):
    part = dataclasses.replace(result.paths, points=result.paths.points[::-1])
    assert not any(f.holds for f in _ravine_paths.check(part))
    assert result.paths.zigzag[list(_ravine_paths.SHOWN).index("best_step")] == 1


@pytest.mark.parametrize("name", ["rates", "axes", "inputs"])
def test_the_key_decides_the_result(name):
    first, again = run(name), run(name)
    other = run(name, key=jax.random.key(1))
    field = {"rates": "distances", "axes": "turned", "inputs": "kappas"}[name]
    np.testing.assert_array_equal(getattr(first, field), getattr(again, field))
    assert not np.array_equal(getattr(first, field), getattr(other, field))


CHANGES = {
    "paths": [{"kappa": 5.0}, {"turn": 10.0}, {"adaptive_rate": 0.1}, {"steps": 7}],
    "rates": [
        {"dim": 3},
        {"kappas": (30.0, 100.0, 200.0)},
        {"seeds": 1},
        {"tolerance": 1e-4},
        {"adaptive_rate": 0.01},
        {"limit": 20},
        {"curve_kappa": 100.0},
        {"curve_steps": 50},
    ],
    "velocity": [
        {"slope": 1.0},
        {"rate": 0.1},
        {"drop": 0.5},
        {"decay": 0.5},
        {"steps": 90},
    ],
    "axes": [
        {"dim": 2},
        {"kappa": 10.0},
        {"rate": 0.02},
        {"steps": 200},
        {"seeds": 3},
        {"angles": 4},
    ],
    "inputs": [
        {"n_train": 50},
        {"dim": 2},
        {"largest_scale": 5.0},
        {"offset": 0.0},
        {"seeds": 1},
        {"tolerance": 1e-3},
        {"limit": 50},
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
        if f.name not in change
    )


def test_no_setting_is_left_untested():
    for name, (_, config) in PARTS.items():
        changed = {field for change in CHANGES[name] for field in change}
        assert changed == {field.name for field in dataclasses.fields(config)}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: _ravine_paths.Config(kappa=1.0), r"paths\.kappa must be > 1, got 1"),
        (lambda: _ravine_paths.Config(turn=200.0), r"paths\.turn must lie in"),
        (lambda: _ravine_paths.Config(adaptive_rate=0.0), r"paths\.adaptive_rate"),
        (lambda: _ravine_paths.Config(steps=1), r"paths\.steps must be >= 2"),
        (lambda: _ravine_rates.Config(seeds=0), r"rates\.seeds must be >= 1"),
        (lambda: _ravine_rates.Config(dim=1), r"rates\.dim must be >= 2"),
        (lambda: _ravine_rates.Config(kappas=(9.0, 3.0, 2.0)), r"rates\.kappas must"),
        (lambda: _ravine_rates.Config(curve_kappa=1.0), r"rates\.curve_kappa must"),
        (lambda: _ravine_rates.Config(tolerance=1.0), r"rates\.tolerance must"),
        (lambda: _ravine_rates.Config(adaptive_rate=-1.0), r"rates\.adaptive_rate"),
        (lambda: _ravine_velocity.Config(steps=1), r"velocity\.steps must be >= 2"),
        (lambda: _ravine_velocity.Config(slope=0.0), r"velocity\.slope must be > 0"),
        (lambda: _ravine_velocity.Config(decay=1.0), r"velocity\.decay must lie in"),
        (lambda: _ravine_axes.Config(angles=1), r"axes\.angles must be >= 2"),
        (lambda: _ravine_axes.Config(kappa=0.5), r"axes\.kappa must be > 1"),
        (lambda: _ravine_axes.Config(rate=0.0), r"axes\.rate must be > 0"),
        (lambda: _ravine_inputs.Config(n_train=5), r"inputs\.n_train must be >="),
        (lambda: _ravine_inputs.Config(seeds=0), r"inputs\.seeds and limit must"),
        (lambda: _ravine_inputs.Config(largest_scale=0.5), r"inputs\.largest_scale"),
        (lambda: _ravine_inputs.Config(offset=np.inf), r"inputs\.offset must be fin"),
        (lambda: _ravine_inputs.Config(tolerance=0.0), r"inputs\.tolerance must lie"),
        (lambda: optimizers_on_a_ravine.Config(seed=-1), "seed must lie in"),
    ],
)
def test_wrong_settings_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
