import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.data import Standardization, standardize, standardize_fit

RNG = np.random.default_rng(0)
X = RNG.normal(3.0, [0.1, 5.0, 200.0], (50, 3))
OTHER = RNG.normal(2.0, 1.0, (7, 3))


def test_matches_scikit_learn():
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    x = np.column_stack([X, np.full(50, 0.1)])
    other = np.column_stack([OTHER, np.full(7, 0.1)])
    scaler = preprocessing.StandardScaler().fit(x)
    stats = standardize_fit(x)
    np.testing.assert_allclose(stats.mean, scaler.mean_, rtol=1e-12)
    np.testing.assert_allclose(stats.scale, scaler.scale_, rtol=1e-12)
    np.testing.assert_allclose(
        standardize(stats, other), scaler.transform(other), rtol=1e-12, atol=1e-15
    )


def test_fitted_rows_get_mean_0_and_deviation_1():
    z = standardize(standardize_fit(X), X)
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(z.std(axis=0), 1, rtol=1e-12)


@pytest.mark.parametrize("make", [np.asarray, jnp.asarray])
def test_constant_features_become_exactly_zero(make):
    # The mean of 50 copies of 0.1 is not 0.1 in floating point.
    x = make(np.column_stack([X, np.full(50, 0.1), np.zeros(50)]).astype(np.float32))
    stats = standardize_fit(x)
    np.testing.assert_array_equal(stats.scale[3:], [1, 1])
    np.testing.assert_array_equal(stats.mean[3:], x[0, 3:])
    np.testing.assert_array_equal(standardize(stats, x)[:, 3:], np.zeros((50, 2)))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_numpy_stays_numpy_in_its_dtype(dtype):
    stats = standardize_fit(X.astype(dtype))
    z = standardize(stats, OTHER.astype(dtype))
    for array in (*stats, z):
        assert isinstance(array, np.ndarray)
        assert array.dtype == dtype


def test_jax_stays_jax_and_agrees_with_numpy():
    x, other = jnp.asarray(X, jnp.float32), jnp.asarray(OTHER, jnp.float32)
    stats = jax.jit(standardize_fit)(x)
    z = jax.jit(standardize)(stats, other)
    assert isinstance(z, jax.Array)
    assert z.dtype == jnp.float32
    want = standardize_fit(X)
    np.testing.assert_allclose(stats.mean, want.mean, rtol=1e-5)
    np.testing.assert_allclose(stats.scale, want.scale, rtol=1e-5)
    np.testing.assert_allclose(z, standardize(want, OTHER), rtol=1e-4, atol=1e-5)


def test_statistics_of_numpy_serve_inputs_of_jax():
    z = jax.jit(standardize)(standardize_fit(X), jnp.asarray(OTHER, jnp.float32))
    want = standardize(standardize_fit(X), OTHER)
    np.testing.assert_allclose(z, want, rtol=1e-4, atol=1e-5)
    mixed = standardize(standardize_fit(jnp.asarray(X)), OTHER.astype(np.float32))
    assert isinstance(mixed, jax.Array)


def test_one_example_and_a_batch_agree():
    stats = standardize_fit(jnp.asarray(X, jnp.float32))
    other = jnp.asarray(OTHER, jnp.float32)
    rows = jax.vmap(lambda row: standardize(stats, row))(other)
    np.testing.assert_allclose(rows, standardize(stats, other), rtol=1e-6)
    np.testing.assert_allclose(rows[2], standardize(stats, other[2]), rtol=1e-6)


def test_vmap_of_fit_equals_a_loop():
    x = jnp.asarray(RNG.normal(size=(4, 9, 3)), jnp.float32)
    batched = jax.vmap(standardize_fit)(x)
    for i in range(4):
        for got, want in zip(batched, standardize_fit(x[i]), strict=True):
            np.testing.assert_allclose(got[i], want, rtol=1e-5, atol=1e-6)


def test_images_and_plain_targets():
    x = RNG.normal(size=(6, 2, 4, 4))
    stats = standardize_fit(x)
    assert stats.mean.shape == (2, 4, 4)
    np.testing.assert_allclose(standardize(stats, x).std(axis=0), 1, rtol=1e-12)
    np.testing.assert_allclose(standardize(standardize_fit(X[:, 1]), X[:, 1]).std(), 1)


def test_fit_rejects_no_rows_and_integers():
    with pytest.raises(ValueError, match=r"n >= 1, got \(0, 3\)"):
        standardize_fit(X[:0])
    with pytest.raises(ValueError, match=r"n >= 1, got \(\)"):
        standardize_fit(np.array(1.0))
    with pytest.raises(ValueError, match="x must be floating point, got dtype int64"):
        standardize_fit(np.ones((2, 3), np.int64))


def test_standardize_rejects_other_features_and_integers():
    stats = Standardization(np.zeros(3), np.ones(3))
    with pytest.raises(ValueError, match=r"fitted shape \(3,\), got \(7, 2\)"):
        standardize(stats, np.zeros((7, 2)))
    with pytest.raises(ValueError, match=r"fitted shape \(3,\), got \(\)"):
        standardize(stats, np.array(0.0))
    with pytest.raises(ValueError, match="x must be floating point, got dtype uint8"):
        standardize(stats, np.zeros((7, 3), np.uint8))
