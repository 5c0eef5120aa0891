import jax
import numpy as np
import pytest

from jaxdl.ntk import (
    centered_kernel_alignment,
    kernel_target_alignment,
    relative_change,
)

RNG = np.random.default_rng(5)
A, B = RNG.normal(size=(2, 7, 4))
K1, K2 = A @ A.T, np.exp(-np.abs(B[:, :1] - B[:, 0][None]))
Y = RNG.normal(size=(7, 2))
H = np.eye(7) - 1 / 7


def cosine(a, b):
    return np.sum(a * b) / np.linalg.norm(a) / np.linalg.norm(b)


def test_kernel_and_target():
    for y in (Y, Y[:, 0], np.sign(Y[:, 0]).astype(int)):
        ideal = y.reshape(7, -1) @ y.reshape(7, -1).T
        found = kernel_target_alignment(K1, y)
        np.testing.assert_allclose(found, cosine(K1, ideal), rtol=1e-12)
        np.testing.assert_allclose(kernel_target_alignment(ideal, y), 1, rtol=1e-12)
    assert found.dtype == np.float64
    assert np.isnan(kernel_target_alignment(0 * K1, Y))
    assert np.isnan(kernel_target_alignment(K1, 0 * Y))


def test_two_kernels():
    expected = cosine(H @ K1 @ H, H @ K2 @ H)
    np.testing.assert_allclose(centered_kernel_alignment(K1, K2), expected, rtol=1e-12)
    changed = centered_kernel_alignment(3 * K2 + 5, K1)
    np.testing.assert_allclose(changed, expected, rtol=1e-11)
    np.testing.assert_allclose(centered_kernel_alignment(K1, K1), 1, rtol=1e-12)


def test_what_is_constant_says_nothing():
    for constant in (0.0, 1.0, 0.1, 1e6 / 3):
        for dtype in (np.float32, np.float64):
            kernel = np.full((7, 7), constant, dtype)
            assert np.isnan(centered_kernel_alignment(K1, kernel))
            assert np.isnan(centered_kernel_alignment(kernel, K1))
    noise = np.where(np.median(K2) < K2, np.finfo(np.float32).eps, 0)
    rounded = (1 + noise).astype(np.float32)
    assert np.ptp(rounded) > 0
    assert np.isnan(centered_kernel_alignment(rounded, K1))
    assert np.isnan(centered_kernel_alignment(K1, rounded))
    assert np.isfinite(centered_kernel_alignment(rounded.astype(float), K1))
    small = 1 + 1e-8 * K2
    expected = centered_kernel_alignment(K2, K1)
    np.testing.assert_allclose(centered_kernel_alignment(small, K1), expected, 1e-6)


def test_change():
    expected = np.linalg.norm(K2 - K1) / np.linalg.norm(K1)
    np.testing.assert_allclose(relative_change(K1, K2), expected, rtol=1e-12)
    full = RNG.normal(size=(2, 3, 2, 2)).astype(np.float32)
    np.testing.assert_allclose(relative_change(full, 3 * full), 2, rtol=1e-6)
    assert not np.asarray(relative_change(K1, K1))
    assert np.isnan(relative_change(0 * K1, K1))
    assert np.isnan(relative_change(0 * K1, 0 * K1))


@pytest.mark.parametrize(
    "function",
    [
        lambda k: kernel_target_alignment(k, Y.astype(np.float32)),
        lambda k: centered_kernel_alignment(k, K2.astype(np.float32)),
        lambda k: relative_change(K2.astype(np.float32), k),
    ],
)
def test_traced_mapped_and_differentiated_in_float64(function):
    pair = np.stack([K1, K1 + 2 * K2]).astype(np.float32)
    found = jax.jit(jax.vmap(function))(pair)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, [function(kernel) for kernel in pair], rtol=1e-12)
    slope = np.asarray(jax.jit(jax.grad(function))(pair[0]), float)
    d = RNG.normal(size=(7, 7))
    d, t = d + d.T, 1e-5
    base = pair[0].astype(float)
    change = float(function(base + t * d)) - float(function(base - t * d))
    np.testing.assert_allclose(np.sum(slope * d), change / (2 * t), rtol=1e-4)


def test_no_change_has_no_slope():
    slope = jax.grad(lambda k: relative_change(K1.astype(np.float32), k))
    np.testing.assert_array_equal(slope(K1.astype(np.float32)), 0)


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        (kernel_target_alignment, (K1[:3], Y), r"kernel must be a real matrix"),
        (kernel_target_alignment, (A @ B.T, Y), "kernel must be symmetric"),
        (kernel_target_alignment, (K1, Y[:3]), r"y must be a real array \(7,\)"),
        (kernel_target_alignment, (K1, Y * np.nan), "y must be finite"),
        (centered_kernel_alignment, (K1[:3], K2), "k1 must be a real matrix"),
        (centered_kernel_alignment, (K1, A @ B.T), "k2 must be symmetric"),
        (centered_kernel_alignment, (K1, K2 * np.inf), "k2 must be finite"),
        (centered_kernel_alignment, (K1, np.eye(3)), "k1 and k2 must have the same"),
        (relative_change, (K1, np.eye(3)), "k0 and k1 must have the same shape"),
        (relative_change, (K1[:0], K1[:0]), "k0 and k1 must have the same shape"),
        (relative_change, (K1 * np.nan, K1), "k0 must be finite"),
        (relative_change, (K1, K1 * 1j), "k1 must be real, got complex128"),
    ],
)
def test_wrong_arguments(function, arguments, message):
    with pytest.raises(ValueError, match=message):
        function(*arguments)
