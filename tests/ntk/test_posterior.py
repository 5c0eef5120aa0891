import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.ntk import gp_posterior, gradient_flow_mse

N, M, K = 6, 4, 2
RNG = np.random.default_rng(3)
Y = RNG.normal(size=(N, K))


def kernels(p, outputs=0):
    j = RNG.normal(size=(N + M, *(outputs,) * bool(outputs), p))
    k = np.einsum("iap,jbp->ijab", j, j) if outputs else j @ j.T
    return k[:N, :N], k[N:, :N], k[N:, N:]


@pytest.mark.parametrize("p", [12, 3])
def test_it_is_gaussian_conditioning(p):
    train, cross, test = kernels(p)
    mean, covariance = gp_posterior(train, cross, test, Y, noise=0.3)
    inverse = np.linalg.inv(train + 0.3 * np.eye(N))
    np.testing.assert_allclose(np.asarray(mean), cross @ inverse @ Y, atol=1e-12)
    want = test - cross @ inverse @ cross.T
    np.testing.assert_allclose(np.asarray(covariance), want, atol=1e-12)


def test_outputs_that_are_dependent():
    train, cross, test = kernels(17, K)
    mean, covariance = gp_posterior(train, cross, test, Y, noise=0.3)
    a, b, c = (k.swapaxes(1, 2).reshape(len(k) * K, -1) for k in (train, cross, test))
    inverse = np.linalg.inv(a + 0.3 * np.eye(N * K))
    want = (b @ inverse @ Y.ravel()).reshape(M, K)
    np.testing.assert_allclose(np.asarray(mean), want, atol=1e-12)
    want = (c - b @ inverse @ b.T).reshape(M, K, M, K).swapaxes(1, 2)
    np.testing.assert_allclose(np.asarray(covariance), want, atol=1e-12)


def test_without_noise_a_singular_kernel_is_its_limit():
    x = RNG.normal(size=(N + M, 3))
    kernel = x @ x.T
    parts = (kernel[:N, :N], kernel[N:, :N], kernel[N:, N:])
    mean, covariance = gp_posterior(*parts, Y, noise=0.0)
    want = x[N:] @ np.linalg.lstsq(x[:N], Y)[0]
    np.testing.assert_allclose(np.asarray(mean), want, atol=1e-11)
    np.testing.assert_allclose(np.asarray(covariance), np.zeros((M, M)), atol=1e-11)


def test_the_mean_is_where_the_flow_with_that_ridge_ends():
    train, cross, test = kernels(12)
    mean, _ = gp_posterior(train, cross, test, Y, noise=0.7)
    _, f_test = gradient_flow_mse(train, Y, ridge=0.7)(np.inf, None, None, cross)
    np.testing.assert_allclose(np.asarray(mean), np.asarray(f_test), atol=1e-13)


def _score(noise, *arrays):
    mean, covariance = gp_posterior(*arrays, noise=noise)
    return jnp.sum(mean) + jnp.trace(covariance)


scores = jax.jit(jax.vmap(_score, (0, None, None, None, None)))
slope = jax.jit(jax.grad(_score))


def test_vmap_equals_a_loop_and_the_gradient_is_right():
    arrays = [jnp.asarray(a, jnp.float32) for a in (*kernels(12), Y)]
    noises = jnp.array([0.1, 1.0])
    got = scores(noises, *arrays)
    assert got.dtype == np.float32
    loop = [_score(float(noise), *arrays) for noise in noises]
    np.testing.assert_allclose(got, loop, rtol=1e-5)
    exact = [np.float64(a) for a in arrays]
    with jax.enable_x64(True):
        ends = [float(_score(1.0 + h, *exact)) for h in (-1e-5, 1e-5)]
    want = (ends[1] - ends[0]) / 2e-5
    assert float(slope(jnp.float32(1.0), *arrays)) == pytest.approx(want, rel=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"noise": -0.1}, r"noise must be in \[0, inf\), got -0.1"),
        ({"noise": jnp.float32(-1)}, r"noise must be in \[0, inf\), got -1.0"),
        ({"k_train_train": np.tri(N)}, "k_train_train must be symmetric"),
        ({"k_test_train": np.ones((M, N + 1))}, "k_test_train must be"),
        ({"k_test_test": np.ones((M, N))}, r"k_test_test must .* \(4, 4\)"),
        ({"k_test_test": np.ones((M, M, 1, 1))}, r"k_test_test must .* \(4, 4\)"),
        ({"k_test_test": np.full((M, M), np.nan)}, "k_test_test must be finite"),
        ({"y_train": Y[:, 0]}, "y_train must be"),
    ],
)
def test_errors(change, message):
    arguments = {
        "k_train_train": np.eye(N),
        "k_test_train": np.ones((M, N)),
        "k_test_test": np.eye(M),
        "y_train": Y,
        "noise": 0.1,
    }
    with pytest.raises(ValueError, match=message):
        gp_posterior(**arguments | change)
