"""The study at tiny size: its parts, its claims, its settings."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import brentq

from experiments import (
    _dd_least_squares,
    _dd_mlp,
    _dd_random_features,
    double_descent,
)
from jaxdl import data, nn

LEAST_SQUARES = _dd_least_squares.Config(
    n_train=8, dim=20, widths=(2, 4, 8, 12, 20), trials=40
)
RANDOM_FEATURES = _dd_random_features.Config(
    n_train=30, ratios=(0.5, 1.0, 2.0), trials=5, predicted_trials=1, ridges=(0.1, 1.0)
)
MLP = _dd_mlp.Config(n_train=60, widths=(2, 8, 20), seeds=2, steps=40, record_every=20)
TINY = double_descent.Config(
    least_squares=LEAST_SQUARES, random_features=RANDOM_FEATURES, mlp=MLP
)
KEY = jax.random.key(0)
DIGITS = data.digits()


def no_tick(share):
    pass


def least_squares(config=LEAST_SQUARES, key=KEY):
    return _dd_least_squares.run(config, key, no_tick)


def random_features(config=RANDOM_FEATURES, key=KEY):
    return _dd_random_features.run(config, key, DIGITS.x, DIGITS.y, no_tick)


def mlp(config=MLP, key=KEY, dataset=DIGITS):
    return _dd_mlp.run(config, key, dataset, no_tick)


@pytest.fixture(scope="module")
def result():
    return double_descent.run(TINY)


def test_the_whole_study_runs_and_reports(result):
    findings = double_descent.check(result)
    assert len({finding.claim for finding in findings}) == len(findings) > 10
    assert {*double_descent.plot(result)} == {"least_squares", "random_features", "mlp"}
    rows = list(double_descent.metrics(result))
    assert {row["part"] for row in rows} == {"least_squares", "random_features", "mlp"}
    assert len([row for row in rows if row["part"] == "mlp"]) == 3 * 2


def test_float64_where_it_matters(result):
    assert result.least_squares.ridgeless.dtype == np.float64
    assert result.random_features.ridgeless.dtype == np.float64


def test_the_peak_is_at_n_already_at_tiny_size(result):
    for part in (result.least_squares, result.random_features):
        median = np.median(part.ridgeless, 1)
        assert part.widths[np.argmax(median)] == part.n_train
        assert np.median(part.ridged[np.argmax(median)]) < median.max() / 3


def test_rank_and_singular_values_of_random_features(result):
    part = result.random_features
    np.testing.assert_array_equal(part.rank[:, 0], np.minimum(part.widths, 30))
    assert np.argmin(np.median(part.smallest, 1)) == 1
    np.testing.assert_allclose(part.zero_risk, 1.0)
    np.testing.assert_allclose(part.mean_risk, 0.9, atol=1e-3)


def test_parameters_are_counted(result):
    np.testing.assert_array_equal(
        result.mlp.parameters, [(64 + 1) * w + (w + 1) * 10 for w in (2, 8, 20)]
    )


def test_a_trial_of_least_squares_replayed_in_numpy():
    config, width = LEAST_SQUARES, 12
    part = least_squares()
    key = jax.random.split(jax.random.fold_in(KEY, width), config.trials)[3]
    x_key, noise_key = jax.random.split(key)
    with jax.enable_x64(True):
        x = np.asarray(jax.random.normal(x_key, (8, 20)))
        noise = np.asarray(jax.random.normal(noise_key, (8,)))
    beta = 1 / np.sqrt(np.arange(1, 21))
    beta /= np.linalg.norm(beta)
    y = x @ beta + np.sqrt(config.noise) * noise
    used, row = x[:, :width], 3

    def risk(w):
        return np.sum((w - beta[:width]) ** 2) + np.sum(beta[width:] ** 2)

    out = np.sum(beta[width:] ** 2)
    ridge = (config.noise + out) * (width / 8) / (1 - out)
    for name, factor in (
        ("ridged", 1),
        ("quarter_ridge", 1 / 4),
        ("fourfold_ridge", 4),
    ):
        gram = used.T @ used + 8 * factor * ridge * np.eye(width)
        expected = risk(np.linalg.solve(gram, used.T @ y))
        np.testing.assert_allclose(getattr(part, name)[row, 3], expected, rtol=1e-9)
    np.testing.assert_allclose(
        part.ridgeless[row, 3], risk(np.linalg.pinv(used) @ y), rtol=1e-9
    )


def test_a_trial_of_random_features_replayed_in_numpy():
    """Fit, test and population risk, and the deterministic equivalent."""
    part, n, width, row = random_features(), 30, 60, 2
    key = jax.random.split(jax.random.fold_in(KEY, width), RANDOM_FEATURES.trials)[0]
    feature_key, row_key = jax.random.split(key)
    images, targets = _dd_random_features.centred(DIGITS.x), np.eye(10)[DIGITS.y]
    with jax.enable_x64(True):
        kernel_key, _ = jax.random.split(feature_key)
        kernel = np.asarray(jax.random.normal(kernel_key, (64, 64)))[:, :width] / 8
        order = np.asarray(jax.random.permutation(row_key, len(images)))
    features = np.maximum(images @ kernel, 0)
    train, test = order[:n], order[n:]
    weights = np.linalg.pinv(features[train]) @ targets[train]
    squares = np.sum((features @ weights - targets) ** 2, 1)
    np.testing.assert_allclose(part.ridgeless[row, 0], squares[test].mean(), rtol=1e-8)
    np.testing.assert_allclose(
        part.ridgeless_population[row, 0], squares.mean(), rtol=1e-8
    )
    wrong = np.argmax(features @ weights, 1) != DIGITS.y
    np.testing.assert_allclose(part.ridgeless_error[row, 0], wrong[test].mean())

    best = np.linalg.lstsq(features, targets, rcond=None)[0]
    left_out = np.mean(np.sum((features @ best - targets) ** 2, 1))
    e, v = np.linalg.eigh(features.T @ features / len(images))
    squared = np.sum((v.T @ best) ** 2, 1)
    for name, ridge in (
        ("ridgeless", 0.0),
        ("ridged", part.best_ridge[row] * np.sum(e) / n),
    ):
        kappa = brentq(lambda k, r=ridge: k - r - k / n * np.sum(e / (e + k)), 1e-9, 99)
        df2 = np.sum((e / (e + kappa)) ** 2)
        bias = kappa**2 * np.sum(squared * e / (e + kappa) ** 2)
        np.testing.assert_allclose(
            getattr(part, f"{name}_predicted")[row, 0],
            (bias + left_out) / (1 - df2 / n),
            rtol=1e-6,
        )


def test_the_network_is_judged_on_clean_images_it_has_not_seen():
    keys = jax.random.split(KEY, 2)
    problems = _dd_mlp._problems(MLP, keys, DIGITS)
    for key, x, y, x_test, y_test in zip(keys, *problems, strict=True):
        order = jax.random.permutation(jax.random.split(key, 3)[0], len(DIGITS.x))
        train, test = np.split(np.asarray(order), [60])
        shift = DIGITS.x[train].mean(0)
        scale = np.std(DIGITS.x[train] - shift)
        np.testing.assert_allclose(x, (DIGITS.x[train] - shift) / scale, atol=1e-4)
        np.testing.assert_allclose(x_test, (DIGITS.x[test] - shift) / scale, atol=1e-4)
        np.testing.assert_array_equal(y_test, DIGITS.y[test])
        assert 5 <= np.sum(DIGITS.y[train] != y) <= 32  # 18 expected, 4 s.e. are 14
    assert not np.array_equal(problems.x_train[0], problems.x_train[1])


def test_no_two_widths_share_weights_and_each_has_its_scale():
    keys = jax.random.split(KEY, 1)[jnp.zeros(2, int)]
    widths = jnp.array([20, 21])
    fit_keys, (first, last) = _dd_mlp._initial(keys, widths, (64, 32, 10))
    assert not np.array_equal(*jax.random.key_data(fit_keys))
    assert not np.any(first.kernel[0, :, :20] == first.kernel[1, :, :20])
    assert not np.any(first.kernel[0, :, 20:])
    np.testing.assert_allclose(np.var(last.kernel[0, :20]), 2 / 20, rtol=0.5)


def test_training_error_is_on_the_noisy_training_labels():
    x = jnp.eye(3)
    params = (nn.Dense(jnp.eye(3), None), nn.Dense(jnp.eye(3), None))
    problem = _dd_mlp._Problems(x, jnp.array([0, 1, 1]), x, jnp.array([1, 0, 2]))
    errors = _dd_mlp._evaluate(params, None, problem)
    np.testing.assert_allclose(errors["train_error"], 1 / 3)
    np.testing.assert_allclose(errors["test_error"], 2 / 3)


@pytest.mark.parametrize("part", [least_squares, random_features, mlp])
def test_the_key_decides_the_result(part):
    first, again, other = part(), part(), part(key=jax.random.key(1))
    arrays = {
        field.name: [getattr(run, field.name) for run in (first, again, other)]
        for field in dataclasses.fields(first)
    }
    name = "test_error" if part is mlp else "ridgeless"
    np.testing.assert_array_equal(*arrays[name][:2])
    assert not np.array_equal(arrays[name][0], arrays[name][2])


CHANGES = [
    (least_squares, LEAST_SQUARES, {"n_train": 10}),
    (least_squares, LEAST_SQUARES, {"dim": 30}),
    (least_squares, LEAST_SQUARES, {"noise": 0.9}),
    (least_squares, LEAST_SQUARES, {"widths": (2, 8, 18)}),
    (least_squares, LEAST_SQUARES, {"trials": 9}),
    (random_features, RANDOM_FEATURES, {"n_train": 40}),
    (random_features, RANDOM_FEATURES, {"ratios": (0.5, 1.5)}),
    (random_features, RANDOM_FEATURES, {"trials": 4}),
    (random_features, RANDOM_FEATURES, {"predicted_trials": 2}),
    (random_features, RANDOM_FEATURES, {"ridges": (0.01,)}),
    (mlp, MLP, {"n_train": 50}),
    (mlp, MLP, {"label_noise": 0.0}),
    (mlp, MLP, {"widths": (3, 8, 20)}),
    (mlp, MLP, {"seeds": 1}),
    (mlp, MLP, {"steps": 60}),
    (mlp, MLP, {"learning_rate": 0.1}),
    (mlp, MLP, {"record_every": 10}),
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("part", "config", "change"), CHANGES, ids=lambda x: str(x) if x is dict else ""
)
def test_every_setting_matters(part, config, change):
    before, after = part(), part(dataclasses.replace(config, **change))
    assert any(
        not np.array_equal(getattr(before, f.name), getattr(after, f.name))
        for f in dataclasses.fields(before)
    )


def test_no_setting_is_left_untested():
    for config in (LEAST_SQUARES, RANDOM_FEATURES, MLP):
        changed = {name for _, c, change in CHANGES if c is config for name in change}
        assert changed == {field.name for field in dataclasses.fields(config)}


def holds(findings, words):
    (finding,) = [f for f in findings if words in f.claim]
    return finding.holds


def test_a_wrong_formula_is_found(result):
    part = result.least_squares
    wrong = dataclasses.replace(
        part,
        ridgeless_exact=part.ridgeless_exact * 3,
        ridged_limit=part.ridged_limit * 1.2,
        quarter_ridge=part.ridged,
        ridged=part.quarter_ridge,
    )
    findings = _dd_least_squares.check(wrong)
    assert not holds(findings, "largest deviation")
    assert not holds(findings, "within two standard errors")
    assert not holds(findings, "largest relative deviation")
    assert not holds(findings, "a quarter of the optimal ridge")


def test_a_wrong_prediction_and_a_missing_second_descent_are_found(result):
    part = result.random_features
    wrong = dataclasses.replace(
        part,
        ridgeless=np.sort(part.ridgeless, 0),
        ridged=np.sort(part.ridged, 0),
        ridgeless_predicted=part.ridgeless_predicted * 2,
        ridged_predicted=part.ridged_predicted / 2,
    )
    findings = _dd_random_features.check(wrong)
    for words in ("peaks where", "second descent", "best ridge the test risk falls"):
        assert not holds(findings, words)
    assert not holds(findings, "population risk without ridge")
    assert not holds(findings, "population risk at the best ridge")


def curve(errors):
    """A result of the network whose test errors are these, one a width."""
    errors = np.broadcast_to(np.asarray(errors)[:, None, None], (5, 3, 2))
    widths = np.array([2, 4, 8, 16, 32])
    return _dd_mlp.Result(
        n_train=100,
        widths=widths,
        parameters=75 * widths + 10,
        steps=np.array([10, 20]),
        train_error=np.broadcast_to(
            np.array([0.4, 0.3, 0.05, 0.0, 0.0])[:, None, None], (5, 3, 2)
        ),
        test_error=np.stack([np.full((5, 3), 0.1), errors[..., 0]], -1),
        test_loss=errors,
        failed_at=np.zeros((5, 3), int),
        chance_error=0.9,
    )


def test_the_shape_of_double_descent_is_told_from_others():
    assert all(f.holds for f in _dd_mlp.check(curve([0.3, 0.25, 0.5, 0.4, 0.3])))
    falling = _dd_mlp.check(curve([0.5, 0.4, 0.3, 0.2, 0.1]))
    assert not holds(falling, "rises with width")
    rising = _dd_mlp.check(curve([0.1, 0.2, 0.3, 0.4, 0.5]))
    assert not holds(rising, "falls again")
    late = _dd_mlp.check(curve([0.3, 0.25, 0.3, 0.3, 0.3]))
    assert not holds(late, "rises with width")


def test_a_run_that_failed_and_a_useless_early_stop_are_found():
    bad = curve([0.3, 0.25, 0.5, 0.4, 0.3])
    failed = bad.failed_at.copy()
    failed[0, 0] = 7
    stopped = bad.test_error.copy()
    stopped[3] = 0.3
    findings = _dd_mlp.check(
        dataclasses.replace(bad, failed_at=failed, test_error=stopped)
    )
    assert not holds(findings, "not finite")
    assert not holds(findings, "stopped at its best step")


def test_a_run_that_failed_is_still_drawn(result):
    part = result.mlp
    bad = np.full_like(part.test_error, np.nan)
    for values in (bad, np.where(part.widths[:, None, None] == 8, bad, 0.5)):
        failed = dataclasses.replace(part, test_error=values)
        _dd_mlp.plot(failed).figure.draw_without_rendering()
        assert not any(f.holds for f in _dd_mlp.check(failed)[:2])


def test_a_file_made_by_three_lines_of_numpy(tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.normal(50, 20, size=(90, 5)), rng.integers(1, 4, size=90)
    np.savez(
        tmp_path / "my.npz",
        x_train=x[:60],
        y_train=y[:60],
        x_test=x[60:],
        y_test=y[60:],
    )
    config = dataclasses.replace(TINY, data=str(tmp_path / "my.npz"))
    result = double_descent.run(config)
    assert result.random_features.n_train == 30
    assert result.mlp.n_train == 60
    assert np.isfinite(result.random_features.ridged).all()
    assert np.isfinite(result.mlp.test_loss).all()


def test_raw_and_extreme_inputs_are_centred_and_scaled():
    x = np.random.default_rng(0).normal(100, 3, size=(20, 2, 4))
    centred = _dd_random_features.centred(x)
    np.testing.assert_allclose(np.mean(centred**2, 1), 1)
    assert np.isfinite(_dd_random_features.centred(np.zeros((3, 4)))).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: _dd_least_squares.Config(widths=(1, 2)), r"least_squares\.widths"),
        (lambda: _dd_least_squares.Config(trials=1), r"least_squares\.trials"),
        (lambda: _dd_random_features.Config(ratios=(0.5,)), r"random_features\.ratios"),
        (lambda: _dd_random_features.Config(trials=1), "predicted_trials"),
        (lambda: _dd_random_features.Config(ridges=()), r"random_features\.ridges"),
        (lambda: _dd_mlp.Config(widths=(4, 4, 4)), r"mlp\.widths must be three"),
        (lambda: _dd_mlp.Config(steps=0), r"mlp\.steps must be >= 1"),
        (lambda: _dd_mlp.Config(record_every=-20), r"mlp\.record_every must be >= 1"),
        (lambda: _dd_mlp.Config(learning_rate=-1.0), r"mlp\.learning_rate"),
        (lambda: _dd_least_squares.Config(noise=float("nan")), "noise >= 0"),
        (lambda: _dd_random_features.Config(ratios=(0.5, np.inf)), "ratios"),
        (lambda: double_descent.Config(seed=2**40), "seed must lie in"),
        (lambda: mlp(dataset=DIGITS._replace(x=0 * DIGITS.x)), "inputs must differ"),
        (lambda: _dd_mlp.Config(label_noise=1.0), r"mlp\.label_noise"),
        (lambda: _dd_mlp.Config(record_every=33), r"mlp\.record_every"),
        (lambda: double_descent.run(dataclasses.replace(TINY, data="x.npz")), "x.npz"),
        (
            lambda: double_descent.run(dataclasses.replace(TINY, data="digit")),
            "must be digits, mn",
        ),
    ],
)
def test_wrong_settings_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
