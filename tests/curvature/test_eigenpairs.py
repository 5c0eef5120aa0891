import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.curvature import eigenpairs, from_matrix, from_matvec, hvp

RNG = np.random.default_rng(5)
KEY = jax.random.key(3)
N = 45  # one size, so that few programs are compiled
REST = RNG.uniform(-1, 1, N - 8)


def wanted(spectrum, k, which):
    spectrum = np.asarray(spectrum, float)
    score = {"largest": spectrum, "smallest": -spectrum, "magnitude": abs(spectrum)}
    return spectrum[np.argsort(-score[which], kind="stable")][:k]


def solve(matrix, k, which="largest", tol=None, key=KEY, **options):
    """In float64, as NumPy arrays."""
    with jax.enable_x64(True):
        pairs = eigenpairs(from_matrix(matrix), k, which, tol, key=key, **options)
        return jax.tree.map(np.asarray, pairs)


def check(pairs, matrix, expected, atol):
    """Values, order, and everything the result says of itself."""
    np.testing.assert_allclose(abs(pairs.values), abs(expected), atol=atol)
    residuals = matrix @ pairs.vectors.T - pairs.vectors.T * pairs.values
    np.testing.assert_allclose(
        pairs.residual_norms, np.linalg.norm(residuals, axis=0), atol=1e-13
    )
    assert (pairs.residual_norms <= pairs.tolerance).all()
    assert pairs.converged.all()
    assert pairs.finished
    k = len(expected)
    np.testing.assert_allclose(pairs.vectors @ pairs.vectors.T, np.eye(k), atol=1e-10)


SPECTRA = {
    "outliers": [10, 8, 6, 5, 4, 3, 2.5, 2, *REST],
    "copies": [10, 10, 8, 8, 8, 6, -10, -10, *REST],
    "many copies": [7] * 20 + [-7] * 25,
    "tight gaps": [1, 0.999, 0.998, 0.997, 0.997, 0.996, -1, -0.999, *REST * 0.98],
    "zero": [0] * N,
    "multiple of the identity": [-3] * N,
    "low rank": [5, 4, -3] + [0] * (N - 3),
    "indefinite": np.linspace(-5, 4, N),
    "tiny": 1e-20 * np.arange(N),
}


@pytest.mark.parametrize("which", ["largest", "smallest", "magnitude"])
@pytest.mark.parametrize("name", SPECTRA)
def test_planted_spectra_through_restarts(name, which, planted):
    matrix = planted(SPECTRA[name])
    pairs = solve(matrix, 5, which, basis_size=18)
    expected = wanted(SPECTRA[name], 5, which)
    check(pairs, matrix, expected, 1e-9 * abs(matrix).max())
    if which != "magnitude":  # where +a and -a may change places
        np.testing.assert_allclose(pairs.values, expected, atol=1e-9)


@pytest.mark.parametrize("k", [1, 7])
def test_the_whole_space_and_the_smallest_ones(k):
    matrix = np.diag([4.0, 4, 4, -1, -1, 0.5, 2])[:k, :k]
    pairs = solve(matrix, k)
    check(pairs, matrix, np.sort(np.diag(matrix))[::-1], 1e-14)
    assert pairs.matvecs == 2 * k


def test_more_pairs_than_a_burst_fills():
    matrix = -3 * np.eye(N)
    check(solve(matrix, 7, basis_size=18), matrix, np.full(7, -3.0), 1e-12)


@pytest.mark.parametrize("name", ["mse", "ce"])
def test_golden_network(name, golden, losses, batches):
    with jax.enable_x64(True):
        operator = hvp(losses[name], golden["theta"], batches[name])
        for which, expected in (
            ("largest", golden[f"{name}_eigs"][::-1][:5]),
            ("smallest", golden[f"{name}_eigs"][:5]),
        ):
            pairs = eigenpairs(operator, 5, which, key=KEY, basis_size=20)
            np.testing.assert_allclose(pairs.values, expected, atol=1e-9)
            assert pairs.converged.all()


def test_without_the_search_copies_are_missed(planted):
    matrix = planted([20, 20, 17, 17, 15, 13, 11, *REST, 0])
    found = solve(matrix, 5, tol=1e-3, search=True, basis_size=18)
    np.testing.assert_allclose(found.values, [20, 20, 17, 17, 15], atol=1e-3)
    blind = solve(matrix, 5, tol=1e-3, search=False, basis_size=18)
    np.testing.assert_allclose(blind.values, [20, 17, 15, 13, 11], atol=1e-3)
    assert blind.converged.all()  # as each of them is an eigenvalue
    assert blind.matvecs < found.matvecs


def test_a_search_does_not_take_a_small_product_for_an_empty_space(monkeypatch):
    """In many dimensions A hardly moves a random vector, whatever its outliers."""
    module = importlib.import_module("jaxdl.curvature.eigenpairs")
    monkeypatch.setattr(module, "_burst", lambda m: 1)
    spectrum = np.r_[2.0, 2.0, 1.0, 1e-3 * RNG.uniform(-1, 1, 200_000)]
    weights = jnp.asarray(spectrum, jnp.float32)
    operator = from_matvec(jax.tree_util.Partial(jnp.multiply, weights), weights)
    pairs = eigenpairs(operator, 2, tol=1e-3, key=KEY)
    assert pairs.finished
    np.testing.assert_allclose(pairs.values, [2, 2], rtol=1e-3)


def test_what_does_not_converge_is_flagged(planted):
    matrix = planted(np.linspace(0, 1, N) ** 8)
    pairs = solve(matrix, 5, "smallest", 1e-12, basis_size=18, max_matvecs=30)
    assert not pairs.finished
    assert not pairs.converged.all()
    np.testing.assert_array_equal(
        pairs.converged, pairs.residual_norms <= pairs.tolerance
    )
    assert pairs.matvecs == 35


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_matrix_with_nan_ends_at_once_and_says_so(bad, planted):
    matrix = planted(SPECTRA["outliers"])
    matrix[3, 5] = matrix[5, 3] = bad
    pairs = solve(matrix, 5, basis_size=18)
    assert np.isnan(pairs.values).all()
    assert not pairs.converged.any()
    assert not pairs.finished
    assert pairs.matvecs < 15


def test_trees_in_float32_beside_float64():
    weights = {"a": np.arange(6.0, dtype=np.float32).reshape(2, 3), "b": np.float32(9)}
    traces = []

    def matvec(v):
        traces.append(1)
        return jax.tree.map(jnp.multiply, weights, v)

    with jax.enable_x64(True):
        operator = from_matvec(matvec, weights)
        pairs = eigenpairs(operator, 2, tol=1e-12, key=KEY)
        once = len(traces)
        for leaf in jax.tree.leaves((pairs[:3], pairs.tolerance)):
            assert leaf.dtype == np.float32
        assert pairs.matvecs.dtype == np.int32
        # what float32 can attain, not what was asked for
        np.testing.assert_allclose(pairs.tolerance, 9 * 16 * 2.0**-23, rtol=1e-5)
        np.testing.assert_allclose(pairs.values, [9, 5], rtol=1e-6)
        assert pairs.vectors["a"].shape == (2, 2, 3)
        np.testing.assert_allclose(abs(pairs.vectors["b"]), [1, 0], atol=1e-5)
        np.testing.assert_allclose(abs(pairs.vectors["a"][1, 1, 2]), 1, atol=1e-5)

        # Another tolerance, key, budget or end of the spectrum compiles nothing anew.
        pairs = eigenpairs(
            operator, 2, "smallest", 1e-3, key=jax.random.key(8), max_matvecs=100
        )
        assert len(traces) == once
        np.testing.assert_allclose(pairs.values, [0, 1], atol=1e-3)

        program = jax.jit(lambda: eigenpairs(operator, 2, key=KEY)).lower()
        assert "xf64" not in program.as_text()


def test_vmap_equals_a_loop_even_beside_a_nan(planted):
    matrices = [planted(SPECTRA[name]) for name in ("outliers", "copies", "zero")]
    matrices.append(matrices[0] * np.nan)

    def values(matrix):
        pairs = eigenpairs(from_matrix(matrix), 5, key=KEY, basis_size=18)
        return pairs.values, pairs.converged

    with jax.enable_x64(True):
        found, converged = jax.jit(jax.vmap(values))(np.stack(matrices))
        found, converged = np.asarray(found), np.asarray(converged)
    for row, matrix in enumerate(matrices):
        expected = solve(matrix, 5, basis_size=18)
        np.testing.assert_allclose(found[row], expected.values, atol=1e-9)
        np.testing.assert_array_equal(converged[row], expected.converged)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, r"k must be an integer in 1\.\.45, got 0"),
        ({"k": 46}, r"k must be an integer in 1\.\.45, got 46"),
        ({"which": "both"}, "which must be 'largest', .* got 'both'"),
        ({"tol": -1.0}, "tol must be >= 0, got -1"),
        ({"basis_size": 4}, r"basis_size must lie in 5\.\.45, got 4"),
        ({"basis_size": 46}, r"basis_size must lie in 5\.\.45, got 46"),
        ({"basis_size": 9, "max_matvecs": 8}, "max_matvecs must be >= basis_size=9"),
    ],
)
def test_rejects(options, message):
    operator = from_matrix(np.eye(N, dtype=np.float32))
    with pytest.raises(ValueError, match=message):
        eigenpairs(operator, **{"k": 3, "key": KEY} | options)
