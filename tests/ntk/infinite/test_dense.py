"""Dense networks by hand, their structure, and their finite networks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.ntk import infinite
from jaxdl.ntk.infinite import dense, erf, relu, serial
from jaxdl.ntk.infinite.kernels import folded, unfolded

RNG = np.random.default_rng(0)
X1 = RNG.normal(size=(5, 3)).astype(np.float32)
X2 = RNG.normal(size=(4, 3)).astype(np.float32)
W, B = 1.4, 0.3
NETWORK = serial(
    dense(64, w_std=W, b_std=B), relu(), dense(64, w_std=W, b_std=B), erf(), dense(2)
)

KERNEL = jax.jit(NETWORK.kernel)


def by_hand(x1, x2):
    """`NETWORK` in NumPy, with the angles written out."""

    def relu_pair(c, v1, v2):
        s = np.sqrt(v1 * v2)
        t = np.arccos(np.clip(c / s, -1, 1))
        return (s * np.sin(t) + (np.pi - t) * c) / (2 * np.pi), (np.pi - t) / 2 / np.pi

    def erf_pair(c, v1, v2):
        s = np.sqrt((1 + 2 * v1) * (1 + 2 * v2))
        z = 2 * c / s
        return 2 / np.pi * np.arcsin(z), 4 / np.pi / s / np.sqrt(1 - z * z)

    def gram(a, b):
        return W**2 * a @ b.T / 3 + B**2

    c, v1, v2 = gram(x1, x2), np.diag(gram(x1, x1)), np.diag(gram(x2, x2))
    t = c
    v1, v2 = v1[:, None], v2[None]
    c, slope = relu_pair(c, v1, v2)
    v1, v2 = W**2 * v1 / 2 + B**2, W**2 * v2 / 2 + B**2
    c = W**2 * c + B**2
    t = c + W**2 * t * slope
    c, slope = erf_pair(c, v1, v2)
    return c, c + t * slope


@pytest.mark.parametrize("n", [1, 2, 5])
def test_by_hand(n):
    with jax.enable_x64(True):
        a, b = X1[:n].astype(float), X2.astype(float)
        two, one = KERNEL(a, b), KERNEL(a)
        np.testing.assert_allclose(np.array(tuple(two)), by_hand(a, b), rtol=1e-12)
        np.testing.assert_allclose(np.array(tuple(one)), by_hand(a, a), rtol=1e-7)
        assert np.array_equal(one.nngp, one.nngp.T)
        for kernels in (one, two):
            np.testing.assert_allclose(kernels.own1, np.diag(one.nngp), rtol=1e-14)
        assert one.own2 is None
        np.testing.assert_allclose(two.own2, np.diag(by_hand(b, b)[0]), rtol=1e-7)
        assert one.shape == two.shape == (2,)


def test_composes_by_kernels():
    first, *rest = (
        dense(64, w_std=W, b_std=B),
        relu(),
        dense(64, w_std=W, b_std=B),
        erf(),
        dense(2),
    )

    @jax.jit
    def one_by_one(x1, x2):
        kernels = first.kernel(x1, x2)
        for layer in rest:
            kernels = layer.kernel(kernels)
        return kernels

    @jax.jit
    def from_matrices(x1):
        kernels = first.kernel(x1)
        return serial(*rest).kernel(infinite.Kernels(kernels.nngp, kernels.ntk))

    for got, want in (
        (one_by_one(X1, X2), KERNEL(X1, X2)),
        (from_matrices(X1), KERNEL(X1)),
    ):
        np.testing.assert_allclose(got.nngp, want.nngp, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(got.ntk, want.ntk, rtol=1e-5, atol=1e-6)


def test_vmap_equals_a_loop():
    with jax.enable_x64(True):
        a, b = X1[:4].astype(float), X2.astype(float)
        pairs = jax.jit(jax.vmap(lambda a, b: NETWORK.kernel(a[None], b[None]).ntk))
        got = np.ravel(pairs(a, b))
        np.testing.assert_allclose(got, np.diag(by_hand(a, b)[1]), rtol=1e-12)


def test_gradients():
    def total(x):
        nngp, ntk = NETWORK.kernel(x)
        return jnp.sum(jnp.sin(nngp)) + jnp.sum(ntk * ntk)

    with jax.enable_x64(True):
        x, h, gradient = X1.astype(float), 1e-6, jax.jit(jax.grad(total))
        value, step = jax.jit(total), np.zeros_like(x)
        step[1, 2] = h
        want = (float(value(x + step)) - float(value(x - step))) / (2 * h)
        assert float(gradient(x)[1, 2]) == pytest.approx(want, rel=1e-6)
        # Two examples that are the same, and one of which the bias alone is left.
        x[4], x[3] = x[0], 0
        assert np.all(np.isfinite(gradient(x)))


def test_scales_may_be_traced():
    def ntk(w_std):
        return (
            serial(dense(8, w_std=w_std), relu(), dense(1, w_std=w_std)).kernel(X1).ntk
        )

    got = jax.jit(jax.vmap(ntk))(jnp.array([0.5, 2.0]))
    np.testing.assert_allclose(got, [ntk(0.5), ntk(2.0)], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("n", [1, 2, 3, 6, 7])
@pytest.mark.parametrize("pixels", [(), (2, 3), (2, 2, 3, 3)])
def test_folding_is_undone(n, pixels):
    k = RNG.normal(size=(n, n, *pixels)).astype(np.float32)
    swap = (1, 0, 3, 2, 5, 4) if len(pixels) == 4 else (1, 0, 2, 3)
    k = k + k.transpose(swap[: k.ndim])
    kernels = infinite.Kernels(jnp.asarray(k), jnp.asarray(2 * k))
    assert folded(kernels).nngp.shape == ((n + 1) // 2, n + 1, *pixels)
    back = unfolded(folded(kernels))
    np.testing.assert_array_equal(back.nngp, k)
    np.testing.assert_array_equal(back.ntk, 2 * k)
    np.testing.assert_array_equal(back.own1, k[np.arange(n), np.arange(n)])


def test_finite_network_in_the_standard_parameterization():
    wide = dense(80, w_std=W, b_std=B, parameterization="standard")
    last = dense(12, parameterization="standard")
    network = serial(wide, relu(), wide, erf(), last)
    sample = infinite.monte_carlo_kernel(*network[:2], jax.random.key(1), 60)
    means, want = jax.jit(sample)(X1, X2[:3]), network.kernel(X1, X2[:3])
    for got, error, exact in (
        (means.nngp, means.nngp_error, want.nngp),
        (means.ntk, means.ntk_error, want.ntk),
    ):
        # 4 standard errors, and a bias of order 1 / width.
        slack = 4 * error + 2 / 80 * np.abs(exact).max()
        assert np.all(np.abs(got - exact) < slack)
        assert np.all(error < 0.12 * np.abs(exact).max())


def test_standard_parameterization_in_numbers():
    layers = [
        dense(7, w_std=2.0, b_std=0.5, parameterization="standard"),
        dense(2, w_std=3.0, parameterization="standard"),
    ]
    kernels = serial(*layers).kernel(np.eye(3, dtype=np.float32))
    first = 4 / 3 * np.eye(3) + 0.25
    np.testing.assert_allclose(kernels.nngp, 9 * first, rtol=1e-6)
    want = 7 * first + 9 * (np.eye(3) + 1)
    np.testing.assert_allclose(kernels.ntk, want, rtol=1e-6)
    params = serial(*layers).init(jax.random.key(0), (3,))
    assert params[0].bias.shape == (7,)
    assert params[1].bias is None
    with pytest.raises(ValueError, match="standard parameterization needs the width"):
        layers[1].kernel(infinite.Kernels(jnp.eye(2), jnp.eye(2)))


def test_initial_parameters():
    for parameterization, std in (("ntk", 1.0), ("standard", 2.0 / np.sqrt(400))):
        layer = dense(300, w_std=2.0, b_std=3.0, parameterization=parameterization)
        params = layer.init(jax.random.key(0), (400,))
        assert np.std(params.weights) == pytest.approx(std, rel=0.02)
        want = 3.0 if parameterization == "standard" else 1.0
        assert np.std(params.bias) == pytest.approx(want, rel=0.15)
        x = RNG.normal(size=400).astype(np.float32)
        scale = (2 / 20, 3) if parameterization == "ntk" else (1, 1)
        want = scale[0] * x @ params.weights + scale[1] * params.bias
        np.testing.assert_allclose(layer.apply(params, x), want, rtol=1e-4, atol=1e-4)


def test_keeps_dtypes():
    for dtype in (np.float32, np.float64):
        with jax.enable_x64(True):
            kernels = KERNEL(X1.astype(dtype), X2.astype(dtype))
            assert {a.dtype for a in jax.tree.leaves(kernels)} == {np.dtype(dtype)}
            params = NETWORK.init(jax.random.key(0), (3,), dtype)
            assert NETWORK.apply(params, X1[0].astype(dtype)).dtype == dtype
    assert dense(2).kernel(np.eye(3, dtype=int)).nngp.dtype == np.float32


def test_images_pixel_by_pixel():
    x = RNG.normal(size=(2, 3, 2, 4)).astype(np.float32)
    network = serial(dense(8, w_std=W, b_std=B), relu(), dense(3))
    got, want = jax.jit(lambda x: (network.kernel(x), network.kernel(x[:, 2, 1])))(x)
    assert got.ntk.shape == (2, 2, 3, 2)
    np.testing.assert_allclose(got.ntk[:, :, 2, 1], want.ntk, rtol=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: dense(0), "width must be an integer of at least 1, got 0"),
        (lambda: dense(2.0), "width must be"),
        (lambda: dense(2, w_std=-1.0), r"w_std must be in \[0, inf\), got -1.0"),
        (lambda: dense(2, b_std=-0.1), "b_std must be"),
        (lambda: dense(2, b_std=float("nan")), "b_std must be"),
        (lambda: dense(2, parameterization="mup"), "parameterization must be one of"),
        (lambda: infinite.leaky_relu(float("nan")), "slope must be finite"),
        (lambda: infinite.rbf(0.0), r"gamma must be in \(0, inf\), got 0.0"),
        (lambda: infinite.rbf(float("inf")), "gamma must be finite"),
        (lambda: dense(2).kernel(X1[0]), r"x1 must be \(n, d\) vectors .* \(3,\)"),
        (lambda: dense(2).kernel(X1, X2[0]), "x2 must be"),
        (lambda: dense(2).kernel(X1, X2[:, :2]), "examples of one shape"),
        (lambda: dense(2).kernel(X1 * 1j), "x1 must be real"),
        (lambda: relu().kernel(X1), "relu needs Gaussian inputs"),
        (lambda: serial(dense(2), erf(), erf()).kernel(X1), "erf needs Gaussian"),
        (lambda: dense(2).kernel(dense(2).kernel(X1), X2), "x2 must be None"),
        (
            lambda: dense(2).kernel(
                infinite.Kernels(jnp.ones((2, 3)), jnp.ones((2, 3)))
            ),
            r"must be \(n, n, ...\) where own2 is None",
        ),
        (lambda: dense(2).init(jax.random.key(0), ((2,),)), "dense expects one input"),
    ],
)
def test_errors(make, message):
    with pytest.raises(ValueError, match=message):
        make()
