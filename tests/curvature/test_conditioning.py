import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.curvature import condition_number, from_matrix, hvp, sharpness

KEY = jax.random.key(4)
N = 29


@pytest.mark.parametrize(
    "spectrum",
    [
        np.linspace(1, 7, N),
        np.geomspace(1e-3, 5, N) * (-1) ** np.arange(N),
        -np.geomspace(1e-5, 1, N),
        np.r_[[2.0] * 20, [-2.0] * 9],
        np.r_[0.5, 0.5, [3.0] * 27],
    ],
)
def test_planted_spectra(spectrum, planted):
    with jax.enable_x64(True):
        found = condition_number(from_matrix(planted(spectrum)), KEY)
        found = jax.tree.map(np.asarray, found)
    sizes = abs(spectrum)
    expected = sizes.max() / sizes.min()
    assert found.converged
    assert found.relative_error <= 1e-3
    np.testing.assert_allclose(found.value, expected, rtol=1e-3)
    np.testing.assert_allclose(abs(found.largest), sizes.max(), rtol=1e-3)
    np.testing.assert_allclose(abs(found.smallest), sizes.min(), rtol=1e-3)


def test_singular_is_infinite(planted):
    with jax.enable_x64(True):
        for spectrum in (np.r_[0.0, np.linspace(-1, 2, N - 1)], np.zeros(N)):
            found = condition_number(from_matrix(planted(spectrum)), KEY)
            assert found.value == np.inf
            assert found.smallest == 0


def test_solves_cut_short_do_not_converge(planted):
    spectrum = np.geomspace(1e-3, 5, N) * (-1) ** np.arange(N)
    with jax.enable_x64(True):
        operator = from_matrix(planted(spectrum))
        found = condition_number(operator, KEY, max_iterations=12)
        assert found.relative_error > 1e-3
        assert not found.converged


def test_nan_does_not_converge():
    with jax.enable_x64(True):
        found = condition_number(from_matrix(np.full((N, N), np.nan)), KEY)
        assert np.isnan(found.value)
        assert not found.converged


def test_what_float32_cannot_resolve_does_not_converge():
    spectrum = np.geomspace(1e-7, 1, N).astype(np.float32)
    with jax.enable_x64(True):
        found = condition_number(from_matrix(np.diag(spectrum)), KEY)
        for leaf in found[:4]:
            assert leaf.dtype == np.float32
        assert found.value == np.inf or not found.converged


def test_sharpness_is_the_largest_eigenvalue(planted):
    spectrum = np.linspace(-9, 4, N)
    with jax.enable_x64(True):
        found = sharpness(from_matrix(planted(spectrum)), KEY, tol=1e-5)
        np.testing.assert_allclose(found.value, 4, rtol=1e-8)
        assert found.converged
        assert found.residual_norm <= 9e-5
        found = sharpness(from_matrix(planted(spectrum) * np.nan), KEY)
        assert np.isnan(found.value)
        assert not found.converged


def test_rejects():
    with pytest.raises(ValueError, match="tol must be > 0, got 0"):
        condition_number(from_matrix(jnp.eye(3)), KEY, tol=0.0)
    with pytest.raises(ValueError, match="tol must be >= 0, got -1"):
        sharpness(from_matrix(jnp.eye(3)), KEY, tol=-1.0)


@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_tracking_along_training_compiles_once(wrap):
    traces = []

    def loss(w, batch):
        traces.append(1)
        return jnp.mean(jnp.tanh(batch @ w) ** 2)

    batch = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
    track = wrap(lambda w: sharpness(hvp(loss, w, batch), KEY).value)
    points = [np.full(4, x, np.float32) for x in (0.1, 0.2, 0.5)]
    found = [track(points[0])]
    once = len(traces)
    found += [track(w) for w in points[1:]]
    assert len(traces) == once
    for w, value in zip(points, found, strict=True):
        expected = np.linalg.eigvalsh(jax.hessian(loss)(w, batch))[-1]
        np.testing.assert_allclose(value, expected, rtol=1e-4)
