import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import losses, optim, train
from jaxdl.landscape import (
    act,
    barrier,
    bezier_path,
    linear_path,
    match_weights,
    mlp_symmetry,
    quadratic_path,
    random_element,
)
from jaxdl.models import mlp
from tests.landscape import networks

RNG = np.random.default_rng(0)
KEY = jax.random.key(0)


def test_paths_by_hand():
    a, c, b = ({"w": np.array(v, np.float32)} for v in ([0, 1], [2, 9], [4, 3]))
    np.testing.assert_allclose(linear_path(a, b)(0.25)["w"], [1, 1.5])
    curve = quadratic_path(a, c, b)
    np.testing.assert_allclose(curve(0.5)["w"], [2, 5.5])
    np.testing.assert_array_equal(curve(0.0)["w"], a["w"])
    np.testing.assert_array_equal(curve(1.0)["w"], b["w"])
    many = jax.vmap(curve)(jnp.array([0.0, 0.5]))["w"]
    np.testing.assert_allclose(many, [[0, 1], [2, 5.5]])


def test_barrier_by_hand():
    # Values 0, 5, 2, 0, 4 at t = 0, 1/4, 1/2, 3/4, 1; the line is 4 t.
    values = jnp.array([0.0, 5.0, 2.0, 0.0, 4.0])

    def evaluate(w):
        value = values[jnp.round(4 * w).astype(int)]
        return {"loss": value, "minus": -value}

    found = barrier(evaluate, linear_path(np.float32(0), np.float32(1)), points=5)
    np.testing.assert_allclose(found.t, [0, 0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(found.values["loss"], values)
    np.testing.assert_allclose(found.height["loss"], 4)
    np.testing.assert_allclose(found.at["loss"], 0.25)
    np.testing.assert_allclose(found.above_mean["loss"], 3)
    np.testing.assert_allclose(found.above_ends["loss"], 1)
    np.testing.assert_allclose(found.height["minus"], 3)
    np.testing.assert_allclose(found.above_mean["minus"], 2)
    np.testing.assert_allclose(found.above_ends["minus"], 0)


def test_a_convex_loss_has_no_barrier():
    a, b = RNG.normal(size=(2, 5)).astype(np.float32)
    found = jax.jit(lambda path: barrier(lambda w: jnp.sum(w**2), path))(
        linear_path(a, b)
    )
    assert found.height == 0
    assert found.above_ends <= 0 < found.above_mean
    assert found.values.shape == (25,)


def test_a_nan_on_the_way_is_told():
    def evaluate(w):
        return jnp.where(jnp.abs(w - 0.5) < 0.1, jnp.nan, w)

    found = barrier(evaluate, linear_path(np.float32(0), np.float32(1)))
    assert np.isnan(found.height)
    assert np.isnan(found.above_ends)


def test_permuted_networks_have_a_barrier_and_matched_ones_none():
    params = networks.layers((4, 9, 7, 3))
    symmetry = mlp_symmetry(params, "relu")
    x = RNG.normal(size=(40, 4)).astype(np.float32)
    y = jax.vmap(mlp.apply, (None, 0))(params, x)

    def loss(params):
        return jnp.mean((jax.vmap(mlp.apply, (None, 0))(params, x) - y) ** 2)

    other = act(symmetry, random_element(KEY, symmetry), params)
    found = match_weights(symmetry, params, other, balance=True)
    matched = act(symmetry, found.element, other)
    heights = [
        float(jax.jit(lambda path: barrier(loss, path).height)(linear_path(params, b)))
        for b in (other, matched)
    ]
    assert heights[0] > 0.1
    assert heights[1] < 1e-8


def test_statistics_are_estimated_again():
    params, symmetry = networks.conv_params(), networks.conv_symmetry()
    x = RNG.normal(size=(16, 8, 8)).astype(np.float32)
    start = networks.reestimated(params, x)
    other = act(symmetry, random_element(KEY, symmetry, spread=0.0), start)
    y = jax.vmap(networks.conv, (None, 0))(start, x)

    def loss(params):
        return jnp.mean((jax.vmap(networks.conv, (None, 0))(params, x) - y) ** 2)

    path = linear_path(start, other)
    plain = barrier(loss, path, points=3)
    fresh = barrier(
        loss, path, points=3, reestimate=lambda p: networks.reestimated(p, x)
    )
    np.testing.assert_allclose(fresh.values[jnp.array([0, 2])], 0, atol=1e-6)
    assert not np.isclose(fresh.height, plain.height, rtol=1e-4)
    middle = networks.reestimated(path(0.5), x)
    np.testing.assert_allclose(fresh.values[1], loss(middle), rtol=1e-5)


def ring(w, state, batch, key):
    """A circular valley: the straight line between opposite points crosses a hill."""
    return (jnp.sum(w**2) - 1) ** 2 + 0 * jnp.sum(batch), (state, {"x": w[0]})


def test_a_trained_curve_goes_round_the_hill():
    a, b = np.array([-1, 0], np.float32), np.array([1, 0], np.float32)
    found = bezier_path(
        KEY,
        ring,
        a,
        b,
        optim.adam(0.05),
        np.zeros(1, np.float32),
        steps=300,
        control=np.array([0, 0.1], np.float32),
        draws=4,
    )

    def loss(w):
        return ring(w, None, jnp.zeros(1), None)[0]

    straight = barrier(loss, linear_path(a, b)).height
    np.testing.assert_allclose(straight, 1, atol=1e-6)
    assert barrier(loss, found.path).height < 0.2
    # The best control point by quadrature.
    t = np.linspace(0, 1, 2001)
    heights = np.linspace(0.5, 3, 251)
    curve = np.stack([
        np.mean((((2 * t - 1) ** 2 + (2 * t * (1 - t) * h) ** 2) - 1) ** 2)
        for h in heights
    ])
    np.testing.assert_allclose(found.control[1], heights[np.argmin(curve)], atol=0.1)
    assert abs(found.control[0]) < 0.25
    assert found.fit.history["loss"].shape == (300,)
    assert "x" in found.fit.history


def test_a_curve_between_networks():
    sizes = (4, 8, 3)
    a, b = networks.layers(sizes), networks.layers(sizes, seed=1)
    x = RNG.normal(size=(30, 4)).astype(np.float32)
    y = RNG.integers(0, 3, 30)
    supervised = train.supervised(mlp.apply, losses.cross_entropy)
    found = bezier_path(
        KEY, supervised, a, b, optim.adam(0.02), (x, y), steps=60, batch_size=10
    )

    def loss(params):
        outputs = jax.vmap(mlp.apply, (None, 0))(params, x)
        return jnp.mean(jax.vmap(losses.cross_entropy)(outputs, y))

    trained, line = (
        jnp.mean(barrier(loss, path).values) for path in (found.path, linear_path(a, b))
    )
    assert trained < line - 0.1


def test_errors():
    a, b = np.zeros(2, np.float32), np.zeros(3, np.float32)
    with pytest.raises(ValueError, match="params_b must have the shapes"):
        linear_path(a, b)
    with pytest.raises(ValueError, match="control must have the shapes"):
        quadratic_path(a, b, a)
    with pytest.raises(ValueError, match="points must be"):
        barrier(jnp.sum, linear_path(a, a), points=2)
    with pytest.raises(ValueError, match="draws must be"):
        bezier_path(KEY, ring, a, a, optim.sgd(0.1), a, steps=1, draws=0)
