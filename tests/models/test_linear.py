from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import Ridge

from jaxdl.models import linear

GOLDEN = np.load(Path(__file__).parent.parent / "golden" / "regression.npz")
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(12, 5)), RNG.normal(size=(12, 2))


@jax.jit
def minimum_norm(x, y):
    return linear.minimum_norm(linear.decompose(x, y))


@jax.jit
def ridge(x, y, strength):
    return linear.ridge(linear.decompose(x, y), strength)


@pytest.mark.parametrize(
    ("x", "y", "expected"),
    [
        ("dup_X", "t", "dup_minnorm"),
        ("wide_X", "wide_t", "wide_minnorm"),
        ("rank2_X", "rank2_t", "rank2_minnorm"),
    ],
)
def test_minimum_norm_equals_the_reference_where_rank_is_deficient(x, y, expected):
    with jax.enable_x64(True):
        got = minimum_norm(GOLDEN[x], GOLDEN[y][:, None])
        np.testing.assert_allclose(got[:, 0], GOLDEN[expected], rtol=1e-9, atol=1e-12)


def test_ridge_equals_the_reference_and_scikit_learn():
    with jax.enable_x64(True):
        for strength, expected in zip(
            GOLDEN["ridge_lambdas"], GOLDEN["ridge_w"], strict=True
        ):
            got = ridge(GOLDEN["X"], GOLDEN["t"][:, None], strength)
            np.testing.assert_allclose(got[:, 0], expected, rtol=1e-9)
        other = Ridge(alpha=0.3 * 12, fit_intercept=False).fit(X, Y)
        np.testing.assert_allclose(ridge(X, Y, 0.3), other.coef_.T, rtol=1e-10)


def test_the_residual_is_orthogonal_to_the_columns():
    with jax.enable_x64(True):
        np.testing.assert_allclose(X.T @ (X @ minimum_norm(X, Y) - Y), 0, atol=1e-12)


def test_padding_with_zero_columns_changes_nothing():
    with jax.enable_x64(True):
        padded = np.pad(X, ((0, 0), (0, 9)))
        for fit in (minimum_norm, lambda x, y: ridge(x, y, 0.1)):
            got = np.asarray(fit(padded, Y))
            np.testing.assert_allclose(got[:5], fit(X, Y), rtol=1e-12)
            np.testing.assert_array_equal(got[5:], 0)
        assert int(linear.decompose(padded, Y).rank) == 5


def test_ridge_tends_to_minimum_norm_and_zero_ridge_is_it():
    with jax.enable_x64(True):
        x, y = GOLDEN["rank2_X"], GOLDEN["rank2_t"][:, None]
        np.testing.assert_allclose(ridge(x, y, 1e-9), minimum_norm(x, y), rtol=1e-6)
        np.testing.assert_array_equal(ridge(x, y, 0.0), minimum_norm(x, y))


def test_vmap_equals_a_loop_and_single_precision_is_kept():
    x = RNG.normal(size=(3, 12, 5)).astype(np.float32)
    y = RNG.normal(size=(3, 12, 2)).astype(np.float32)
    got = jax.jit(jax.vmap(ridge, (0, 0, None)))(x, y, 0.2)
    assert got.dtype == np.float32
    np.testing.assert_allclose(
        got, [ridge(*pair, 0.2) for pair in zip(x, y, strict=True)], rtol=1e-4
    )


def test_float64_numpy_at_single_precision_has_the_rank_of_single_precision():
    x = RNG.normal(size=(20, 4)) @ RNG.normal(size=(4, 9))
    y = RNG.normal(size=(20, 1))
    problem = linear.decompose(x, y)
    assert int(problem.rank) == 4
    expected = np.linalg.lstsq(x, y, rcond=1e-10)[0]
    np.testing.assert_allclose(linear.minimum_norm(problem), expected, atol=1e-5)


def test_an_all_zero_problem_has_rank_zero_and_a_zero_solution():
    problem = linear.decompose(jnp.zeros((4, 3)), jnp.ones((4, 1)))
    assert int(problem.rank) == 0
    np.testing.assert_array_equal(linear.minimum_norm(problem), 0)


def test_wrong_calls_say_what_is_wrong():
    with pytest.raises(ValueError, match=r"expected x \(n, p\) and y \(n, k\)"):
        linear.decompose(jnp.ones((3, 2)), jnp.ones(3))
    with pytest.raises(ValueError, match="floating point"):
        linear.decompose(jnp.ones((3, 2), int), jnp.ones((3, 1)))
    problem = linear.decompose(jnp.ones((3, 2)), jnp.ones((3, 1)))
    with pytest.raises(ValueError, match="strength must be >= 0"):
        linear.ridge(problem, -1.0)
