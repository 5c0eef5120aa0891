import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.diagnostics import gradient_statistics, scaled_norm

RNG = np.random.default_rng(0)
TREE = {"a": [RNG.normal(size=(3, 4))], "b": np.array([0.0, 0.0, 3.0, -1.0])}


def test_each_leaf_by_hand():
    with jax.enable_x64(True):
        found = gradient_statistics(TREE)
        assert list(found) == ["params['a'][0]", "params['b']"]
        a, b = found.values()
        np.testing.assert_allclose(a.norm, np.linalg.norm(TREE["a"][0]))
        np.testing.assert_allclose(a.variance, TREE["a"][0].var())
        np.testing.assert_allclose([b.norm, b.mean, b.zero], [np.sqrt(10), 0.5, 0.5])


def test_norms_beyond_the_range_of_squares():
    for size in (1e-30, 1e30):
        vector = jnp.array([3, -4], jnp.float32) * jnp.float32(size)
        assert jnp.linalg.norm(vector) != scaled_norm(vector)  # 0 or infinite
        np.testing.assert_allclose(scaled_norm(vector), 5 * size, rtol=1e-6)
    assert scaled_norm(jnp.zeros(3)) == 0
    assert scaled_norm(jnp.array([1.0, jnp.inf])) == np.inf
    assert np.isnan(scaled_norm(jnp.array([1.0, jnp.nan, jnp.inf])))


def test_vmap_equals_a_loop():
    stack = RNG.normal(size=(3, 5)).astype(np.float32)
    mapped = jax.vmap(lambda g: gradient_statistics({"g": g}))(stack)
    for row, g in enumerate(stack):
        want = gradient_statistics({"g": g})["params['g']"]
        got = jax.tree.map(lambda leaf: leaf[row], mapped["params['g']"])  # noqa: B023
        np.testing.assert_allclose(got, want, rtol=1e-6)


def test_an_empty_leaf_is_named():
    with pytest.raises(ValueError, match=r"no empty leaf, got params\['c'\]"):
        gradient_statistics({"c": np.zeros((0, 3))})
