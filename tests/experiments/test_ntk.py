"""The study at tiny size: its parts, its claims, its settings."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import (
    _ntk_change,
    _ntk_cost,
    _ntk_curves,
    _ntk_digits,
    _ntk_images,
    _ntk_limit,
    _ntk_network,
    _ntk_scale,
    ntk,
)
from jaxdl import optim

pytest.importorskip("diffrax")

LIMIT = _ntk_limit.Config(widths=(4, 8), n=5, seeds=3)
CHANGE = _ntk_change.Config(widths=(4, 8), n_train=6, looks=2, every=2, seeds=2)
CURVES = _ntk_curves.Config(
    widths=(4, 16), n_train=5, n_test=4, every=2, looks=3, seeds=2
)
SCALE = _ntk_scale.Config(
    alphas=(0.3, 10.0, 100.0),
    lazy=2,
    width=6,
    n_train=6,
    n_test=5,
    steps=6,
    seeds=2,
)
DIGITS = _ntk_digits.Config(
    sizes=(10, 30), n_test=40, width=5, batch_size=5, steps=8, seeds=2
)
COST = _ntk_cost.Config(n=(2, 3), k=(1, 2), width=(3, 4), repeats=1)
IMAGES = _ntk_images.Config(rows=12, channels=4, block_size=7, few=3, seeds=2)
TINY = ntk.Config(
    limit=LIMIT,
    change=CHANGE,
    curves=CURVES,
    scale=SCALE,
    digits=DIGITS,
    images=IMAGES,
    cost=COST,
)
KEY = jax.random.key(0)
PARTS = {name: (part, getattr(TINY, name)) for name, part in ntk.PARTS.items()}


def run(name, key=KEY, **changes):
    part, config = PARTS[name]
    return part.run(dataclasses.replace(config, **changes), key, lambda share: None)


@pytest.fixture(scope="module")
def result():
    return ntk.run(TINY)


def finding(findings, words):
    (found,) = [f for f in findings if words in f.claim]
    return found


def test_the_whole_study_runs_and_reports(result):
    findings = ntk.check(result)
    assert len({f.claim for f in findings}) == len(findings) == 31
    plots = ntk.plot(result)
    assert {*plots} == {
        "limit",
        "change",
        "curves",
        "curve_errors",
        "scale",
        "digits",
        "images",
        "cost",
    }
    for drawn in plots.values():
        drawn.figure.draw_without_rendering()
    counts = {}
    for row in ntk.metrics(result):
        counts[row["part"]] = counts.get(row["part"], 0) + 1
    assert counts == {
        "limit": 6,
        "change": 8,
        "curves": 16,
        "scale": 6,
        "digits": 16,
        "images": 7,
        "cost": 12,
    }


def test_a_trend_is_the_mean_of_slopes_with_students_interval():
    sizes = np.array([1.0, 2.0, 4.0, 8.0])
    slopes = np.array([-1.0, -0.5, -0.6])
    found = _ntk_network.trend(sizes, 3 * sizes[:, None] ** slopes)
    half = 4.302652729911275 * slopes.std(ddof=1) / 3**0.5
    np.testing.assert_allclose(
        found, [slopes.mean(), slopes.mean() - half, slopes.mean() + half]
    )


def test_rows_are_different_and_scaled():
    found = _ntk_network.rows(KEY, (8, 3), 30, 40)
    x = np.concatenate([found.x_train, found.x_test])
    np.testing.assert_allclose(np.sum(x**2, 1), 64, rtol=1e-5)
    assert len(np.unique(x, axis=0)) == 70
    assert {*found.y_train} == {*found.y_test} == {0, 1}


def test_flow_and_descent_on_a_quadratic():
    def objective(x):
        return jnp.sum(jnp.array([1.0, 0.5]) * x**2) / 2

    start = jnp.array([1.0, 2.0])
    seen, end = _ntk_network.flow(objective, lambda x: x, start, 0.1, 5, 4)
    start = np.asarray(start)
    want = start * np.exp(-np.outer(0.5 * np.arange(5), [1.0, 0.5]))
    np.testing.assert_allclose(seen, want, rtol=1e-5)
    np.testing.assert_allclose(end, want[-1], rtol=1e-5)
    seen, _ = _ntk_network.descend(
        objective, lambda x: x, jnp.asarray(start), optim.sgd(0.1), 5, 4
    )
    want = start * np.array([0.9, 0.95]) ** (5 * np.arange(5)[:, None])
    np.testing.assert_allclose(seen, want, rtol=1e-5)


def flat_jacobian(layer, params, x):
    flat, unravel = jax.flatten_util.ravel_pytree(params)
    outputs = jax.vmap(lambda p, x: layer.apply(unravel(p), x), (None, 0))
    return np.asarray(jax.jacobian(outputs)(flat, x), float)


def test_the_distance_of_a_draw_is_replayed(result):
    row_key, init_key = jax.random.split(jax.random.split(KEY, 7)[0])
    x = _ntk_network.rows(row_key, range(10), 5, 2).x_train
    layer = _ntk_network.network(8, 1)
    keys = jax.random.split(jax.random.fold_in(init_key, 1), 3)
    jacobian = flat_jacobian(layer, layer.init(keys[2], (64,)), x)[:, 0]
    limit = np.asarray(layer.kernel(x).ntk, float)
    want = np.linalg.norm(jacobian @ jacobian.T - limit) / np.linalg.norm(limit)
    np.testing.assert_allclose(result.limit.distance[1, 2], want, rtol=1e-4)


def test_a_change_is_replayed(result):
    row_key, init_key = jax.random.split(jax.random.split(KEY, 7)[1])
    picked = _ntk_network.rows(row_key, CHANGE.classes, 6, 2)
    layer = _ntk_network.network(8, 3)
    params = layer.init(jax.random.split(jax.random.fold_in(init_key, 1), 2)[1], (64,))
    flat, unravel = jax.flatten_util.ravel_pytree(params)
    outputs = jax.vmap(lambda p, x: layer.apply(unravel(p), x), (None, 0))
    target = np.eye(3)[picked.y_train] - 1 / 3 + outputs(flat, picked.x_train)

    @jax.jit
    def step(w):
        def loss(w):
            return jnp.sum(jnp.square(outputs(w, picked.x_train) - target)) / 12

        return w - 0.25 * jax.grad(loss)(w)

    def kernel(w):
        j = flat_jacobian(layer, unravel(w), picked.x_train)
        return np.einsum("iap,jap->ij", j, j)

    first = kernel(flat)
    for _ in range(4):
        flat = step(flat)
    want = np.linalg.norm(kernel(flat) - first) / np.linalg.norm(first)
    assert result.change.times[-1] == 1.0
    np.testing.assert_allclose(result.change.change[1, -1, 1], want, rtol=1e-3)


def test_curves_start_together_and_the_error_is_that_of_outputs(result):
    part = result.curves
    for kernel in range(2):
        np.testing.assert_allclose(
            part.predicted[:, kernel, :, :, 0], part.actual[:, :, :, 0], rtol=1e-5
        )
    row_key, init_key = jax.random.split(jax.random.split(KEY, 7)[2])
    picked = _ntk_network.rows(row_key, CURVES.classes, 5, 4)
    layer = _ntk_network.network(16, 3)
    params = layer.init(jax.random.split(jax.random.fold_in(init_key, 1), 2)[1], (64,))
    x = np.concatenate([picked.x_train, picked.x_test])
    y = np.eye(3)[picked.y_train] - 1 / 3
    flat, unravel = jax.flatten_util.ravel_pytree(params)

    @jax.jit
    def outputs(w):
        return jax.vmap(layer.apply, (None, 0))(unravel(w), x)

    slope = jax.jit(jax.grad(lambda w: jnp.sum(jnp.square(outputs(w)[:5] - y)) / 2 / 5))
    j = flat_jacobian(layer, params, x)
    f0 = np.asarray(outputs(flat), float)
    w, v, line, push = flat, 0.0, np.zeros(flat.size), 0.0
    actual, linear = [], []
    for t in range(7):
        if t % 2 == 0:
            actual.append(np.asarray(outputs(w), float)[5:])
            linear.append((f0 + j @ line)[5:])
        v = 0.5 * v + slope(w)
        w = w - 0.25 * v
        push = 0.5 * push + np.einsum("nk,nkp->p", (f0 + j @ line)[:5] - y, j[:5]) / 5
        line = line - 0.25 * push
    actual, linear = np.array(actual), np.array(linear)
    gap = np.linalg.norm((actual - linear).ravel())
    want = gap / np.linalg.norm((actual - actual[:1]).ravel())
    np.testing.assert_allclose(part.error[0, 0, 1, 1], want, rtol=1e-3)


def test_large_scales_are_lazy_already_at_tiny_size(result):
    findings = _ntk_scale.check(result.scale)
    assert finding(findings, "slope of the kernel's relative change").holds
    assert finding(findings, "those of the linearization as fast").holds
    assert np.all(result.scale.loss < 1)


def test_kernel_regression_on_digits_is_replayed(result):
    seed_key = jax.random.split(jax.random.split(KEY, 7)[4], 2)[1]
    rows = _ntk_network.rows(jax.random.fold_in(seed_key, 0), range(10), 30, 40)
    x, x_test = rows.x_train.astype(float), rows.x_test.astype(float)
    own, cross = x @ x.T + 1, x_test @ x.T + 1
    y = np.eye(10)[rows.y_train] - 0.1
    ridge = 1e-3 * np.trace(own) / 30 * np.eye(10)
    f = cross[:, :10] @ np.linalg.solve(own[:10, :10] + ridge, y[:10])
    row = _ntk_digits.METHODS.index("linear")
    wrong = np.mean(np.argmax(f, 1) != rows.y_test)
    assert result.digits.error[row, 0, 1] == wrong
    loss = np.mean(np.sum((f - np.eye(10)[rows.y_test] + 0.1) ** 2, 1)) / 2
    np.testing.assert_allclose(result.digits.loss[row, 0, 1], loss, rtol=1e-6)


def test_the_kernel_of_images_is_replayed(result):
    part = result.images
    _, init_key = jax.random.split(jax.random.split(KEY, 7)[5])
    rows = _ntk_network.rows(
        jax.random.split(jax.random.split(KEY, 7)[5])[0], range(10), 8, 4
    )
    x = np.concatenate([rows.x_train, rows.x_test]).reshape(-1, 8, 8, 1)
    layer = _ntk_images.convolutional(4)
    params = layer.init(jax.random.fold_in(init_key, 0), (8, 8, 1))
    jacobian = flat_jacobian(layer, params, x)
    kernel = np.einsum("iap,jap->ij", jacobian, jacobian) / 10
    want = np.linalg.eigvalsh(kernel)[::-1]
    np.testing.assert_allclose(part.eigenvalues[0], want, rtol=1e-3, atol=1e-4)
    assert part.block_difference < 1e-6


def test_costs_have_a_point_for_each_size(result):
    part = result.cost
    np.testing.assert_array_equal(part.base, [3, 2, 4])
    for axis in range(3):
        found = part.points[_ntk_cost.along(part, axis)]
        np.testing.assert_array_equal(
            found[:, axis], getattr(COST, _ntk_cost.AXES[axis])
        )
    assert finding(_ntk_cost.check(part), "all methods give the same").holds
    assert np.all(part.seconds >= 0)


def test_what_is_wrong_is_found(result):
    size = np.array([1.0, 2.0])[:, None]
    limit = dataclasses.replace(
        result.limit,
        error_of_mean=np.ones(2),
        distance=size**-1.0 * np.ones(3),
        of_mean=9 * np.ones(2),
    )
    assert not any(f.holds for f in _ntk_limit.check(limit))
    times = np.array([[1.0, 2.0]])[..., None]
    change = dataclasses.replace(
        result.change,
        change=1e-3 * size[:, None] ** -0.3 * times * np.ones(2),
        loss=np.ones((2, 3, 2)),
    )
    assert not any(f.holds for f in _ntk_change.check(change))
    curves = dataclasses.replace(result.curves, error=np.ones((2, 2, 2, 2)))
    assert not any(f.holds for f in _ntk_curves.check(curves))
    scale = dataclasses.replace(
        result.scale,
        change=np.full((3, 2), 0.1),
        deviation=np.ones((3, 2)),
        alignment=np.ones((2, 3, 2)),
        error=np.ones((3, 2)),
    )
    assert not any(f.holds for f in _ntk_scale.check(scale))
    error = np.array([0.1, 0.5, 0.7, 0.3])[:, None, None] * np.ones((4, 2, 2))
    digits = dataclasses.replace(result.digits, error=error, deviation=np.ones((2, 2)))
    assert not any(f.holds for f in _ntk_digits.check(digits))
    images = dataclasses.replace(
        result.images,
        distance=np.ones((2, 2)),
        eigenvalues=np.array([[1.0, -0.1], [1.0, 0.0]]),
        block_difference=1.0,
        error=np.array([0.5, 0.1, 0.1]),
    )
    assert not any(f.holds for f in _ntk_images.check(images))
    cost = dataclasses.replace(
        result.cost, seconds=np.arange(12.0, 0, -1).reshape(4, 3)[:, ::-1]
    )
    cost = dataclasses.replace(cost, difference=np.ones(4))
    assert not any(f.holds for f in _ntk_cost.check(cost))


def test_what_is_right_is_believed(result):
    size = np.array([4.0, 8.0])[:, None]
    limit = dataclasses.replace(
        result.limit,
        distance=size**-0.5 * np.ones(3),
        of_mean=np.ones(2),
        error_of_mean=np.ones(2),
    )
    assert all(f.holds for f in _ntk_limit.check(limit))
    times = np.array([[1.0, 2.0]])[..., None]
    change = dataclasses.replace(
        result.change,
        change=0.05 / size[:, None] * times * np.ones(2),
        loss=np.ones((2, 3, 2)) * np.array([1.0, 0.5, 0.2])[:, None],
    )
    assert all(f.holds for f in _ntk_change.check(change))
    assert _ntk_change.limit_of_small(change) == pytest.approx(5.0)
    powers = np.array([1.0, 0.5])[None, :, None, None]
    curves = dataclasses.replace(
        result.curves, error=0.4 * (2 * size - 4) ** -powers * np.ones((2, 2, 2, 2))
    )
    assert all(f.holds for f in _ntk_curves.check(curves))


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("limit", "distance"),
        ("scale", "deviation"),
        ("images", "distance"),
    ],
)
def test_the_key_decides_the_result(name, field):
    first, again = run(name), run(name)
    other = run(name, key=jax.random.key(1))
    np.testing.assert_array_equal(getattr(first, field), getattr(again, field))
    assert not np.array_equal(getattr(first, field), getattr(other, field))


CHANGES = {
    "limit": [{"widths": (4, 6)}, {"n": 6}, {"seeds": 2}],
    "change": [
        {"widths": (4, 6)},
        {"classes": (1, 2)},
        {"n_train": 7},
        {"rate": 0.2},
        {"looks": 3},
        {"every": 3},
        {"seeds": 3},
        {"small": 0.1},
    ],
    "curves": [
        {"widths": (4, 6)},
        {"classes": (1, 2)},
        {"n_train": 6},
        {"n_test": 5},
        {"rate": 0.1},
        {"momentum": 0.0},
        {"step": 0.4},
        {"every": 1},
        {"looks": 2},
        {"seeds": 3},
    ],
    "scale": [
        {"alphas": (0.3, 10.0, 50.0)},
        {"lazy": 2, "alphas": (0.3, 1.0, 10.0, 50.0)},
        {"width": 7},
        {"classes": (1, 2)},
        {"n_train": 7},
        {"n_test": 6},
        {"step": 0.1},
        {"steps": 5},
        {"seeds": 3},
    ],
    "digits": [
        {"sizes": (10, 20)},
        {"n_test": 41},
        {"width": 6},
        {"ridge": 0.1},
        {"rate": 0.1},
        {"batch_size": 4},
        {"steps": 9},
        {"seeds": 3},
    ],
    "images": [
        {"rows": 15},
        {"channels": 5},
        {"block_size": 3},
        {"ridge": 10.0, "rows": 60},
        {"few": 4},
        {"seeds": 3},
    ],
    "cost": [
        {"n": (2, 4)},
        {"k": (1, 3)},
        {"width": (2, 4)},
        {"repeats": 2},
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
        (lambda: _ntk_limit.Config(widths=(8, 4, 2)), r"limit\.widths must be 2"),
        (lambda: _ntk_limit.Config(n=1), r"limit\.n must"),
        (lambda: _ntk_limit.Config(seeds=1), r"limit\.seeds"),
        (lambda: _ntk_change.Config(classes=(3, 3)), r"change\.classes"),
        (lambda: _ntk_change.Config(looks=1), r"change\.looks"),
        (lambda: _ntk_change.Config(rate=0.0), r"change\.rate"),
        (
            lambda: _ntk_curves.Config(n_test=1000),
            r"curves\.n_train and curves\.n_test must",
        ),
        (lambda: _ntk_curves.Config(momentum=1.0), r"curves\.momentum"),
        (lambda: _ntk_curves.Config(rate=-1.0), r"curves\.rate"),
        (lambda: _ntk_curves.Config(seeds=1), r"curves\.seeds"),
        (lambda: _ntk_scale.Config(lazy=7), r"scale\.lazy must lie in 2\.\.6"),
        (lambda: _ntk_scale.Config(alphas=(1.0,)), r"scale\.alphas"),
        (lambda: _ntk_scale.Config(steps=0), r"scale\.steps"),
        (lambda: _ntk_scale.Config(step=0.0), r"scale\.step"),
        (lambda: _ntk_digits.Config(sizes=(20, 100)), r"digits\.sizes must begin"),
        (lambda: _ntk_digits.Config(seeds=1), r"digits\.seeds"),
        (lambda: _ntk_digits.Config(ridge=0.0), r"digits\.ridge"),
        (lambda: _ntk_images.Config(rows=5), r"images\.rows must"),
        (lambda: _ntk_images.Config(few=1), r"images\.few must"),
        (lambda: _ntk_images.Config(channels=3), r"images\.channels"),
        (lambda: _ntk_images.Config(ridge=-1.0), r"images\.ridge"),
        (lambda: _ntk_cost.Config(k=(2,)), r"cost\.k must be 2"),
        (lambda: _ntk_cost.Config(repeats=0), r"cost\.repeats"),
        (lambda: ntk.Config(seed=-1), "seed must lie in"),
    ],
)
def test_wrong_settings_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
