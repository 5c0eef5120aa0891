"""The study at tiny size: its parts, its claims, its settings."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import _avg_moments, _avg_quadratic, _avg_training, averaging
from jaxdl import data, train
from jaxdl.models import mlp

QUADRATIC = _avg_quadratic.Config(
    curvatures=(1.0, 0.4),
    rates=(0.3, 1.1),
    distance=20.0,
    decay=0.9,
    start=30,
    steps=400,
    looks=6,
    seeds=300,
)
TRAINING = _avg_training.Config(
    n_train=100, hidden=4, batch_size=5, steps=40, looks=4, seeds=2
)
TINY = averaging.Config(quadratic=QUADRATIC, training=TRAINING)
KEY = jax.random.key(0)
PARTS = {
    "quadratic": (_avg_quadratic, QUADRATIC),
    "training": (_avg_training, TRAINING),
}


def run(name, key=KEY, **changes):
    part, config = PARTS[name]
    return part.run(dataclasses.replace(config, **changes), key, lambda share: None)


@pytest.fixture(scope="module")
def result():
    return averaging.run(TINY)


def holds(findings, words):
    (finding,) = [f for f in findings if words in f.claim]
    return finding.holds


def test_the_whole_study_runs_and_reports(result):
    findings = averaging.check(result)
    assert len({finding.claim for finding in findings}) == len(findings) == 22
    plots = averaging.plot(result)
    assert {*plots} == {"loss", "variance", "training"}
    for drawn in plots.values():
        drawn.figure.draw_without_rendering()
    rows = list(averaging.metrics(result))
    assert len([row for row in rows if row["part"] == "quadratic"]) == 6 * 2
    assert len([row for row in rows if row["part"] == "training"]) == 5 * 2


def test_what_is_on_the_quadratic_holds_already_at_tiny_size(result):
    for finding in _avg_quadratic.check(result.quadratic):
        assert finding.holds, finding.claim


@pytest.mark.parametrize("t", [1, 2, 7, 40])
def test_moments_are_those_of_the_weights_summed_one_by_one(t):
    ratios = np.array([0.9, 0.3, -0.7, 0.8, 0.8 + 1e-9])
    weights = {
        "last": np.eye(t + 1)[t],
        "all": np.ones(t + 1),
        "late": np.arange(t + 1) >= t // 2,
        "ema": np.r_[0, 0.8 ** np.arange(t)[::-1]],
        "undebiased": np.r_[0.8**t, 0.2 * 0.8 ** np.arange(t)[::-1]],
    }
    found = {
        "last": _avg_moments.last(ratios, t),
        "all": _avg_moments.polyak(ratios, t, 0),
        "late": _avg_moments.polyak(ratios, t, t // 2),
        "ema": _avg_moments.ema(ratios, t, 0.8),
        "undebiased": _avg_moments.undebiased(ratios, t, 0.8),
    }
    i = np.arange(t + 1)
    for name, w in weights.items():
        w = w / w.sum()
        c = [w @ r**i for r in ratios]
        q = [w @ r ** np.abs(i[:, None] - i) @ w for r in ratios]
        np.testing.assert_allclose(found[name], [c, q], rtol=1e-7, err_msg=name)


def test_stationary_variances_and_their_limits():
    h, a, s2 = np.array([1.0, 0.2]), 0.5, 3.0
    v = _avg_moments.variance(h, a, s2)
    np.testing.assert_allclose(v, (1 - a * h) ** 2 * v + a**2 * s2)
    r, d = 1 - a * h, 0.9
    many = v * _avg_moments.polyak(r, 10**7, 0)[1] * 10**7
    np.testing.assert_allclose(many, s2 / h**2, rtol=1e-5)
    smooth = (1 - d) / (1 + d) * (1 + d * r) / (1 - d * r)
    np.testing.assert_allclose(_avg_moments.ema(r, 10**4, d)[1], smooth, rtol=1e-12)


def test_runs_are_replayed_with_the_same_noise():
    config = dataclasses.replace(QUADRATIC, steps=60, seeds=3)
    part = run("quadratic", steps=60, seeds=3)
    seen = np.zeros((6, 3))
    h, a = np.array(config.curvatures), config.rates[1]
    with jax.enable_x64(True):
        keys = jax.random.split(jax.random.split(KEY)[1], (2, 3, 2))
        draw = jax.jit(
            lambda key, t: jax.random.normal(jax.random.fold_in(key, t), (2,))
        )
        for seed in range(3):
            x = [np.full(2, 20.0)]
            slow = x[0]
            for t in range(60):
                noise = np.asarray(draw(keys[1, seed, 1], t))
                x.append(x[-1] - a * (h * x[-1] + noise))
                slow = slow - a / (1 + a * h[1] * t) * (h * slow + noise)
            x = np.stack(x)[:, 1]
            fading = 0.9 ** np.arange(60)[::-1]
            seen[:, seed] = (
                x[-1],
                x.mean(),
                x[30:].mean(),
                np.average(x[1:], weights=fading),
                0.9**60 * x[0] + 0.1 * fading @ x[1:],
                slow[1],
            )
    got = part.mean[:, 1, -1, 1, 1], part.mean_error[:, 1, -1, 1, 1]
    np.testing.assert_allclose(got[0], seen.mean(1), rtol=1e-9)
    np.testing.assert_allclose(got[1], seen.std(1, ddof=1) / 3**0.5, rtol=1e-9)
    np.testing.assert_allclose(
        part.square[:, 1, -1, 1, 1], np.mean(seen**2, axis=1), rtol=1e-9
    )


def test_wrong_moments_are_found(result):
    part = result.quadratic
    wrong = dataclasses.replace(
        part,
        square=part.square + 6 * part.square_error + 1e-3 * part.noise,
        mean=part.mean + 6 * part.mean_error,
    )
    findings = _avg_quadratic.check(wrong)
    for finding in findings:
        if "standard errors, largest" in finding.claim:
            assert not finding.holds, finding.claim
    far = dataclasses.replace(part, square=part.square * 1.5)
    assert not holds(_avg_quadratic.check(far), "tends to s2 / (l^2 n)")
    unstable = dataclasses.replace(part, rates=part.rates * 1e-7)
    assert not holds(_avg_quadratic.check(unstable), "nothing of the rate is left")


def test_comparisons_can_go_the_other_way(result):
    part = result.quadratic
    swapped = dataclasses.replace(part, square=part.square[[2, 2, 1, 3, 4, 2]])
    findings = _avg_quadratic.check(swapped)
    early = dataclasses.replace(part, square=part.square[[1, 0, 2, 3, 4, 5]])
    assert not holds(_avg_quadratic.check(early), "start is not forgotten")
    for words in (
        "averaging has lowered the loss",
        "the start still weighs",
        "at equal budget",
    ):
        assert not holds(findings, words), words


def test_the_network_is_replayed():
    part = run("training", seeds=2)
    split_key, label_key, init_key, order_key = jax.random.split(KEY, 4)
    rows = data.split(split_key, data.digits(), 100)
    y = np.asarray(
        data.redraw_labels(
            jax.random.split(label_key, 2)[1], np.int32(rows.y_train), 0.2, 10
        )
    )
    x = np.float32(rows.x_train)
    params = mlp.init(jax.random.split(init_key, 2)[1], (64, 4, 10))
    flat, unravel = jax.flatten_util.ravel_pytree(params)

    def loss(flat, x, y):
        z = jax.vmap(mlp.apply, (None, 0))(unravel(flat), x)
        return jnp.mean(jax.nn.logsumexp(z, 1) - z[jnp.arange(len(y)), y])

    gradient, value = jax.jit(jax.grad(loss)), jax.jit(loss)
    batch_key, _ = jax.random.split(jax.random.split(order_key, 2)[1])
    picked = np.asarray(train.epoch_batches(batch_key, jnp.int32(0), 40, 100, 5))
    path, slow = [flat], flat
    for t, batch in enumerate(picked):
        path.append(path[-1] - 0.2 * gradient(path[-1], x[batch], y[batch]))
        rate = 0.1 * (1 + np.cos(np.pi * t / 40))
        slow = slow - rate * gradient(slow, x[batch], y[batch])
    path = np.stack(path)
    fading = 0.99 ** np.arange(40)[::-1]
    ends = (
        path[-1],
        path.mean(0),
        path[20:].mean(0),
        np.average(path[1:], axis=0, weights=fading),
        slow,
    )
    expected = [value(np.float32(end), x, y) for end in ends]
    np.testing.assert_allclose(part.train[:, -1, 1], expected, rtol=1e-3)
    test = np.float32(rows.x_test), rows.y_test
    expected = [value(np.float32(end), *test) for end in ends]
    np.testing.assert_allclose(part.test[:, -1, 1], expected, rtol=1e-3)


def courses(ends, early=2.0, all_over_late=1.2):
    """A result of training with these held-out losses at the end."""
    test = np.array(ends)[:, None, None] * np.ones((5, 2, 4))
    train_loss = np.ones((5, 2, 4))
    train_loss[1] = [[early] * 4, [all_over_late] * 4]
    return _avg_training.Result(
        steps=np.array([10, 20]),
        train=train_loss,
        test=test,
        error=test / 10,
        failed=np.zeros((2, 4), bool),
    )


def test_good_averages_are_told_from_bad():
    good = courses([1.0, 0.9, 0.7, 0.7, 0.72])
    assert all(f.holds for f in _avg_training.check(good))
    bad = courses([1.0, 1.1, 1.2, 1.3, 0.5], early=0.5, all_over_late=0.9)
    bad = dataclasses.replace(bad, failed=~bad.failed)
    assert not any(f.holds for f in _avg_training.check(bad))


def test_runs_that_diverge_are_told_and_drawn():
    with pytest.warns(RuntimeWarning, match="not finite"):
        part = run("training", rate=1e30)
    assert part.failed.all()
    assert np.isnan(part.test).all()
    assert not any(f.holds for f in _avg_training.check(part))
    _avg_training.plot(part).figure.draw_without_rendering()


@pytest.mark.parametrize(
    ("name", "field"), [("quadratic", "mean"), ("training", "test")]
)
def test_the_key_decides_the_result(name, field):
    first, again = run(name), run(name)
    other = run(name, key=jax.random.key(1))
    np.testing.assert_array_equal(getattr(first, field), getattr(again, field))
    assert not np.array_equal(getattr(first, field), getattr(other, field))


CHANGES = {
    "quadratic": [
        {"curvatures": (1.0, 0.5)},
        {"rates": (0.3, 1.0)},
        {"noise": 2.0},
        {"distance": 10.0},
        {"decay": 0.8},
        {"start": 20},
        {"steps": 300},
        {"looks": 5},
        {"seeds": 200},
    ],
    "training": [
        {"n_train": 90},
        {"label_noise": 0.0},
        {"hidden": 5},
        {"batch_size": 4},
        {"rate": 0.1},
        {"decay": 0.9},
        {"steps": 48},
        {"looks": 2},
        {"seeds": 3},
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
        (lambda: _avg_quadratic.Config(curvatures=(0.1, 1.0)), r"quadratic\.curvat"),
        (lambda: _avg_quadratic.Config(rates=()), r"quadratic\.rates must be posi"),
        (lambda: _avg_quadratic.Config(rates=(0.1, 2.0)), r"quadratic\.rates must lie"),
        (lambda: _avg_quadratic.Config(noise=0.0), r"quadratic\.noise"),
        (lambda: _avg_quadratic.Config(distance=-1.0), r"quadratic\.distance"),
        (lambda: _avg_quadratic.Config(decay=1.0), r"quadratic\.decay"),
        (lambda: _avg_quadratic.Config(start=2000), r"quadratic\.start must lie"),
        (lambda: _avg_quadratic.Config(seeds=1), r"quadratic\.seeds"),
        (lambda: _avg_training.Config(n_train=5), r"training\.n_train must lie"),
        (lambda: _avg_training.Config(label_noise=2.0), r"training\.label_noise"),
        (lambda: _avg_training.Config(rate=0.0), r"training\.rate"),
        (lambda: _avg_training.Config(decay=0.0), r"training\.decay"),
        (lambda: _avg_training.Config(steps=30), r"training\.steps must be even"),
        (lambda: _avg_training.Config(hidden=0), r"training\.hidden"),
        (lambda: _avg_training.Config(seeds=1), r"training\.seeds"),
        (lambda: averaging.Config(seed=-1), "seed must lie in"),
    ],
)
def test_wrong_settings_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
