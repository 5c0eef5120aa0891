import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.ntk import low_rank_ntk

RNG = np.random.default_rng(2)
X = RNG.normal(size=(6, 3)).astype(np.float32)
W = np.zeros(3, np.float32)


def linear(w, x):
    return x @ w


def kernel_of(jacobians):
    j, _ = jacobians
    return np.einsum("iap,jbp->iajb", j, j).reshape(42, 42)


def sketch(network, dtype, rank, key=0, **options):
    apply, make = network
    with jax.enable_x64(dtype == np.float64):
        params, x, _ = make(dtype)
        found = low_rank_ntk(jax.random.key(key), apply, params, x, rank, **options)
        return jax.tree.map(np.asarray, found)


def rest(found, kernel):
    vectors = found.vectors.reshape(len(found.values), -1).astype(float)
    np.testing.assert_allclose(
        vectors @ vectors.T, np.eye(len(vectors)), atol=2e-5 if _low(found) else 1e-12
    )
    return kernel - (vectors.T * found.values) @ vectors


def _low(found):
    return found.values.dtype == np.float32


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_all_columns_give_the_kernel(dtype, network, jacobians):
    kernel = kernel_of(jacobians)
    found = sketch(network, dtype, 42)
    size = np.linalg.norm(kernel, 2)
    error = np.linalg.norm(rest(found, kernel), 2)
    assert error < 1e3 * np.finfo(dtype).eps * size
    assert found.vectors.shape == (42, 7, 6)
    assert found.values.dtype == found.vectors.dtype == dtype
    assert (np.diff(found.values) <= 0).all()
    assert (found.values >= 0).all()
    if dtype == np.float64:  # else the kernel itself is off by more
        assert found.spectral_bound >= error


def test_errors_are_those_measured_against_the_kernel(network, jacobians):
    kernel = kernel_of(jacobians)
    scores, ratios, best = [], [], np.linalg.eigvalsh(kernel)[-11]
    for key in range(12):
        found = sketch(network, np.float64, 10, key, oversampling=6, chunk_size=3)
        missed = rest(found, kernel)
        off = found.frobenius_error - np.linalg.norm(missed)
        scores.append(off / found.standard_error)
        fourth = np.sum(np.linalg.eigvalsh(missed) ** 4)  # 2 of it is the variance
        true = np.sqrt(2 * fourth / 30) / (2 * np.linalg.norm(missed))
        ratios.append(found.standard_error / true)
        length = np.linalg.norm(missed, 2)
        assert length <= found.spectral_bound < 10 * length
        assert best <= length * (1 + 1e-9)
        assert length < 20 * best
        assert np.linalg.eigvalsh(missed).min() > -1e-9  # never above the kernel
    assert np.abs(scores).max() < 4
    assert 0.4 < np.std(scores) < 2
    assert 0.7 < np.mean(ratios) < 1.3
    assert abs(np.mean(scores)) < 1


def test_a_kernel_of_low_rank_is_found_exactly_with_columns_to_spare():
    found = low_rank_ntk(jax.random.key(0), linear, W, X, 5)
    singular = np.linalg.svd(X.astype(float), compute_uv=False) ** 2
    np.testing.assert_allclose(found.values[:3], singular, rtol=1e-5)
    assert np.abs(found.values[3:]).max() < 1e-5 * singular[0]
    assert found.spectral_bound < 1e-4 * singular[0]


def test_the_bound_grows_as_the_probability_that_it_fails_falls(network):
    loose = sketch(network, np.float32, 10, probes=5, failure_probability=0.5)
    tight = sketch(network, np.float32, 10, probes=5, failure_probability=1e-5)
    ratio = (0.5 / 1e-5) ** (1 / 5)
    np.testing.assert_allclose(tight.spectral_bound / loose.spectral_bound, ratio, 1e-5)
    np.testing.assert_array_equal(tight.values, loose.values)
    assert tight.failure_probability == np.float32(1e-5)


def test_a_kernel_of_zeros_has_no_error():
    found = low_rank_ntk(jax.random.key(0), lambda w, x: 0 * (x @ w), W, X, 2)
    for part in (found.values, found.frobenius_error, found.spectral_bound):
        np.testing.assert_array_equal(part, 0)
    assert found.standard_error == 0


def test_what_is_not_finite_shows():
    found = low_rank_ntk(
        jax.random.key(0), lambda w, x: jnp.sqrt(x @ w), W, X, 2, probes=3
    )
    assert np.isnan(found.values).all()
    assert np.isnan(found.spectral_bound)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rank": 0}, r"rank must be an integer in 1\.\.6, got 0"),
        ({"rank": 7}, r"rank must be an integer in 1\.\.6, got 7"),
        ({"rank": 2.0}, r"rank must be .* got 2\.0"),
        ({"oversampling": -1}, "oversampling must be an integer >= 0, got -1"),
        ({"probes": 1}, "probes must be an integer >= 2, got 1"),
        ({"failure_probability": 0.0}, r"failure_probability must be in \(0, 1\)"),
        ({"chunk_size": 0}, "chunk_size must be"),
    ],
)
def test_wrong_arguments(change, message):
    arguments = {"key": jax.random.key(0), "apply": linear, "params": W, "x": X}
    with pytest.raises(ValueError, match=message):
        low_rank_ntk(**(arguments | {"rank": 2} | change))
