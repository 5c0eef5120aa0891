"""Networks put together, against means over draws of finite ones and by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.ntk import infinite
from jaxdl.ntk.infinite import (
    conv,
    dense,
    dropout,
    erf,
    fan_in_sum,
    fan_out,
    flatten,
    gelu,
    global_avg_pool,
    identity,
    layer_norm,
    monte_carlo_kernel,
    parallel,
    relu,
    serial,
)

RNG = np.random.default_rng(0)
KEY = jax.random.key(0)
X1 = RNG.normal(size=(3, 4)).astype(np.float32)
X2 = RNG.normal(size=(2, 4)).astype(np.float32)
IMAGES = RNG.normal(size=(2, 4, 3, 2)).astype(np.float32)
WIDTH, DRAWS = 80, 60


def agrees(network, x1, x2=None):
    """Four standard errors, and a bias of order 1 / width."""
    sample = jax.jit(monte_carlo_kernel(*network[:2], KEY, DRAWS))(x1, x2)
    exact = jax.jit(network.kernel)(x1, x2)
    for got, error, want in (
        (sample.nngp, sample.nngp_error, exact.nngp),
        (sample.ntk, sample.ntk_error, exact.ntk),
    ):
        scale = np.max(np.abs(want))
        assert got.shape == want.shape
        assert np.all(np.abs(got - want) < 4 * error + 2 * scale / WIDTH)
        assert np.all(error < 0.12 * scale)


def residual(*branch):
    return serial(fan_out(2), parallel(identity(), serial(*branch)), fan_in_sum())


def test_residual_network():
    def wide(w_std):
        return dense(WIDTH, w_std=w_std, b_std=0.3)

    network = serial(
        wide(1.4),
        residual(relu(), wide(1.2)),
        layer_norm(),
        residual(erf(), wide(1.5), residual(gelu(), wide(1.0))),
        relu(),
        residual(dense(WIDTH)),
        dense(12, w_std=1.3),
    )
    agrees(network, X1, X2)


def test_images_with_pooling_dropout_and_shortcut():
    network = serial(
        conv(WIDTH, (2, 2), padding="CIRCULAR", w_std=1.4, b_std=0.3),
        residual(relu(), dropout(0.6), conv(WIDTH, (2, 1), w_std=1.2)),
        relu(),
        dropout(0.7),
        global_avg_pool(),
        dense(8),
    )
    agrees(network, IMAGES)


@pytest.mark.slow
@pytest.mark.parametrize(
    "layer",
    [
        infinite.leaky_relu(0.3),
        infinite.absolute(),
        infinite.sine(),
        infinite.rbf(0.4),
        gelu(),
    ],
)
def test_every_activation(layer):
    network = serial(
        dense(WIDTH, w_std=1.4, b_std=0.3),
        layer,
        dense(WIDTH, w_std=0.9, b_std=0.2),
        layer,
        dense(12),
    )
    agrees(network, X1, X2)


@pytest.mark.slow
def test_strided_convolutions_and_flatten():
    network = serial(
        conv(WIDTH, (2, 2), strides=(2, 1), w_std=1.4, b_std=0.3),
        relu(),
        conv(WIDTH, (2, 2), padding="VALID"),
        layer_norm(),
        erf(),
        flatten(),
        dense(12),
    )
    agrees(network, IMAGES)


def test_shortcut_by_hand():
    with jax.enable_x64(True):
        x = jnp.asarray(X1, float)
        first = dense(8, w_std=1.2, b_std=0.4)
        before = first.kernel(x)
        half = serial(first, relu()).kernel(x)
        got = serial(first, residual(relu(), dense(8, w_std=1.5))).kernel(x)
        nngp = before.nngp + 1.5**2 * half.nngp
        np.testing.assert_allclose(got.nngp, nngp, rtol=1e-12)
        ntk = before.ntk + 1.5**2 * (half.nngp + half.ntk)
        np.testing.assert_allclose(got.ntk, ntk, rtol=1e-12)
        np.testing.assert_allclose(got.own1, np.diag(nngp), rtol=1e-12)


def test_finite_network_is_what_its_layers_are():
    network = serial(dense(6), residual(tanh_layer(), dense(6, b_std=0.5)), dense(2))
    params = network.init(KEY, (4,))
    first, (_, (_, (_, inner)), _), last = params
    hidden = X1[0] @ first.weights / 2
    inside = jnp.tanh(hidden) @ inner.weights / np.sqrt(6) + 0.5 * inner.bias
    want = (hidden + inside) @ last.weights / np.sqrt(6)
    np.testing.assert_allclose(network.apply(params, X1[0]), want, rtol=1e-5)


def tanh_layer():
    """A layer made by hand, without a closed form."""

    def kernel(kernels):
        raise AssertionError("not asked for")

    return infinite.Layer(
        lambda key, shape, dtype=float: (),
        lambda params, x, *, key=None: jnp.tanh(x),
        kernel,
    )


def test_a_layer_made_by_hand_takes_part():
    def kernel(k):
        return infinite.Kernels(2 * k.nngp, 2 * k.ntk, 2 * k.own1, None, k.shape)

    double = infinite.Layer(
        lambda key, shape, dtype=float: (),
        lambda params, x, *, key=None: np.sqrt(2) * x,
        kernel,
    )
    got = serial(dense(5), double, relu(), dense(1)).kernel(X1)
    want = serial(dense(5, w_std=np.sqrt(2)), relu(), dense(1)).kernel(X1)
    np.testing.assert_allclose(got.nngp, want.nngp, rtol=1e-5)
    np.testing.assert_allclose(got.ntk, want.ntk, rtol=1e-5)


def test_layer_norm():
    kernels = serial(dense(5, w_std=3.0, b_std=0.7), layer_norm()).kernel(X1, X2)
    raw = dense(5, w_std=3.0, b_std=0.7).kernel(X1, X2)
    scale = np.sqrt(np.outer(raw.own1, raw.own2))
    np.testing.assert_allclose(kernels.nngp, raw.nngp / scale, rtol=1e-5)
    np.testing.assert_allclose(kernels.ntk, raw.ntk / scale, rtol=1e-5)
    np.testing.assert_allclose(kernels.own1, 1, rtol=1e-5)
    y = layer_norm(eps=0.5).apply((), X1[0])
    want = (X1[0] - X1[0].mean()) / np.sqrt(X1[0].var() + 0.5)
    np.testing.assert_allclose(y, want, rtol=1e-5)


def test_dropout():
    network = serial(dense(5, b_std=0.5), dropout(0.4))
    raw = dense(5, b_std=0.5)
    got, want = network.kernel(X1), raw.kernel(X1)
    factor = np.where(np.eye(3), 1 / 0.4, 1)
    np.testing.assert_allclose(got.nngp, factor * want.nngp, rtol=1e-6)
    np.testing.assert_allclose(got.ntk, factor * want.ntk, rtol=1e-6)
    two = network.kernel(X1, X1)
    np.testing.assert_allclose(two.nngp, want.nngp, rtol=1e-6)
    np.testing.assert_allclose(two.own1, np.diag(want.nngp) / 0.4, rtol=1e-6)
    x = np.full(2000, 3.0, np.float32)
    y = np.asarray(dropout(0.4).apply((), x, key=KEY))
    np.testing.assert_allclose(np.unique(y), [0, 7.5], rtol=1e-6)
    assert np.mean(y > 0) == pytest.approx(0.4, abs=0.05)
    assert np.array_equal(dropout(0.4).apply((), x), x)


def test_monte_carlo_of_other_functions():
    def init(key):
        return {"w": jax.random.normal(key, (4, 3)), "unused": jnp.ones(2)}

    def apply(params, x):
        return x @ params["w"]

    n = 7
    sample = monte_carlo_kernel(init, apply, KEY, n)(X1, X2)
    keys = [jax.random.split(jax.random.fold_in(KEY, i), 3)[0] for i in range(n)]
    outputs = [(X1 @ init(k)["w"], X2 @ init(k)["w"]) for k in keys]
    products = np.array([a @ b.T / 3 for a, b in outputs])
    np.testing.assert_allclose(sample.nngp, products.mean(0), rtol=1e-5, atol=1e-6)
    error = products.std(0, ddof=1) / np.sqrt(n)
    np.testing.assert_allclose(sample.nngp_error, error, rtol=1e-4)
    np.testing.assert_allclose(sample.ntk, X1 @ X2.T, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(sample.ntk_error, 0, atol=1e-6)
    assert np.all(np.isnan(monte_carlo_kernel(init, apply, KEY, 1)(X1).nngp_error))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: serial(), "serial needs one or more layers"),
        (lambda: serial(relu), "serial needs one or more layers"),
        (lambda: parallel(), "parallel needs one or more layers"),
        (lambda: fan_out(0), "n must be at least 1"),
        (lambda: dropout(0.0), r"rate must be in \(0, 1\], got 0.0"),
        (lambda: dropout(1.1), "rate must be"),
        (lambda: layer_norm(eps=-1.0), "eps must be at least 0"),
        (lambda: layer_norm().kernel(X1), "layer_norm needs Gaussian inputs"),
        (lambda: monte_carlo_kernel(*dense(1)[:2], KEY, 0), "n must be at least 1"),
        (
            lambda: monte_carlo_kernel(*dense(1)[:2], KEY, 1)(X1, X2[:, 1:]),
            "examples of one shape",
        ),
        (lambda: parallel(relu()).kernel(X1), "parallel needs a tuple of 1 inputs"),
        (lambda: parallel(relu()).init(KEY, (3,)), "parallel needs a tuple"),
        (
            lambda: serial(fan_out(3), parallel(relu(), relu())).kernel(X1),
            "parallel needs a tuple of 2 inputs, one a layer, got 3",
        ),
        (lambda: fan_in_sum().kernel(X1), "fan_in_sum needs a tuple"),
        (lambda: fan_in_sum().init(KEY, (3,)), "fan_in_sum needs a tuple"),
        (lambda: fan_in_sum().apply((), X1[0]), "fan_in_sum needs a tuple"),
        (lambda: fan_in_sum().init(KEY, ((3,), (2,))), "branches of one shape"),
        (lambda: fan_in_sum().apply((), (X1, X2)), "branches of one shape"),
        (lambda: residual(dense(3)).kernel(X1), "branches of one shape"),
        (lambda: residual(identity()).kernel(X1), "branches that are uncorrelated"),
        (
            lambda: serial(dense(4), residual(relu())).kernel(X1),
            "branches that are uncorrelated: .* 2 of 2 do not",
        ),
    ],
)
def test_errors(make, message):
    with pytest.raises(ValueError, match=message):
        make()
