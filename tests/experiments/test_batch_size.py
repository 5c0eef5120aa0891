"""The study at tiny size: its parts, its claims, its settings."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import (
    _bs_gradient,
    _bs_quadratic,
    _bs_scaling,
    _bs_timing,
    _bs_training,
    _findings,
    batch_size,
)
from jaxdl import data
from jaxdl.models import mlp

GRADIENT = _bs_gradient.Config(n=24, hidden=3, steps=3, sizes=(1, 4, 12, 24), draws=300)
QUADRATIC = _bs_quadratic.Config(
    dim=5, noise=1.0, target=0.05, octaves=8, per_octave=4, seeds=200
)
TRAINING = _bs_training.Config(
    n_train=60,
    hidden=4,
    target=2.0,
    sizes=(1, 4, 16, 60),
    rates=(0.02, 0.1, 0.5),
    seeds=2,
    looks=2,
)
TIMING = _bs_timing.Config(hidden=8, sizes=(1, 2, 4, 8), repeats=3)
TINY = batch_size.Config(
    gradient=GRADIENT, quadratic=QUADRATIC, training=TRAINING, timing=TIMING
)
KEY = jax.random.key(0)
PARTS = {
    "gradient": (_bs_gradient, GRADIENT),
    "quadratic": (_bs_quadratic, QUADRATIC),
    "training": (_bs_training, TRAINING),
    "timing": (_bs_timing, TIMING),
}


def run(name, key=KEY, **changes):
    part, config = PARTS[name]
    return part.run(dataclasses.replace(config, **changes), key, lambda share: None)


@pytest.fixture(scope="module")
def result():
    return batch_size.run(TINY)


def holds(findings, words):
    (finding,) = [f for f in findings if words in f.claim]
    return finding.holds


def test_the_whole_study_runs_and_reports(result):
    findings = batch_size.check(result)
    assert len({finding.claim for finding in findings}) == len(findings) == 30
    plots = batch_size.plot(result)
    assert {*plots} == {"gradient", "quadratic", "training", "timing"}
    for drawn in plots.values():
        drawn.figure.draw_without_rendering()
    rows = list(batch_size.metrics(result))
    assert {row["part"] for row in rows} == {*PARTS}
    assert len([row for row in rows if row["part"] == "gradient"]) == 2 * 4


def test_what_is_exact_holds_already_at_tiny_size(result):
    for finding in batch_size.check(result):
        if finding.kind in {"theorem", "closed form"}:
            assert finding.holds, finding.claim


def test_the_moments_are_those_of_replayed_batches():
    """By NumPy, from the same rows, without the modes."""
    with jax.enable_x64(True):
        keys = jax.random.split(KEY, 6)
        batch, params = _bs_gradient._trained(
            GRADIENT, keys[0], *jax.random.split(keys[1])
        )
        rows = []
        for x, y in zip(*batch, strict=True):

            def loss(params, x=x, y=y):
                z = mlp.apply(params, x)
                return jax.nn.logsumexp(z) - z[y]

            flat = jax.flatten_util.ravel_pytree(jax.grad(loss)(params))[0]
            rows.append(np.asarray(flat))
    rows = np.stack(rows)
    whole = rows.mean(0)
    part = run("gradient")
    np.testing.assert_allclose(part.square, whole @ whole, rtol=1e-10)
    np.testing.assert_allclose(part.trace, rows.var(0).sum(), rtol=1e-10)
    _, picked = _bs_gradient._batches(
        GRADIENT, 4, *(jax.random.fold_in(key, 1) for key in keys[4:])
    )
    means = rows[picked].mean(1)
    squares = np.sum((means - whole) ** 2, axis=1)
    np.testing.assert_allclose(part.variance[1, 1, 0], squares.mean(), rtol=1e-10)
    np.testing.assert_allclose(
        part.variance_error[1, 1, 0], squares.std(ddof=1) / 300**0.5, rtol=1e-10
    )
    norms = np.sum(means**2, axis=1)
    np.testing.assert_allclose(part.norms[1, 1], norms.mean(), rtol=1e-10)
    along = (means.mean(0) - whole) @ whole / np.linalg.norm(whole)
    np.testing.assert_allclose(part.bias[1, 1, 0], along, atol=1e-10)
    assert all(len({*row}) == 4 for row in picked.tolist())


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_predicted_variances_are_those_of_all_batches(result, size):
    rows = np.random.default_rng(0).normal(size=5)
    part = dataclasses.replace(
        result.gradient,
        n=5,
        sizes=np.array([size]),
        trace=rows.var(),
        along=np.array([rows.var()]),
    )
    draws = itertools.product(rows, repeat=size), itertools.combinations(rows, size)
    expected = [np.var([np.mean(batch) for batch in every]) for every in draws]
    found = _bs_gradient.predicted(part)
    np.testing.assert_allclose(found[:, 0, 0], expected, atol=1e-15)
    np.testing.assert_allclose(found[:, 0, 1], expected, atol=1e-15)


def test_wrong_moments_are_found(result):
    part = result.gradient
    wrong = dataclasses.replace(
        part,
        mean_error=1e-6,
        epoch_error=1e-6,
        bias=part.bias + 6 * part.bias_error,
        variance=part.variance + part.variance[0, 0] / 5,
        norms=part.norms * np.array([1.0, 1.2, 1.4, 2.0]) + 5 * part.square,
        library=part.library * 1.001 + part.trace,
    )
    assert not any(f.holds for f in _bs_gradient.check(wrong))


def test_rounding_is_no_deviation():
    got = _bs_gradient.scores(np.array([1e-20, 1.0]), np.array([0.0, 2.0]), np.ones(2))
    np.testing.assert_allclose(got, [0, 1])
    np.testing.assert_allclose(_findings.largest_z(1), 3.2905, rtol=1e-4)


def test_expected_loss_by_hand_and_race_by_brute_force():
    h = np.array([1.0, 0.5])
    # From x = 1 with a = 1: the first direction is all noise at once.
    got = _bs_quadratic.expected_loss(h, 0.3, 1.0, np.array([0, 1]))
    np.testing.assert_allclose(got, [0.75, (0.3 + 0.5 * (0.25 + 0.15)) / 2])
    part = run("quadratic")
    h = 1 / np.arange(1.0, 6)
    for row in (0, 4, 8):
        first = {}
        for rate in part.rates:
            moments = np.ones(5)
            for step in range(1, part.steps[row] + 1):
                moments = (1 - rate * h) ** 2 * moments + rate**2 * h / part.sizes[row]
                if moments @ h / 2 <= part.target:
                    first[step] = rate
                    break
        assert min(first) == part.steps[row]


def test_a_race_without_a_winner_fails_its_claims(monkeypatch):
    monkeypatch.setattr(_bs_quadratic, "LONGEST", 2)
    part = run("quadratic")
    assert (part.steps == -1).all()
    findings = _bs_quadratic.check(part)
    assert [f.claim[:38] for f in findings if f.holds] == [
        "noisy quadratic: the best gain of one "
    ]
    _bs_quadratic.plot(part).figure.draw_without_rendering()


def test_wrong_races_are_found(result):
    part = result.quadratic
    wrong = dataclasses.replace(
        part,
        steps=np.r_[4 ** np.arange(len(part.steps))[::-1][:-1] + 50, 1],
        best=part.best[::-1],
        formula=part.formula[:, ::-1] + 1,
        scales=part.scales * 1e5,
        one_step=part.one_step * [1, 1.01],
        simulated=part.simulated * 1.5,
    )
    assert not any(f.holds for f in _bs_quadratic.check(wrong))


def test_critical_size_and_slopes():
    sizes = 2.0 ** np.arange(10)
    steps = 30 * (1 + 20 / sizes)
    got = _bs_scaling.critical_size(sizes, steps, 30)
    np.testing.assert_allclose(got, 20, rtol=0.03)  # chords of a convex curve
    assert np.isnan(_bs_scaling.critical_size(sizes, np.full(10, 31.0), 30))
    assert np.isnan(_bs_scaling.critical_size(sizes, np.full(10, 90.0), 30))
    np.testing.assert_allclose(_bs_scaling.slopes(sizes, 5 / sizes), -1)


def test_the_race_of_networks_is_replayed(result):
    part = result.training  # its largest batch holds all rows
    (best,) = np.flatnonzero(np.isfinite(part.steps[3]).all(1))[:1]
    key = jax.random.split(jax.random.key(0), 4)[2]
    split_key, init_key, _ = jax.random.split(key, 3)
    rows = data.split(split_key, data.digits(), 60)
    params = mlp.init(jax.random.split(init_key, 2)[1], (64, 4, 10))

    def loss(params, x, y):
        z = jax.vmap(mlp.apply, (None, 0))(params, x)
        return jnp.mean(jax.nn.logsumexp(z, 1) - z[jnp.arange(len(y)), y])

    train, test = (
        (np.float32(rows.x_train), rows.y_train),
        (np.float32(rows.x_test), rows.y_test),
    )
    gradient, value = jax.jit(jax.grad(loss)), jax.jit(loss)
    reached = 0
    for step in range(1, int(part.steps[3, best, 1]) + 1):
        params = jax.tree.map(
            lambda p, g: p - part.rates[best] * g, params, gradient(params, *train)
        )
        if step % part.every[3] == 0 and value(params, *test) <= part.target:
            reached = step
            break
    assert reached == part.steps[3, best, 1]


def courses(steps, noise=(10.0, 100.0)):
    """A result of training with these median steps, and a noise scale that grows."""
    steps = np.array(steps, float)
    looks = np.geomspace(*noise, 5)[:, None]
    table = np.full((len(steps), 3, 2), np.inf)
    table[:, 1] = steps[:, None]
    return _bs_training.Result(
        sizes=np.array([1, 4, 16, 64, 256]),
        rates=np.array([0.1, 0.2, 0.4]),
        target=0.1,
        steps=table,
        every=np.ones(5, int),
        looks=np.arange(5),
        trace=np.ones((5, 2)),
        square=1 / looks * np.ones(2),
    )


def test_diminishing_returns_are_told_from_none():
    good = courses([3000, 800, 220, 100, 90])
    assert all(f.holds for f in _bs_training.check(good))
    for steps in ([3000, 2900, 2800, 2700, 1000], [3000, 300, 30, 3, 0.3]):
        found = _bs_training.check(courses(steps))
        for words in ("in proportion while", "saves little", "returns diminish"):
            assert not holds(found, words), (steps, words)
    found = _bs_training.check(courses([3000, 800, 220, 100, 90], (1e5, 1e4)))
    assert not holds(found, "critical batch size")
    assert not holds(found, "noise scale grows")
    ends = dataclasses.replace(good, steps=good.steps[:, [1, 0, 2]])
    assert not holds(_bs_training.check(ends), "inside the grid")


def test_a_race_nobody_wins_is_told_and_drawn():
    with pytest.warns(RuntimeWarning, match="not finite"):
        part = run("training", rates=(1e30, 1e31, 1e32))
    assert np.isinf(part.steps).all()
    assert not any(f.holds for f in _bs_training.check(part)[:4])
    _bs_training.plot(part).figure.draw_without_rendering()


def clock(times, sizes=(1, 10, 100, 1000)):
    return _bs_timing.Result(
        "cpu", "float32", np.array(sizes), np.array(times)[:, None] * [1.0, 1.5]
    )


def test_the_fit_of_times_by_hand():
    sizes = np.array([1, 10, 100, 1000])
    a, b = _bs_timing.fit(clock(2e-5 + 4e-7 * sizes))
    np.testing.assert_allclose([a, b], [2e-5, 4e-7], rtol=1e-9)
    assert all(f.holds for f in _bs_timing.check(clock(2e-5 + 4e-7 * sizes)))
    np.testing.assert_allclose(
        _bs_timing.fit(clock(1e-6 * sizes)), [0, 1e-6], atol=1e-15
    )
    assert not holds(_bs_timing.check(clock(1e-6 * sizes)), "costs less in a batch")
    assert not holds(_bs_timing.check(clock(1e-6 * sizes)), "less than its share")
    flat = clock(np.array([1.0, 0.9, 0.8, 0.7]))
    assert _bs_timing.fit(flat)[1] == 0
    assert not holds(_bs_timing.check(flat), "what its examples cost")
    _bs_timing.plot(flat).figure.draw_without_rendering()


def test_times_are_positive_and_say_where(result):
    assert (result.timing.seconds > 0).all()
    assert result.timing.seconds.shape == (4, 3)
    assert result.timing.dtype == "float32"
    assert result.timing.device == jax.devices()[0].device_kind


@pytest.mark.parametrize(
    ("name", "field"),
    [("gradient", "variance"), ("quadratic", "simulated"), ("training", "trace")],
)
def test_the_key_decides_the_result(name, field):
    first, again = run(name), run(name)
    other = run(name, key=jax.random.key(1))
    np.testing.assert_array_equal(getattr(first, field), getattr(again, field))
    assert not np.array_equal(getattr(first, field), getattr(other, field))


CHANGES = {
    "gradient": [
        {"n": 26},
        {"hidden": 4},
        {"steps": 2},
        {"sizes": (1, 4, 24)},
        {"draws": 200},
    ],
    "quadratic": [
        {"dim": 6},
        {"noise": 2.0},
        {"target": 0.1},
        {"octaves": 7},
        {"per_octave": 5},
        {"seeds": 100},
    ],
    "training": [
        {"n_train": 70},
        {"hidden": 5},
        {"target": 1.9},
        {"sizes": (1, 4, 16, 50)},
        {"rates": (0.02, 0.1)},
        {"seeds": 3},
        {"looks": 1},
    ],
    "timing": [{"hidden": 16}, {"sizes": (1, 2, 4, 16)}, {"repeats": 2}],
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
        (lambda: _bs_gradient.Config(draws=1), r"gradient\.draws must be >= 2"),
        (lambda: _bs_gradient.Config(hidden=0), r"gradient\.hidden must be >= 1"),
        (lambda: _bs_gradient.Config(steps=-1), r"gradient\.steps must be >= 0"),
        (lambda: _bs_gradient.Config(sizes=(1, 4, 2)), r"gradient\.sizes must be"),
        (lambda: _bs_gradient.Config(n=100), r"gradient\.n must lie .* 512"),
        (lambda: _bs_quadratic.Config(noise=0.0), r"quadratic\.noise"),
        (lambda: _bs_quadratic.Config(target=1.0), r"quadratic\.target"),
        (lambda: _bs_quadratic.Config(octaves=2), r"quadratic\.octaves"),
        (lambda: _bs_quadratic.Config(seeds=1), r"quadratic\.seeds"),
        (lambda: _bs_training.Config(rates=(0.1,)), r"training\.rates must be 2"),
        (lambda: _bs_training.Config(sizes=(1, 2, 3)), r"training\.sizes must be 4"),
        (lambda: _bs_training.Config(n_train=1000), r"training\.n_train must be"),
        (lambda: _bs_training.Config(target=0.0), r"training\.target"),
        (lambda: _bs_training.Config(seeds=1), r"training\.seeds must be >= 2"),
        (lambda: _bs_training.Config(looks=0), r"training\.looks"),
        (lambda: _bs_timing.Config(sizes=(1, 2, 3)), r"timing\.sizes"),
        (lambda: _bs_timing.Config(repeats=0), r"timing\.repeats"),
        (lambda: batch_size.Config(seed=-1), "seed must lie in"),
    ],
)
def test_wrong_settings_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
