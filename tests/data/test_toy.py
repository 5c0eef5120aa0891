import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.data import blobs, linear_gaussian, sine_regression, spirals, two_moons, xor

KEY = jax.random.key(3)
N = 600  # one size for all draws: each new shape costs compile time

GENERATORS = {
    "two_moons": lambda key, noise: two_moons(key, N, noise),
    "spirals": lambda key, noise: spirals(key, N, 3, noise),
    "blobs": lambda key, noise: blobs(key, N, 2, 3, noise),
    "sine_regression": lambda key, noise: sine_regression(key, N, noise),
    "linear_gaussian": lambda key, noise: linear_gaussian(key, N, 2, 4.0, noise),
}


def is_normal(e):
    """Of normal numbers 68 % lie within one deviation, of uniform ones 58 %."""
    error = np.mean(np.abs(e) < 1) - 0.683
    return abs(error) < 4 * np.sqrt(0.683 * 0.317 / e.size)


def test_xor_is_the_truth_table():
    x, y = xor()
    np.testing.assert_array_equal(y, x[:, 0] != x[:, 1])
    assert len(np.unique(x, axis=0)) == 4
    assert (x.dtype, y.dtype) == (jnp.float32, jnp.int32)


def test_two_moons_without_noise_are_half_circles():
    x, y = map(np.asarray, two_moons(KEY, N, 0.0))
    upper, lower = x[y == 0], x[y == 1]
    np.testing.assert_allclose(np.linalg.norm(upper, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(lower - [1, 0.5], axis=1), 1, rtol=1e-5)
    assert np.all(upper[:, 1] > -1e-6)
    assert np.all(lower[:, 1] < 0.5 + 1e-6)
    angle = np.arctan2(upper[:, 1], upper[:, 0]) / np.pi  # uniform on [0, 1]
    quartiles = np.quantile(angle, [0.25, 0.5, 0.75])
    np.testing.assert_allclose(quartiles, [0.25, 0.5, 0.75], atol=0.1)
    assert angle.max() > 0.98


@pytest.mark.parametrize("turns", [0.0, 0.3])
def test_spirals_without_noise_lie_on_their_arms(turns):
    x, y = map(np.asarray, spirals(KEY, N, 3, 0.0, turns=turns))
    radius = np.linalg.norm(x, axis=1)
    angle = 2 * np.pi * (y / 3 + turns * radius)
    arm = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    np.testing.assert_allclose(x, arm, atol=1e-5)
    assert radius.max() <= 1
    np.testing.assert_allclose(np.median(radius), 0.5, atol=0.1)


def test_blobs_without_spread_are_their_centres():
    x, y = map(np.asarray, blobs(KEY, N, 2, 3, 0.0))
    centres = x[:3]
    np.testing.assert_array_equal(x, centres[y])
    assert len(np.unique(centres, axis=0)) == 3


def test_centres_of_blobs_are_standard_normal():
    centres = np.asarray(blobs(KEY, N, 2, N, 0.0).x)
    np.testing.assert_allclose(centres.mean(axis=0), 0, atol=0.15)
    np.testing.assert_allclose(np.cov(centres.T), np.eye(2), atol=0.2)


def test_sine_without_noise_is_one_period():
    x, y = map(np.asarray, sine_regression(KEY, N, 0.0))
    assert x.shape == (N, 1)
    np.testing.assert_allclose(y, np.sin(2 * np.pi * x[:, 0]), atol=1e-5)
    assert 0 <= x.min() < 0.02
    assert 0.98 < x.max() < 1


def test_linear_gaussian_obeys_its_model():
    with jax.enable_x64(True):
        x, y, w = map(np.asarray, linear_gaussian(KEY, N, 7, 2.5, 0.4))
    assert x.dtype == y.dtype == w.dtype == np.float64
    np.testing.assert_allclose(w @ w, 2.5, rtol=1e-12)
    assert is_normal(x)
    noise = y - x @ w
    np.testing.assert_allclose(noise.std(), 0.4, rtol=0.1)
    np.testing.assert_allclose(x.T @ x / N, np.eye(7), atol=0.2)
    np.testing.assert_allclose(noise @ x / N, 0, atol=0.1)
    np.testing.assert_allclose(y.var(), 2.5 + 0.4**2, rtol=0.2)


def test_the_direction_of_w_is_uniform():
    def direction(key):
        return linear_gaussian(key, 1, 2, 4.0, 0.0).w

    w = np.asarray(jax.vmap(direction)(jax.random.split(KEY, N)))
    np.testing.assert_allclose(w.mean(axis=0), 0, atol=0.25)
    np.testing.assert_allclose(w.T @ w / N, 2 * np.eye(2), atol=0.3)


@pytest.mark.parametrize("name", GENERATORS)
def test_noise_is_the_standard_deviation_of_normal_numbers(name):
    generate = GENERATORS[name]
    noisy, clean = generate(KEY, 0.7), generate(KEY, 0.0)
    field = "y" if name in {"sine_regression", "linear_gaussian"} else "x"
    e = (np.asarray(getattr(noisy, field)) - np.asarray(getattr(clean, field))) / 0.7
    np.testing.assert_allclose(e.mean(axis=0), 0, atol=0.15)
    np.testing.assert_allclose(e.std(axis=0), 1, atol=0.12)
    assert is_normal(e)
    if e.ndim == 2:
        np.testing.assert_allclose(np.mean(e[:, 0] * e[:, 1]), 0, atol=0.15)


@pytest.mark.parametrize("name", ["two_moons", "spirals", "blobs"])
def test_classes_take_turns(name):
    y = np.asarray(GENERATORS[name](KEY, 0.1).y)
    np.testing.assert_array_equal(y, np.arange(N) % (2 if name == "two_moons" else 3))
    assert y.dtype == np.int32


@pytest.mark.parametrize("name", GENERATORS)
def test_vmap_over_keys_and_noise_equals_a_loop(name):
    generate = GENERATORS[name]
    keys, noises = jax.random.split(KEY, 3), jnp.array([0.0, 0.2, 1.5])
    batched = jax.jit(jax.vmap(generate))(keys, noises)
    for i in range(3):
        one = generate(keys[i], noises[i])
        for got, want in zip(batched, one, strict=True):
            np.testing.assert_allclose(got[i], want, rtol=1e-4, atol=1e-5)
    assert not np.allclose(batched.x[0], batched.x[1])


@pytest.mark.parametrize("name", GENERATORS)
def test_no_two_draws_share_a_key(name):
    with jax.debug_key_reuse(True):
        GENERATORS[name](jax.random.key(0), 0.1)


@pytest.mark.parametrize("name", GENERATORS)
def test_precision_is_that_of_jax(name):
    assert GENERATORS[name](KEY, 0.1).x.dtype == jnp.float32
    with jax.enable_x64(True):
        assert GENERATORS[name](KEY, 0.1).x.dtype == jnp.float64


@pytest.mark.parametrize(
    ("generate", "message"),
    [
        (lambda: two_moons(KEY, 0, 0.1), "n must be >= 1, got 0"),
        (lambda: two_moons(KEY, 4, -0.1), r"noise must be >= 0, got -0\.1"),
        (lambda: two_moons(KEY, 4, float("nan")), "noise must be >= 0, got nan"),
        (lambda: spirals(KEY, 0, 3, 0.1), "n must be >= 1"),
        (lambda: spirals(KEY, 4, 1, 0.1), "n_classes must be >= 2, got 1"),
        (lambda: spirals(KEY, 4, 3, -1), "noise must be >= 0"),
        (lambda: blobs(KEY, 0, 2, 3, 0.1), "n must be >= 1"),
        (lambda: blobs(KEY, 4, 0, 3, 0.1), "d must be >= 1"),
        (lambda: blobs(KEY, 4, 2, 1, 0.1), "n_classes must be >= 2"),
        (lambda: blobs(KEY, 4, 2, 3, -0.1), "spread must be >= 0"),
        (lambda: sine_regression(KEY, 0, 0.1), "n must be >= 1"),
        (lambda: sine_regression(KEY, 4, -0.1), "noise must be >= 0"),
        (lambda: linear_gaussian(KEY, 0, 2, 1.0, 0.1), "n must be >= 1"),
        (lambda: linear_gaussian(KEY, 4, 0, 1.0, 0.1), "d must be >= 1"),
        (lambda: linear_gaussian(KEY, 4, 2, -1.0, 0.1), "signal must be >= 0"),
        (lambda: linear_gaussian(KEY, 4, 2, 1.0, -0.1), "noise must be >= 0"),
    ],
)
def test_rejects_what_is_outside_its_domain(generate, message):
    with pytest.raises(ValueError, match=message):
        generate()
