import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import tree

RNG = np.random.default_rng(0)
A = {"w": RNG.normal(size=(2, 3)).astype(np.float32), "b": np.float32(2.0)}
B = {"w": RNG.normal(size=(2, 3)).astype(np.float32), "b": np.float32(-3.0)}


def flat(a):
    return np.concatenate([np.ravel(a["b"]), np.ravel(a["w"])])


def test_arithmetic_is_that_of_the_flat_vectors():
    np.testing.assert_allclose(flat(tree.add(A, B)), flat(A) + flat(B))
    np.testing.assert_allclose(flat(tree.subtract(A, B)), flat(A) - flat(B))
    np.testing.assert_allclose(flat(tree.scale(3.0, A)), 3 * flat(A))
    np.testing.assert_allclose(
        flat(tree.add_scaled(A, 0.5, B)), flat(A) + flat(B) / 2, rtol=1e-6
    )
    np.testing.assert_allclose(tree.dot(A, B), flat(A) @ flat(B), rtol=1e-5)
    np.testing.assert_allclose(tree.norm(A), np.linalg.norm(flat(A)), rtol=1e-6)
    np.testing.assert_array_equal(flat(tree.zeros_like(A)), np.zeros(7))
    assert tree.size(A) == 7


def test_scaling_keeps_the_dtype_of_each_leaf():
    mixed = {"half": jnp.ones(3, jnp.bfloat16), "single": jnp.ones(3)}
    for result in (
        tree.scale(jnp.asarray(0.5), mixed),
        tree.add_scaled(mixed, jnp.asarray(0.5), mixed),
    ):
        assert jax.tree.map(lambda a: a.dtype, result) == jax.tree.map(
            lambda a: a.dtype, mixed
        )


def test_dot_conjugates_and_has_the_leaves_dtype():
    a = {"z": jnp.array([1.0 + 2.0j])}
    np.testing.assert_allclose(tree.dot(a, a), 5.0)
    np.testing.assert_allclose(tree.norm(a), np.sqrt(5.0), rtol=1e-6)
    with jax.enable_x64(True):
        assert tree.dot({"x": np.ones(2)}, {"x": np.ones(2)}).dtype == np.float64


def test_ravel_and_back():
    vector, rebuild = tree.ravel(A)
    np.testing.assert_array_equal(vector, flat(A))
    np.testing.assert_array_equal(rebuild(vector)["w"], A["w"])


def test_absent_leaves_stay_absent():
    assert tree.add({"w": None}, {"w": None}) == {"w": None}
    assert tree.size({"w": None}) == 0
    assert float(tree.dot({}, {})) == 0.0


def test_random_draws_differ_between_leaves_and_follow_the_sampler():
    like = {"a": jnp.zeros(5), "b": jnp.zeros(5), "c": jnp.zeros(3, jnp.bfloat16)}
    draws = tree.random_like(jax.random.key(0), like, jax.random.rademacher)
    assert draws["c"].dtype == jnp.bfloat16
    assert all(set(np.unique(np.abs(d))) == {1.0} for d in jax.tree.leaves(draws))
    normal = tree.random_like(jax.random.key(0), like)
    assert not np.array_equal(normal["a"], normal["b"])
