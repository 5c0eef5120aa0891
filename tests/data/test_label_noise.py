import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.data import flip_labels, redraw_labels

KEY = jax.random.key(5)
N, K = 20_000, 5
Y = np.random.default_rng(0).integers(0, K, N).astype(np.int32)
BOTH = pytest.mark.parametrize("noise", [redraw_labels, flip_labels])


def rate_of(noisy):
    return np.mean(np.asarray(noisy) != Y)


def test_redrawn_labels_are_wrong_in_a_fraction_rate_times_k_minus_1_over_k():
    tolerance = 4 * np.sqrt(0.25 / N)  # four standard errors
    for rate in (0.15, 0.6, 1.0):
        wrong = rate_of(redraw_labels(KEY, Y, rate, K))
        assert abs(wrong - rate * (K - 1) / K) < tolerance


def test_flipped_labels_are_wrong_in_a_fraction_rate():
    for rate in (0.15, 0.6):
        assert abs(rate_of(flip_labels(KEY, Y, rate, K)) - rate) < 4 * np.sqrt(0.25 / N)
    assert rate_of(flip_labels(KEY, Y, 1.0, K)) == 1


def test_redrawn_labels_are_uniform_over_all_classes():
    noisy = np.asarray(redraw_labels(KEY, Y, 1.0, K))
    table = np.zeros((K, K))
    np.add.at(table, (Y, noisy), 1)
    expected = table.sum(axis=1, keepdims=True) / K
    chi2 = np.sum((table - expected) ** 2 / expected)
    assert chi2 < 45  # 20 degrees of freedom: probability 0.001


def test_flipped_labels_are_uniform_over_the_other_classes():
    noisy = np.asarray(flip_labels(KEY, Y, 1.0, K))
    table = np.zeros((K, K))
    np.add.at(table, (Y, noisy), 1)
    assert not table.diagonal().any()
    others = table[~np.eye(K, dtype=bool)].reshape(K, K - 1)
    expected = others.sum(axis=1, keepdims=True) / (K - 1)
    chi2 = np.sum((others - expected) ** 2 / expected)
    assert chi2 < 38  # 15 degrees of freedom: probability 0.001


@BOTH
def test_rate_0_changes_nothing(noise):
    np.testing.assert_array_equal(noise(KEY, Y, 0.0, K), Y)


@BOTH
def test_noise_is_nested_in_the_rate(noise):
    low, high = (np.asarray(noise(KEY, Y, rate, K)) for rate in (0.1, 0.3))
    wrong = low != Y
    assert wrong.any()
    np.testing.assert_array_equal(high[wrong], low[wrong])
    assert np.sum(high != Y) > 2 * np.sum(wrong)


@BOTH
def test_keys_differ(noise):
    a, b = (noise(key, Y, 0.3, K) for key in jax.random.split(KEY))
    assert np.any(a != b)


@BOTH
def test_no_two_draws_share_a_key(noise):
    with jax.debug_key_reuse(True):
        noise(jax.random.key(0), Y, 0.3, K)


@BOTH
def test_vmap_over_keys_and_rates_equals_a_loop(noise):
    keys, rates = jax.random.split(KEY, 3), jnp.array([0.0, 0.2, 0.9])

    def one(key, rate):
        return noise(key, Y, rate, K)

    batched = jax.jit(jax.vmap(one))(keys, rates)
    for i in range(3):
        np.testing.assert_array_equal(batched[i], one(keys[i], rates[i]))


@BOTH
@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int32])
def test_dtype_and_range_are_kept(noise, dtype):
    noisy = np.asarray(noise(KEY, Y.astype(dtype), 0.5, K))
    assert noisy.dtype == dtype
    np.testing.assert_array_equal(noisy, noise(KEY, Y, 0.5, K))
    assert set(np.unique(noisy).tolist()) == set(range(K))


def test_256_classes_fit_in_bytes():
    y = np.arange(N) % 256
    noisy = np.asarray(flip_labels(KEY, y.astype(np.uint8), 1.0, 256))
    np.testing.assert_array_equal(noisy, flip_labels(KEY, y, 1.0, 256))


@BOTH
def test_the_draws_do_not_depend_on_precision(noise):
    single = np.asarray(noise(KEY, Y, 0.3, K))
    with jax.enable_x64(True):
        double = np.asarray(noise(KEY, Y.astype(np.int64), 0.3, K))
    assert double.dtype == np.int64
    np.testing.assert_array_equal(single, double)


@BOTH
@pytest.mark.parametrize(
    ("y", "rate", "k", "message"),
    [
        (np.zeros(3), 0.1, 5, "y must hold integer classes, got dtype float32"),
        (np.zeros(3, bool), 0.1, 5, "y must hold integer classes, got dtype bool"),
        (np.zeros(3, np.int8), 0.1, 129, "room for 129 classes, got dtype int8"),
        (np.zeros(3, int), 0.1, 1, "n_classes must be >= 2, got 1"),
        (np.zeros(3, int), -0.1, 5, r"rate must lie in \[0, 1\], got -0\.1"),
        (np.zeros(3, int), 2, 5, r"rate must lie in \[0, 1\], got 2"),
    ],
)
def test_rejects_what_is_outside_its_domain(noise, y, rate, k, message):
    with pytest.raises(ValueError, match=message):
        noise(KEY, y, rate, k)
