import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.curvature import gradient_noise_scale, noise_scale_of_batches

RNG = np.random.default_rng(0)
X = RNG.normal(size=(11, 3)).astype(np.float32)
Y = RNG.normal(size=11).astype(np.float32)
PARAMS = {"w": np.array([0.3, -0.2, 0.9], np.float32), "b": np.float32(0.1)}


def loss(params, batch):
    x, y = batch
    return jnp.mean((x @ params["w"] + params["b"] - y) ** 2) / 2


@pytest.mark.parametrize("chunk_size", [None, 1, 4, 11, 20])
def test_the_moments_of_the_gradients(chunk_size):
    residuals = X @ PARAMS["w"] + PARAMS["b"] - Y
    gradients = np.c_[residuals, residuals[:, None] * X].astype(float)
    found = gradient_noise_scale(loss, PARAMS, (X, Y), chunk_size=chunk_size)
    trace = gradients.var(axis=0, ddof=1).sum()
    square = np.sum(gradients.mean(axis=0) ** 2) - trace / 11
    np.testing.assert_allclose(found.covariance_trace, trace, rtol=1e-5)
    np.testing.assert_allclose(found.gradient_norm_squared, square, rtol=1e-4)
    np.testing.assert_allclose(found.noise_scale, trace / square, rtol=1e-4)


def test_both_ways_are_unbiased():
    rng = np.random.default_rng(1)
    mean, deviation = np.array([0.5, -1.0]), np.array([2.0, 1.0])

    def moments(draws):
        # the gradient of <w, x> is x: examples are gradients
        found = gradient_noise_scale(lambda w, x: jnp.mean(x @ w), jnp.ones(2), draws)
        return found.covariance_trace, found.gradient_norm_squared

    draws = rng.normal(mean, deviation, size=(20000, 4, 2)).astype(np.float32)
    traces, squares = jax.jit(jax.vmap(moments))(draws)
    np.testing.assert_allclose(np.mean(traces), 5, rtol=0.03)
    np.testing.assert_allclose(np.mean(squares), 1.25, rtol=0.06)

    small = np.sum(draws[:, 0] ** 2, axis=-1)
    large = np.sum(draws.mean(axis=1) ** 2, axis=-1)
    found = noise_scale_of_batches(small, large, 1, 4)
    np.testing.assert_allclose(np.mean(found.covariance_trace), 5, rtol=0.03)
    np.testing.assert_allclose(np.mean(found.gradient_norm_squared), 1.25, rtol=0.08)


def test_two_batches_by_hand():
    # |G|^2 = 2, tr S = 12: |g_3|^2 = 6, |g_6|^2 = 4
    found = noise_scale_of_batches(jnp.array(6.0), jnp.array(4.0), 3, 6)
    np.testing.assert_allclose(found, [6, 12, 2], rtol=1e-6)


def test_vmap_equals_a_loop_and_float32_stays():
    with jax.enable_x64(True):
        shifts = jnp.array([0.0, 1.0], np.float32)

        def scale(shift):
            params = PARAMS | {"b": PARAMS["b"] + shift}
            return gradient_noise_scale(loss, params, (X, Y), chunk_size=4)

        found = jax.vmap(scale)(shifts)
        for row, shift in enumerate(shifts):
            for a, b in zip(found, scale(shift), strict=True):
                assert a.dtype == b.dtype == np.float32
                np.testing.assert_allclose(a[row], b, rtol=1e-4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: gradient_noise_scale(loss, PARAMS, (X[:1], Y[:1])),
            "at least two exam",
        ),
        (
            lambda: gradient_noise_scale(loss, PARAMS, (X, Y[:3])),
            "same number of exampl",
        ),
        (
            lambda: gradient_noise_scale(loss, {"w": 1}, (X, Y)),
            "params must have leaves",
        ),
        (
            lambda: gradient_noise_scale(loss, PARAMS, (X, Y), chunk_size=0),
            "chunk_size must be a positive integer, got 0",
        ),
        (lambda: noise_scale_of_batches(X, X, 4, 4), "expected 1 <= small < large"),
        (lambda: noise_scale_of_batches(X, Y, 1, 4), "norms must have the same shape"),
    ],
)
def test_rejects(call, message):
    with pytest.raises(ValueError, match=message):
        call()
