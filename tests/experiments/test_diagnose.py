"""The study at tiny size: its runs, its claims, its settings."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import _diag_runs, diagnose
from experiments._diag_runs import BY_HAND, SETTINGS, TANH, Numbers
from jaxdl import diagnostics
from jaxdl.models import mlp

TINY = diagnose.Config(seeds=2, n_train=30, inputs=3, hidden=4, steps=200)
KEY = jax.random.key(0)
FAULTS = [i for i, setting in enumerate(SETTINGS) if setting.problem]


@pytest.fixture(scope="module")
def result():
    return diagnose.run(TINY)


def holds(findings, words):
    (finding,) = [f for f in findings if words in f.claim]
    return finding.holds


def test_the_whole_study_runs_and_reports(result):
    findings = diagnose.check(result)
    assert len({finding.claim for finding in findings}) == len(findings)
    assert len(findings) == len(SETTINGS) + 2 * len(FAULTS)
    for drawn in diagnose.plot(result).values():
        drawn.figure.draw_without_rendering()
    rows = list(diagnose.metrics(result))
    assert len(rows) == 2 * len(SETTINGS)
    assert result.reported.shape == (len(SETTINGS), 2, len(diagnostics.PROBLEMS))


def test_faults_that_do_not_depend_on_size_are_found(result):
    findings = diagnose.check(result)
    assert holds(findings, "gradient lacks a slope: share")
    assert holds(findings, "units start alike: share")
    assert holds(findings, "hidden biases start at -6: share")
    assert holds(findings, "inputs of scales 1 to 1/100: share")


def test_every_problem_has_a_fault_and_each_fault_one_problem():
    problems = {setting.problem for setting in SETTINGS}
    assert problems == {"", *diagnostics.PROBLEMS}
    assert all(
        (setting.remedy is None) == (not setting.problem) for setting in SETTINGS
    )


def test_inputs_are_whitened_on_the_training_rows():
    problem = _diag_runs.problem(KEY, 40, 5)
    np.testing.assert_allclose(problem.x.T @ problem.x / 40, np.eye(5), atol=1e-5)
    np.testing.assert_allclose(problem.x.mean(0), 0, atol=1e-5)
    spread = _diag_runs.spread_inputs(Numbers(0.1, spread=100.0), problem)
    np.testing.assert_allclose(
        np.std(spread.x, 0), [1, 10**-0.5, 0.1, 10**-1.5, 0.01], rtol=1e-4
    )
    np.testing.assert_allclose(
        spread.x_held_out[:, 4], problem.x_held_out[:, 4] / 100, rtol=1e-5
    )


def test_a_run_replayed_in_numpy():
    numbers = Numbers(0.2, momentum=0.5, decay=0.1, scale=0.7, penalty=0.05)
    problem = _diag_runs.problem(KEY, 30, 3)
    steps = 8
    runs = _diag_runs.train_all(
        TANH,
        4,
        steps,
        jax.tree.map(lambda n: np.array([n], np.float32), numbers),
        KEY[None],
        jax.tree.map(lambda leaf: leaf[None], problem),
    )
    drawn = mlp.init(jax.random.split(KEY, 4)[0], (3, 4, 4, 10))
    weights = [[0.7 * np.asarray(w), np.asarray(b)] for w, b in drawn]
    velocity = [[np.zeros_like(leaf) for leaf in layer] for layer in weights]
    losses, cosines, before = [], [], None

    def forward(x):
        (w1, b1), (w2, b2), (w3, b3) = weights
        a1 = np.tanh(x @ w1 + b1)
        a2 = np.tanh(a1 @ w2 + b2)
        return a1, a2, a2 @ w3 + b3

    for step in range(steps):
        a1, a2, out = forward(problem.x)
        error = out - np.eye(10)[problem.y]
        size = sum(np.sum(leaf**2) for layer in weights for leaf in layer)
        losses.append(np.sum(error**2) / 60 + 0.05 * size / 2)
        d3 = error / 30
        d2 = d3 @ weights[2][0].T * (1 - a2**2)
        d1 = d2 @ weights[1][0].T * (1 - a1**2)
        update = []
        for i, (a, d) in enumerate(((problem.x, d1), (a1, d2), (a2, d3))):
            for j, g in enumerate((a.T @ d, d.sum(0))):
                velocity[i][j] = 0.5 * velocity[i][j] + g + 0.05 * weights[i][j]
                moved = -0.2 * 0.1 ** (step / steps) * velocity[i][j]
                weights[i][j] = weights[i][j] + moved
                update.append(moved.ravel())
        update = np.concatenate(update)
        if before is not None and step > 1:
            cosines.append(
                update @ before / np.linalg.norm(update) / np.linalg.norm(before)
            )
        before = update
    np.testing.assert_allclose(runs.loss[0, 0], losses, rtol=1e-4)
    np.testing.assert_allclose(runs.cosines[0, 0], cosines, atol=1e-3)
    held_out = forward(problem.x_held_out)[2] - np.eye(10)[problem.y_held_out]
    np.testing.assert_allclose(
        runs.validation[0, 0, -1], np.sum(held_out**2) / 60, rtol=1e-4
    )


def test_the_gradient_by_hand_is_right_but_for_its_planted_error():
    params = _diag_runs.initial(KEY, (3, 4, 4, 10), Numbers(0.1))
    batch = _diag_runs.problem(KEY, 30, 3)[:2]
    right = jax.grad(
        lambda p: jnp.mean(
            jax.vmap(
                lambda x, y: _diag_runs.one_hot_loss(
                    mlp.apply(p, x, activation=jnp.tanh), y
                )
            )(*batch)
        )
    )(params)
    for error, same in ((0.0, True), (1.0, False)):
        by_hand = jax.grad(_diag_runs.hand_loss)(params, batch, jnp.float32(error))
        for layer, close in enumerate((same, True, True)):
            for got, expected in zip(by_hand[layer], right[layer], strict=True):
                assert np.allclose(got, expected, rtol=1e-4, atol=1e-6) == close
    assert _diag_runs.check(params, batch, 0.0, KEY).verdict == "right"
    found = _diag_runs.check(params, batch, 1.0, KEY)
    assert found.verdict == "wrong"
    assert "[0]" in found.worst


def test_first_weights_have_the_faults_asked_for():
    sizes = (3, 4, 4, 10)
    usual = _diag_runs.initial(KEY, sizes, Numbers(0.1))
    alike = _diag_runs.initial(KEY, sizes, Numbers(0.1, alike=1.0))
    for layer in alike[:2]:
        np.testing.assert_array_equal(layer.kernel, layer.kernel[:, :1].repeat(4, 1))
    assert np.ptp(alike[2].kernel, axis=1).min() > 0
    np.testing.assert_array_equal(alike[2].kernel, alike[2].kernel[:1].repeat(4, 0))
    small = _diag_runs.initial(KEY, sizes, Numbers(0.1, scale=0.5, bias=-6.0))
    np.testing.assert_allclose(small[1].kernel, usual[1].kernel / 2, rtol=1e-6)
    np.testing.assert_array_equal(small[0].bias, -6)
    np.testing.assert_array_equal(small[2].bias, 0)


def test_labels_are_redrawn():
    problem = _diag_runs.problem(KEY, 300, 3)
    runs = jax.eval_shape(
        lambda: _diag_runs._train(BY_HAND, 4, 4, Numbers(0.1), KEY, problem)
    )
    assert runs.y.shape == (300,)


def test_wilsons_interval_has_its_published_values():
    np.testing.assert_allclose(diagnose.interval(10, 10), (0.7225, 1.0), atol=1e-4)
    np.testing.assert_allclose(diagnose.interval(0, 10), (0.0, 0.2775), atol=1e-4)
    np.testing.assert_allclose(diagnose.interval(5, 10), (0.2366, 0.7634), atol=1e-4)


def doctored(right):
    """A result in which all is as it shall be, or nothing."""
    reported = np.zeros((len(SETTINGS), 3, len(diagnostics.PROBLEMS)), bool)
    for row in FAULTS:
        reported[row, :, diagnostics.PROBLEMS.index(SETTINGS[row].problem)] = True
    nothing = np.zeros_like(reported)
    curves = np.ones((len(SETTINGS), 3, 200))
    high, low = np.full(curves.shape[:2], 2.0), np.full(curves.shape[:2], 1.0)
    if right:
        return diagnose.Result(reported, nothing, curves, curves, high, low)
    return diagnose.Result(~reported, reported, curves, curves, low, low)


def test_right_reports_are_told_from_wrong_ones():
    assert all(finding.holds for finding in diagnose.check(doctored(True)))
    assert not any(finding.holds for finding in diagnose.check(doctored(False)))
    never = dataclasses.replace(
        doctored(True), reported=np.zeros_like(doctored(True).reported)
    )
    findings = [f for f in diagnose.check(never) if "had the symptom" in f.claim]
    assert len(findings) == len(FAULTS)
    assert not any(finding.holds for finding in findings)
    stays = dataclasses.replace(doctored(True), remedied=doctored(True).reported)
    findings = [f for f in diagnose.check(stays) if "had the symptom" in f.claim]
    assert not any(finding.holds for finding in findings)


def test_runs_that_all_failed_are_drawn():
    good = doctored(True)
    failed = dataclasses.replace(
        good, loss=good.loss * np.nan, final=good.final * np.inf
    )
    for drawn in diagnose.plot(failed).values():
        drawn.figure.draw_without_rendering()


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"seeds": 1},
        {"n_train": 40},
        {"inputs": 4},
        {"hidden": 5},
        {"steps": 240},
    ],
)
def test_every_setting_matters(change, result):
    after = diagnose.run(dataclasses.replace(TINY, **change))
    assert not np.array_equal(result.final, after.final)


def test_no_setting_is_left_untested():
    marks = test_every_setting_matters.pytestmark
    (changes,) = [mark.args[1] for mark in marks if mark.name == "parametrize"]
    assert {name for change in changes for name in change} == {
        field.name for field in dataclasses.fields(diagnose.Config)
    }


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seed": -1}, "seed must lie in"),
        ({"seeds": 0}, "seeds must be >= 1"),
        ({"hidden": 0}, "hidden must be >= 1"),
        ({"n_train": 20}, r"n_train must lie in 30\.\.898"),
        ({"inputs": 62}, "inputs must be at least 1"),
        ({"steps": 100}, "steps must be 200 or more"),
        ({"steps": 202}, "multiple of 4"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        diagnose.Config(**settings)
