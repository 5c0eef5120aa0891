import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.ntk import (
    effective_rank,
    flatten_kernel,
    participation_ratio,
    project_target,
    spectrum,
)

RNG = np.random.default_rng(4)
BASIS, _ = np.linalg.qr(RNG.normal(size=(6, 6)))
VALUES = np.array([9.0, 4.0, 2.0, 1.0, 1e-3, 0.0])
K = (BASIS * VALUES) @ BASIS.T
K = (K + K.T) / 2
Y = RNG.normal(size=(6, 3))
OF_KERNELS = (spectrum, effective_rank, participation_ratio)
PROJECTED = jax.jit(project_target)


def test_a_full_kernel_is_flattened_example_by_example():
    j1, j2 = RNG.normal(size=(3, 2, 5)), RNG.normal(size=(4, 2, 5))
    full = np.einsum("iap,jbp->ijab", j1, j2)
    expected = j1.reshape(6, 5) @ j2.reshape(8, 5).T
    np.testing.assert_allclose(flatten_kernel(full), expected, rtol=1e-5)


@pytest.mark.parametrize("shape", [(3, 3), (3, 3, 2), (3, 3, 2, 1)])
def test_what_is_no_full_kernel(shape):
    with pytest.raises(ValueError, match=r"kernel must have shape \(n1, n2, k, k\)"):
        flatten_kernel(np.ones(shape))


def test_eigenvalues_descend_and_are_float64():
    found = spectrum(K)
    assert found.values.dtype == np.float64
    values, vectors = np.asarray(found.values), np.asarray(found.vectors)
    np.testing.assert_allclose(values, VALUES, atol=1e-14)
    np.testing.assert_allclose(vectors * values @ vectors.T, K, atol=1e-13)
    np.testing.assert_allclose(found.rounding, 6 * 2**-52 * 9, rtol=1e-9)


def test_negative_round_off_is_shown_and_told_from_an_indefinite_kernel():
    noisy = BASIS * [9.0, 4.0, 2.0, 1.0, 1e-3, -1e-7] @ BASIS.T
    noisy = (noisy + noisy.T) / 2
    low = spectrum(noisy.astype(np.float32))
    np.testing.assert_allclose(low.rounding, 6 * 2**-23 * 9, rtol=1e-5)
    high = spectrum(noisy)
    np.testing.assert_allclose(high.values[-1], -1e-7, rtol=1e-6)
    assert (int(high.negative), bool(high.indefinite)) == (1, True)
    assert not low.indefinite
    assert spectrum(-np.eye(3)).negative == 3


def test_effective_ranks():
    p = VALUES[:5] / VALUES.sum()
    entropy = -np.sum(p * np.log(p))
    np.testing.assert_allclose(effective_rank(K), np.exp(entropy), rtol=1e-12)
    expected = VALUES.sum() ** 2 / np.sum(VALUES**2)
    np.testing.assert_allclose(participation_ratio(K), expected, rtol=1e-12)
    for rank in (effective_rank, participation_ratio):
        np.testing.assert_allclose(rank(7 * np.eye(5, dtype=np.float32)), 5)
        np.testing.assert_allclose(rank(np.outer(Y[:, 0], Y[:, 0])), 1, rtol=1e-12)
        np.testing.assert_allclose(rank(3 * K), rank(K), rtol=1e-12)
        assert np.isnan(rank(np.zeros((3, 3))))
    np.testing.assert_allclose(effective_rank(np.diag([1.0, -1.0])), 2)


def test_a_target_in_the_eigenbasis():
    found = project_target(K, Y)
    np.testing.assert_allclose(np.abs(found.coefficients), np.abs(BASIS.T @ Y), 1e-9)
    energy = np.sum((BASIS.T @ Y) ** 2, axis=1) / np.sum(Y**2)
    np.testing.assert_allclose(found.energy, energy, rtol=1e-9)
    np.testing.assert_allclose(found.cumulative, np.cumsum(energy), rtol=1e-9)
    np.testing.assert_allclose(found.cumulative[-1], 1)
    one = project_target(K, BASIS[:, 1])
    assert one.coefficients.shape == (6,)
    np.testing.assert_allclose(one.energy, np.eye(6)[1], atol=1e-15)
    np.testing.assert_allclose(one.values, VALUES, atol=1e-14)


def test_what_has_no_direction_is_nan():
    nothing = project_target(np.zeros((3, 3)), np.ones(3))
    assert np.isnan(nothing.energy).all()
    assert np.isnan(nothing.coefficients).all()
    assert not np.asarray(nothing.values).any()
    zero = project_target(K, np.zeros(6))
    assert np.isnan(zero.energy).all()
    np.testing.assert_array_equal(zero.coefficients, 0)


def test_traced_and_mapped():
    pair = np.stack([K, 2 * K + np.eye(6)]).astype(np.float32)
    found = jax.jit(jax.vmap(spectrum))(pair)
    assert found.values.dtype == np.float64
    for i, kernel in enumerate(pair):
        np.testing.assert_allclose(found.values[i], spectrum(kernel).values, atol=1e-9)
    ranks = jax.vmap(effective_rank)(pair.astype(float))  # not what JAX would hold
    np.testing.assert_allclose(
        ranks, [effective_rank(kernel) for kernel in pair], rtol=1e-5
    )
    bad = PROJECTED(np.full((6, 6), np.nan, np.float32), np.ones(6, np.float32))
    assert np.isnan(bad.energy).all()


@pytest.mark.parametrize("rank", [effective_rank, participation_ratio])
def test_ranks_have_derivatives(rank):
    kernel = (K + np.eye(6)).astype(np.float32)
    slope = np.asarray(jax.jit(jax.grad(rank))(kernel), float)
    d = RNG.normal(size=(6, 6))
    d, t = d + d.T, 1e-5
    change = float(rank(kernel + t * d)) - float(rank(kernel - t * d))
    np.testing.assert_allclose(np.sum(slope * d), change / (2 * t), rtol=1e-4)


@pytest.mark.parametrize("function", [*OF_KERNELS, lambda k: project_target(k, Y)])
@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        (K[:, :4], r"kernel must be a real matrix \(n, n\), got float64 \(6, 4\)"),
        (K[0], r"kernel must be a real matrix .* \(6,\)"),
        (K * 1j, r"kernel must be a real matrix .* complex128"),
        (K[:0, :0], r"kernel must be a real matrix .* \(0, 0\)"),
        (np.ones((2, 2, 3, 3)), "flatten_kernel makes one"),
        (K + np.triu(np.full((6, 6), 1e-3), 1), "kernel must be symmetric, .* 0.001"),
        (np.where(np.eye(6) > 0, np.nan, K), "kernel must be finite"),
        (np.where(np.eye(6) > 0, np.inf, K), "kernel must be finite"),
    ],
)
def test_wrong_kernels(function, kernel, message):
    with pytest.raises(ValueError, match=message):
        function(kernel)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (Y[:5], r"y must be a real array \(6,\) or \(6, c\), got float64 \(5, 3\)"),
        (Y * 1j, "y must be a real array .* complex128"),
        (Y[:, :0], r"y must be a real array .* \(6, 0\)"),
        (Y[..., None], r"y must be a real array .* \(6, 3, 1\)"),
        (Y * np.inf, "y must be finite"),
    ],
)
def test_wrong_targets(y, message):
    with pytest.raises(ValueError, match=message):
        project_target(K, y)


def test_a_kernel_of_booleans():
    same = np.equal.outer([0, 1, 0], [0, 1, 0])  # examples of one class
    np.testing.assert_allclose(spectrum(same).values, [2, 1, 0], atol=1e-12)


def test_rounding_is_no_asymmetry():
    low = K.astype(np.float32)
    low[0, 1] += 1e-5
    np.testing.assert_allclose(spectrum(low).values, VALUES, atol=2e-5)
    assert spectrum(jnp.asarray(K, jnp.float32)).values.shape == (6,)
