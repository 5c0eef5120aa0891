import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.curvature import from_matrix, spectral_density

KEY = jax.random.key(0)
N = 33
SPECTRUM = np.r_[np.linspace(-1, 1, 30), 4.0, 4.0, 9.0]


def density(matrix, probes, depth, key=KEY, **options):
    with jax.enable_x64(True):
        found = spectral_density(from_matrix(matrix), probes, depth, key, **options)
        return jax.tree.map(np.asarray, found)


def test_moments_match_the_spectrum(planted):
    found = density(planted(SPECTRUM), 200, 9)
    for power in range(5):
        samples = np.sum(found.weights * found.nodes**power, axis=1) * 200
        error = samples.std(ddof=1) / 200**0.5
        assert abs(samples.mean() - np.mean(SPECTRUM**power)) <= 4 * error + 1e-12


def test_weights_sum_to_one_and_the_curve_integrates_to_one(planted):
    found = density(planted(SPECTRUM), 6, 8)
    np.testing.assert_allclose(found.weights.sum(), 1, atol=1e-14)
    assert (found.weights >= 0).all()
    step = found.grid[1] - found.grid[0]
    np.testing.assert_allclose(found.density.sum() * step, 1, atol=1e-5)
    spread = found.nodes.max() - found.nodes.min()
    np.testing.assert_allclose(found.width, 0.01 * spread)


def test_full_depth_gives_the_eigenvalues(planted):
    found = density(planted(SPECTRUM), 2, 50)
    assert found.nodes.shape == (2, N)
    for run, weights in zip(found.nodes, found.weights, strict=True):
        for node in run[weights > 1e-6]:
            assert abs(SPECTRUM - node).min() < 1e-8


def test_the_curve_is_a_sum_of_gaussians_with_its_error_between_probes(planted):
    grid = np.linspace(-2, 10, 5)
    found = density(planted(SPECTRUM), 6, 8, grid=grid, width=0.5)
    curves = np.stack([
        [
            np.sum(
                6 * w * np.exp(-(((g - x) / 0.5) ** 2) / 2) / (0.5 * (2 * np.pi) ** 0.5)
            )
            for g in grid
        ]
        for x, w in zip(found.nodes, found.weights, strict=True)
    ])
    np.testing.assert_allclose(found.density, curves.mean(0), rtol=1e-10)
    expected = curves.std(0, ddof=1) / 6**0.5
    np.testing.assert_allclose(found.standard_error, expected, rtol=1e-9)
    np.testing.assert_array_equal(found.grid, grid)


@pytest.mark.parametrize("value", [0.0, -3.0])
def test_equal_eigenvalues(value):
    found = density(value * np.eye(N), 6, 8)
    used = found.weights > 1e-12
    np.testing.assert_allclose(found.nodes[used], value, atol=1e-12)
    np.testing.assert_allclose(found.weights.sum(), 1, atol=1e-14)
    np.testing.assert_allclose(found.width, 0.01 * (abs(value) or 1), rtol=1e-6)
    assert np.isfinite(found.density).all()


def test_one_probe_has_no_error_and_nan_shows(planted):
    assert np.isnan(density(planted(SPECTRUM), 1, 8).standard_error).all()
    found = density(planted(SPECTRUM) * np.nan, 6, 8)
    assert np.isnan(found.nodes).all()
    assert np.isnan(found.density).all()


def test_vmap_equals_a_loop_and_float32_stays(planted):
    matrices = np.stack([planted(SPECTRUM), planted(-SPECTRUM)]).astype(np.float32)

    def curve(matrix):
        return spectral_density(from_matrix(matrix), 2, 6, KEY, grid=16).density

    with jax.enable_x64(True):
        found = jax.vmap(curve)(jnp.asarray(matrices))
        assert found.dtype == np.float32
        expected = [curve(matrix) for matrix in matrices]
        np.testing.assert_allclose(found, expected, rtol=2e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"probes": 0}, "probes must be an integer >= 1, got 0"),
        ({"depth": 2.5}, "depth must be an integer >= 1, got 2.5"),
        ({"grid": 1}, "grid must have at least 2 points, got 1"),
        ({"grid": np.ones((2, 2))}, r"grid must be \(g,\) or an integer"),
        ({"width": 0.0}, "width must be > 0, got 0.0"),
    ],
)
def test_rejects(options, message):
    operator = from_matrix(np.eye(3, dtype=np.float32))
    with pytest.raises(ValueError, match=message):
        spectral_density(operator, **{"probes": 2, "depth": 2, "key": KEY} | options)
