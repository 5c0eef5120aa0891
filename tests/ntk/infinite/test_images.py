"""Convolutions and pooling against loops over pairs of pixels in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.ntk import infinite
from jaxdl.ntk.infinite import (
    avg_pool,
    conv,
    dense,
    diagonal,
    dropout,
    erf,
    flatten,
    global_avg_pool,
    in_blocks,
    inputs,
    layer_norm,
    relu,
    serial,
)

RNG = np.random.default_rng(0)
X1 = RNG.normal(size=(3, 5, 4, 2))
X2 = RNG.normal(size=(2, 5, 4, 2))
KEY = jax.random.key(0)


def places(shape, size, strides, padding):
    """Sides of the output, and the pixel at each place of each window or -1."""
    sides, sources = [], []
    for side, f, s in zip(shape, size, strides, strict=True):
        if padding == "VALID":
            out, low = (side - f) // s + 1, 0
        else:
            out = -(-side // s)
            low = max((out - 1) * s + f - side, 0) // 2
        at = np.arange(out)[:, None] * s + np.arange(f) - low
        if padding == "CIRCULAR":
            at = at % side
        sides.append(out)
        sources.append(np.where((at < 0) | (at >= side), -1, at))
    rows, columns = sources
    inside = (rows[:, None, :, None] >= 0) & (columns[None, :, None] >= 0)
    pixel = rows[:, None, :, None] * shape[1] + columns[None, :, None]
    return sides, np.where(inside, pixel, -1).reshape(sides[0] * sides[1], -1)


def taken(k, source):
    """``(n, P, F, n, P, F)``: covariances of what is under two windows."""
    k = np.pad(k, ((0, 0), (0, 1), (0, 0), (0, 1)))  # -1 is zero
    return k[:, source][:, :, :, :, source]


class Reference:
    """All covariances of all pixels, ``(n, P, n, P)``, and the tangent kernel."""

    def __init__(self, x):
        self.shape = x.shape[1:3]
        flat = x.reshape(len(x), -1, x.shape[-1])
        self.k = np.einsum("npc,mqc->npmq", flat, flat) / x.shape[-1]
        self.t = 0 * self.k

    def conv(self, size, strides, padding, w, b):
        self.shape, source = places(self.shape, size, strides, padding)
        count = source.shape[1]

        def along(k):
            return w**2 * np.einsum("npfmqf->npmq", taken(k, source)) / count

        self.k, self.t = along(self.k) + b**2, along(self.k + self.t) + b**2

    def pool(self, size, strides, padding):
        self.shape, source = places(self.shape, size, strides, padding)
        self.k, self.t = (taken(k, source).mean((2, 5)) for k in (self.k, self.t))

    def dual(self, name):
        v = np.einsum("npnp->np", self.k)
        a, b = v[:, :, None, None], v[None, None]
        if name == "relu":
            s = np.sqrt(a * b)
            t = np.arccos(np.clip(self.k / s, -1, 1))
            k = (s * np.sin(t) + (np.pi - t) * self.k) / (2 * np.pi)
            slope = (np.pi - t) / (2 * np.pi)
        else:
            s = np.sqrt((1 + 2 * a) * (1 + 2 * b))
            k = 2 / np.pi * np.arcsin(2 * self.k / s)
            slope = 4 / np.pi / np.sqrt(s * s - 4 * self.k**2)
        self.k, self.t = k, self.t * slope

    def end(self, how, w):
        formula = "npmp->nm" if how == "flatten" else "npmq->nm"
        count = self.k.shape[1] ** (1 if how == "flatten" else 2)
        k, t = (np.einsum(formula, a) / count for a in (self.k, self.t))
        return w**2 * k, w**2 * (k + t)


def strided_and_flat():
    network = serial(
        conv(6, (3, 2), strides=(2, 1), w_std=1.3, b_std=0.2),
        relu(),
        conv(6, (2, 2), padding="VALID", w_std=1.5, b_std=0.1),
        erf(),
        flatten(),
        dense(1, w_std=1.2),
    )

    def reference(x):
        r = Reference(x)
        r.conv((3, 2), (2, 1), "SAME", 1.3, 0.2)
        r.dual("relu")
        r.conv((2, 2), (1, 1), "VALID", 1.5, 0.1)
        r.dual("erf")
        return r.end("flatten", 1.2)

    return network, reference


def circular_and_pooled():
    network = serial(
        conv(6, (3, 3), padding="CIRCULAR", w_std=1.3, b_std=0.2),
        erf(),
        avg_pool((2, 1)),
        conv(6, (2, 3), strides=(1, 3), padding="CIRCULAR", w_std=1.4),
        relu(),
        global_avg_pool(),
        dense(1, w_std=0.7),
    )

    def reference(x):
        r = Reference(x)
        r.conv((3, 3), (1, 1), "CIRCULAR", 1.3, 0.2)
        r.dual("erf")
        r.pool((2, 1), (2, 1), "VALID")
        r.conv((2, 3), (1, 3), "CIRCULAR", 1.4, 0.0)
        r.dual("relu")
        return r.end("mean", 0.7)

    return network, reference


def large_windows():
    network = serial(
        conv(6, (5, 3), w_std=1.3, b_std=0.2),
        avg_pool((3, 2), strides=(2, 1), padding="SAME"),
        relu(),
        flatten(),
        dense(1),
    )

    def reference(x):
        r = Reference(x)
        r.conv((5, 3), (1, 1), "SAME", 1.3, 0.2)
        r.pool((3, 2), (2, 1), "SAME")
        r.dual("relu")
        return r.end("flatten", 1.0)

    return network, reference


@pytest.mark.parametrize("chunk", [2**18, 1000])
@pytest.mark.parametrize("make", [strided_and_flat, circular_and_pooled, large_windows])
def test_agrees_with_loops_over_pixels(make, chunk, monkeypatch):
    monkeypatch.setattr("jaxdl.ntk.infinite.pairs.CHUNK", chunk)
    network, reference = make()
    both = jax.jit(lambda x, y: (network.kernel(x), network.kernel(x, y)))
    with jax.enable_x64(True):
        one, two = both(X1, X2)
    wanted = reference(np.concatenate([X1, X2]))
    for got1, got2, want in zip(one, two, wanted, strict=True):
        np.testing.assert_allclose(got1, want[:3, :3], rtol=1e-7)
        np.testing.assert_allclose(got1[0, 1:], want[0, 1:3], rtol=1e-12)
        np.testing.assert_allclose(got2, want[:3, 3:], rtol=1e-12)
    np.testing.assert_allclose(two.own1, np.diag(wanted[0])[:3], rtol=1e-12)
    np.testing.assert_allclose(two.own2, np.diag(wanted[0])[3:], rtol=1e-12)
    np.testing.assert_allclose(one.own1, two.own1, rtol=1e-13)


def test_memory_without_pooling_is_that_of_single_pixels():
    layers = [conv(4, (3, 3)), relu(), flatten(), dense(1)]
    x = np.zeros((2, 32, 32, 1), np.float32)
    compiled = jax.jit(serial(*layers).kernel).lower(x).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 4 * 32**4


def test_flat_images_are_vectors():
    network = serial(flatten(), dense(4, w_std=1.3, b_std=0.3), relu(), dense(1))
    x, y = X1.astype(np.float32), X2.astype(np.float32)
    vectors = serial(*[dense(4, w_std=1.3, b_std=0.3), relu(), dense(1)]).kernel
    for b in (None, y):
        got = network.kernel(x, b)
        want = vectors(x.reshape(3, -1), None if b is None else b.reshape(2, -1))
        np.testing.assert_allclose(got.ntk, want.ntk, rtol=1e-6)
    with jax.enable_x64(True):
        got, by_hand = flatten().kernel(X1), flatten().kernel(inputs(X1))
        np.testing.assert_allclose(got.nngp, by_hand.nngp, rtol=1e-12)
        assert got.shape == by_hand.shape == (40,)


def test_layer_by_layer_with_pairs_of_pixels():
    first, *rest = [
        conv(4, (2, 2), w_std=1.3, b_std=0.3),
        layer_norm(),
        relu(),
        dropout(0.7),
        conv(4, (2, 2)),
        erf(),
        flatten(),
        dense(2, w_std=1.5),
    ]
    whole = jax.jit(serial(first, *rest).kernel)

    @jax.jit
    def by_hand(x, y):
        kernels = first.kernel(inputs(x, y, pixel_pairs=True))
        for layer in rest:
            kernels = layer.kernel(kernels)
        return kernels

    with jax.enable_x64(True):
        for y in (None, X2):
            got, want = by_hand(X1, y), whole(X1, y)
            for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-12)


def test_diagonal_and_blocks():
    network = serial(
        conv(4, (2, 2), w_std=1.3, b_std=0.3), relu(), global_avg_pool(), dense(1)
    )

    @jax.jit
    def parts(x, y):
        return (
            network.kernel(x, y),
            network.kernel(x),
            diagonal(network, x[:2], y),
            diagonal(network, x),
            in_blocks(network, x, y, block_size=2),
            in_blocks(network, x, block_size=2),
        )

    with jax.enable_x64(True):
        two, one, pairs, own, blocks, own_blocks = parts(X1, X2)
    for name in ("nngp", "ntk"):
        t, o = getattr(two, name), getattr(one, name)
        np.testing.assert_allclose(getattr(pairs, name), np.diag(t[:2]), rtol=1e-12)
        np.testing.assert_allclose(getattr(own, name), np.diag(o), rtol=1e-12)
        np.testing.assert_allclose(getattr(blocks, name), t, rtol=1e-12)
        np.testing.assert_allclose(getattr(own_blocks, name), o, rtol=1e-12)
    np.testing.assert_allclose(blocks.own1, one.own1, rtol=1e-12)
    np.testing.assert_allclose(blocks.own2, two.own2, rtol=1e-12)
    np.testing.assert_allclose(own_blocks.own1, one.own1, rtol=1e-12)


@pytest.mark.parametrize("padding", ["SAME", "VALID", "CIRCULAR"])
def test_finite_layers_by_loops(padding):
    size, strides, x = (3, 2), (2, 1), X1[0].astype(np.float32)
    (h, w), source = places((5, 4), size, strides, padding)
    padded = np.pad(x.reshape(20, 2), ((0, 1), (0, 0)))
    layer = conv(7, size, strides=strides, padding=padding, w_std=1.5, b_std=0.5)
    params = layer.init(KEY, (5, 4, 2))
    assert params.weights.shape == (3, 2, 2, 7)
    weights = np.asarray(params.weights).reshape(6, 2, 7)
    want = 1.5 / np.sqrt(12) * np.einsum("pfc,fck->pk", padded[source], weights)
    want = (want + 0.5 * np.asarray(params.bias)).reshape(h, w, 7)
    np.testing.assert_allclose(layer.apply(params, x), want, rtol=1e-5, atol=1e-5)
    pool = avg_pool(size, strides=strides, padding=padding)
    want = padded[source].mean(1).reshape(h, w, 2)
    np.testing.assert_allclose(pool.apply((), x), want, rtol=1e-5, atol=1e-6)
    assert np.allclose(global_avg_pool().apply((), x), x.mean((0, 1)))
    assert np.array_equal(flatten().apply((), x), x.ravel())


def test_standard_parameterization_counts_the_filter():
    kernels = conv(7, (2, 1), padding="VALID", b_std=1.0, parameterization="standard")
    got = kernels.kernel(X1.astype(np.float32)).ntk[0, 1]
    pixels = np.sum(X1[0] * X1[1], -1)
    np.testing.assert_allclose(got, pixels[:-1] + pixels[1:] + 1, rtol=1e-5, atol=1e-5)


def test_keeps_dtypes():
    network = serial(conv(3, (2, 2)), relu(), global_avg_pool(), dense(1))
    kernel = jax.jit(network.kernel)
    for dtype in (np.float32, np.float64):
        with jax.enable_x64(True):
            kernels = kernel(X1.astype(dtype), X2.astype(dtype))
            assert {a.dtype for a in jax.tree.leaves(kernels)} == {np.dtype(dtype)}


def test_gradients_are_finite_where_pixels_are_alike():
    kernel = serial(conv(3, (2, 2)), relu(), global_avg_pool(), dense(1)).kernel
    x = X1[:2].astype(np.float32)
    x[1], x[0, 2:] = x[0], 0
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(kernel(x).ntk)))(x)
    assert np.all(np.isfinite(gradient))


FLAT = np.ones((2, 3), np.float32)
IMAGE = np.ones((1, 4, 4, 2), np.float32)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: conv(0, (3, 3)), "channels must be an integer of at least 1"),
        (lambda: conv(2, (3, 3), w_std=-1), "w_std must be"),
        (lambda: conv(2, (3,)), "filter_shape must be two integers"),
        (lambda: conv(2, 3), "filter_shape must be two integers"),
        (lambda: conv(2, (3, 3), strides=2), "strides must be two integers"),
        (lambda: avg_pool(2), "window must be two integers"),
        (lambda: avg_pool((2, 2), strides=2), "strides must be two integers"),
        (lambda: conv(2, (3, 0)), "filter_shape must be two integers"),
        (lambda: conv(2, (3, 3), strides=(0, 1)), "strides must be two integers"),
        (lambda: conv(2, (3, 3), padding="FULL"), "padding must be one of"),
        (lambda: avg_pool((2, 2), padding="same"), "padding must be one of"),
        (lambda: avg_pool((2, 2, 1)), "window must be two integers"),
        (lambda: conv(2, (3, 3)).kernel(FLAT), "conv expects images"),
        (lambda: conv(2, (3, 3)).init(KEY, (3,)), "conv expects images"),
        (lambda: conv(2, (5, 5), padding="VALID").kernel(IMAGE), "must fit into"),
        (lambda: conv(2, (5, 5), padding="VALID").init(KEY, (4, 4, 1)), "must fit"),
        (lambda: global_avg_pool().kernel(FLAT), "global_avg_pool expects images"),
        (lambda: global_avg_pool().apply((), FLAT[0]), "global_avg_pool expects"),
        (lambda: avg_pool((2, 2)).kernel(FLAT), "avg_pool expects images"),
        (lambda: avg_pool((5, 2)).init(KEY, (4, 4, 1)), "avg_pool windows"),
        (
            lambda: global_avg_pool().kernel(inputs(IMAGE)),
            "needs the covariances of different pixels",
        ),
        (lambda: serial(conv(2, (2, 2)), flatten(), relu()).kernel(IMAGE), "Gaussian"),
        (lambda: diagonal(dense(2), FLAT, FLAT[:1]), "as many examples"),
        (lambda: in_blocks(dense(2), FLAT, block_size=0), "block_size must be"),
        (lambda: in_blocks(dense(2), IMAGE, block_size=1), "must end in vectors"),
        (
            lambda: diagonal(infinite.Layer(*dense(2)[:2], lambda k: k), FLAT),
            "layer must be made by",
        ),
    ],
)
def test_errors(make, message):
    with pytest.raises(ValueError, match=message):
        make()
