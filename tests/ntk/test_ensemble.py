import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.ntk import ensemble_moments, gp_posterior, gradient_flow_mse, infinite

N, M, K = 4, 3, 2
RNG = np.random.default_rng(4)
Y = RNG.normal(size=(N, K))
TIMES = np.array([0.0, 0.8, np.inf])


def kernel(p):
    features = RNG.normal(size=(N + M, p))
    return features @ features.T


def parts(nngp, ntk):
    return [
        (k[rows, columns], t[rows, columns])
        for k, t in ((nngp, ntk),)
        for rows, columns in (
            (np.s_[:N], np.s_[:N]),
            (np.s_[N:], np.s_[:N]),
            (np.s_[N:], np.s_[N:]),
        )
    ]


@pytest.mark.parametrize(("p", "ridge"), [(9, 0.0), (9, 0.4), (2, 0.0)])
def test_it_is_the_law_of_the_flow_from_gaussian_outputs(p, ridge):
    # The flow is affine in f_0: its columns are flows from unit vectors.
    nngp, ntk = kernel(9), kernel(p)
    train, cross, test = parts(nngp, ntk)
    got = ensemble_moments(TIMES, train, Y, cross, test, learning_rate=1.7, ridge=ridge)
    predict = gradient_flow_mse(train[1], Y, learning_rate=1.7, ridge=ridge)
    start = predict(TIMES, None, None, cross[1])
    zero = np.zeros((N, N + M))
    zero[:, :N] = np.eye(N)
    zero_test = np.zeros((M, N + M))
    zero_test[:, N:] = np.eye(M)
    linear = gradient_flow_mse(
        train[1], np.zeros((N, N + M)), learning_rate=1.7, ridge=ridge
    )
    maps = linear(TIMES, zero, zero_test, cross[1])
    for moments, mean, a in zip(got, start, maps, strict=True):
        a = np.asarray(a)
        np.testing.assert_allclose(
            np.asarray(moments.mean), np.asarray(mean), atol=1e-12
        )
        want = a @ nngp @ a.swapaxes(1, 2)
        np.testing.assert_allclose(np.asarray(moments.covariance), want, atol=1e-11)


def test_samples_agree():
    nngp, ntk = kernel(9), kernel(9)
    train, cross, test = parts(nngp, ntk)
    draws = np.linalg.cholesky(nngp + 1e-12 * np.eye(N + M)) @ RNG.normal(
        size=(N + M, 40_000)
    )
    predict = gradient_flow_mse(train[1], np.tile(Y[:, :1], 40_000))
    _, f = predict(0.8, draws[:N], draws[N:], cross[1])
    _, moments = ensemble_moments(0.8, train, Y, cross, test)
    f = np.asarray(f)
    error = np.sqrt(np.diag(moments.covariance) / 40_000)
    assert np.all(np.abs(f.mean(1) - np.asarray(moments.mean)[:, 0]) < 5 * error)
    np.testing.assert_allclose(np.cov(f), moments.covariance, rtol=0.1, atol=0.1)


def test_only_the_last_layer_trained_is_bayesian_inference():
    # Where the tangent kernel is the NNGP's, the end of training is the posterior.
    nngp = kernel(9)
    train, cross, test = parts(nngp, nngp)
    _, got = ensemble_moments(np.inf, train, Y, cross, test)
    mean, covariance = gp_posterior(train[0], cross[0], test[0], Y, noise=0.0)
    np.testing.assert_allclose(np.asarray(got.mean), np.asarray(mean), atol=1e-10)
    np.testing.assert_allclose(
        np.asarray(got.covariance), np.asarray(covariance), atol=1e-9
    )


def test_kernels_of_an_infinite_network_are_pairs():
    layer = infinite.serial(infinite.dense(8), infinite.erf(), infinite.dense(1))
    x = RNG.normal(size=(N + M, 5)).astype(np.float32)
    both = layer.kernel(x[:N]), layer.kernel(x[N:], x[:N]), layer.kernel(x[N:])
    got = ensemble_moments(2.0, both[0], Y, *both[1:])
    pairs = [(np.asarray(k.nngp), np.asarray(k.ntk)) for k in both]
    want = ensemble_moments(2.0, pairs[0], Y, *pairs[1:])
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_array_equal(a, b)


def _spread(t, nngp, ntk):
    on_train, _ = ensemble_moments(t, (nngp, ntk), Y.astype(np.float32))
    return jnp.trace(on_train.covariance)


spreads = jax.jit(jax.vmap(_spread, (0, None, None)))


def test_vmap_equals_a_loop_and_training_only_gives_no_test():
    nngp, ntk = (jnp.asarray(kernel(9)[:N, :N], jnp.float32) for _ in range(2))
    times = jnp.array([0.0, 0.5, jnp.inf])
    got = spreads(times, nngp, ntk)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got[0], jnp.trace(nngp), rtol=1e-6)
    loop = [_spread(float(t), nngp, ntk) for t in times]
    np.testing.assert_allclose(got, loop, rtol=1e-6, atol=1e-9)
    assert ensemble_moments(1.0, (nngp, ntk), Y)[1] is None


def test_the_limit_has_a_derivative():
    kernels = [kernel(9)[:N, :N] for _ in range(2)]

    def limit(ridge):
        on_train, _ = ensemble_moments(jnp.inf, kernels, Y, ridge=ridge)
        return jnp.trace(on_train.covariance) + jnp.sum(on_train.mean)

    with jax.enable_x64(True):
        slope = (limit(0.5 + 1e-5) - limit(0.5 - 1e-5)) / 2e-5
        np.testing.assert_allclose(jax.grad(limit)(0.5), slope, rtol=1e-7)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"t": -1.0}, "t must be >= 0"),
        ({"ridge": -1.0}, "ridge must be in"),
        ({"ridge": jnp.float32(-1)}, "ridge must be in .* got -1.0"),
        ({"learning_rate": 0.0}, "learning_rate must be in"),
        ({"k_train_train": np.eye(N)}, r"k_train_train must be a pair \(nngp, ntk\)"),
        ({"k_train_train": (np.eye(N), np.tri(N))}, "ntk must be symmetric"),
        ({"k_train_train": (np.eye(M), np.eye(N))}, r"nngp must .* \(4, 4\)"),
        ({"k_test_train": (np.eye(M), np.eye(M))}, "both or neither"),
        (
            {"k_test_train": (np.eye(M),) * 2, "k_test_test": (np.eye(M),) * 2},
            r"k_test_train.nngp must .* \(3, 4\)",
        ),
        ({"y_train": Y[1:]}, "y_train must be"),
    ],
)
def test_errors(change, message):
    arguments = {"t": 1.0, "k_train_train": (np.eye(N), np.eye(N)), "y_train": Y}
    with pytest.raises(ValueError, match=message):
        ensemble_moments(**arguments | change)
