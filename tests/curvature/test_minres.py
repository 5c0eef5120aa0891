import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse.linalg

from jaxdl.curvature import damp, from_matrix, from_matvec, minres

RNG = np.random.default_rng(0)
N = 31
B = RNG.normal(size=N)


def solve(matrix, b, **options):
    with jax.enable_x64(True):
        return jax.tree.map(np.asarray, minres(from_matrix(matrix), b, **options))


SPECTRA = {
    "definite": np.linspace(0.3, 5, N),
    "indefinite": np.linspace(-4, 5.1, N),
    "clusters": np.r_[[-2.0] * 10, [3.0] * 21] + np.tile([0, 1e-6, 1e-5], 11)[:N],
    "negative": -np.geomspace(1e-2, 1, N),
    "ill-conditioned": np.geomspace(1e-4, 1, N) * (-1) ** np.arange(N),
}


@pytest.mark.parametrize("name", SPECTRA)
def test_solves(name, planted):
    matrix = planted(SPECTRA[name])
    found = solve(matrix, B)
    np.testing.assert_allclose(
        found.x, np.linalg.solve(matrix, B), rtol=1e-5, atol=1e-7
    )
    assert found.converged
    np.testing.assert_allclose(
        found.residual_norm, np.linalg.norm(B - matrix @ found.x), atol=1e-12
    )
    assert found.residual_norm <= 4e-11 * np.linalg.norm(B)


def test_iterates_are_those_of_scipy(planted):
    matrix = planted(SPECTRA["indefinite"])
    for iterations in (1, 2, 3, 7, 15):
        found = solve(matrix, B, max_iterations=iterations)
        expected, _ = scipy.sparse.linalg.minres(
            matrix, B, maxiter=iterations, rtol=1e-15
        )
        np.testing.assert_allclose(found.x, expected, rtol=1e-8, atol=1e-9)
        assert found.iterations == iterations
        assert not found.converged


def test_the_residual_is_the_smallest_of_the_krylov_space(planted):
    matrix = planted(SPECTRA["indefinite"])
    powers = [B]
    norms = []
    for iterations in range(1, 8):
        found = solve(matrix, B, max_iterations=iterations)
        space = np.stack(powers, axis=1)
        best = np.linalg.lstsq(matrix @ space, B, rcond=None)[0]
        expected = np.linalg.norm(B - matrix @ space @ best)
        np.testing.assert_allclose(found.residual_norm, expected, rtol=1e-7)
        norms.append(found.residual_norm)
        powers.append(matrix @ powers[-1] / np.linalg.norm(powers[-1]))
    assert (np.diff(norms) <= 1e-12).all()


def test_the_window_keeps_it_from_needing_more_than_p_iterations(planted):
    spectrum = np.geomspace(1e-4, 1, N) * (-1) ** np.arange(N)
    b = planted(spectrum) @ B
    found = solve(planted(spectrum), b)
    assert found.converged
    assert found.iterations <= N
    without = solve(planted(spectrum), b, window=0)
    assert without.iterations > N
    np.testing.assert_allclose(found.x, B, atol=1e-6)


def test_singular_systems(planted):
    matrix = planted(np.r_[np.linspace(-2, 3, N - 4), np.zeros(4)])
    inside = matrix @ B
    found = solve(matrix, inside)
    assert found.converged
    np.testing.assert_allclose(matrix @ found.x, inside, atol=1e-9)

    found = solve(matrix, B)
    assert not found.converged
    assert found.least_squares
    best = np.linalg.lstsq(matrix, B, rcond=1e-10)[0]
    expected = np.linalg.norm(B - matrix @ best)
    np.testing.assert_allclose(found.residual_norm, expected, rtol=1e-8)
    assert found.normal_residual_norm < 1e-9


def test_special_cases():
    found = solve(np.zeros((N, N)), B)
    assert not found.x.any()
    assert not found.converged
    assert found.least_squares
    found = solve(np.eye(N), 0 * B)
    assert not found.x.any()
    assert found.converged
    assert found.iterations == 0
    found = solve(-2 * np.eye(N), B)
    np.testing.assert_allclose(found.x, -B / 2)
    assert found.iterations == 1
    found = solve(np.full((N, N), np.nan), B)
    assert not found.converged
    assert not found.least_squares
    assert found.iterations <= 2
    np.testing.assert_allclose(solve(np.full((1, 1), -4.0), np.array([2.0])).x, [-0.5])


def test_trees_and_dtypes():
    weights = {"a": np.array([2.0, -3.0], np.float32), "b": np.float32(5)}
    b = jax.tree.map(np.ones_like, weights)
    with jax.enable_x64(True):
        operator = from_matvec(
            lambda v: jax.tree.map(lambda w, x: w * x, weights, v), weights
        )
        found = minres(damp(operator, 1.0), b)
        np.testing.assert_allclose(found.x["a"], [1 / 3, -0.5], rtol=1e-4)
        np.testing.assert_allclose(found.x["b"], 1 / 6, rtol=1e-4)
        for leaf in jax.tree.leaves((found.x, found[1:3])):
            assert leaf.dtype == np.float32
        assert found.iterations.dtype == np.int32


def test_vmap_equals_a_loop(planted):
    matrix = planted(SPECTRA["indefinite"])
    right = np.stack([B, 0 * B, np.cos(B)])
    with jax.enable_x64(True):
        found = jax.vmap(lambda b: minres(from_matrix(matrix), b).x)(right)
        found = np.asarray(found)
    for row, b in enumerate(right):
        np.testing.assert_allclose(found[row], solve(matrix, b).x, atol=1e-8)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"b": jnp.ones(4)}, "b must be a .* got"),
        ({"tol": -1.0}, "tol must be >= 0, got -1"),
        ({"max_iterations": 0}, "max_iterations must be >= 1, got 0"),
        ({"window": 4}, r"window must lie in 0\.\.3, got 4"),
    ],
)
def test_rejects(options, message):
    with pytest.raises(ValueError, match=message):
        minres(from_matrix(jnp.eye(3)), **{"b": jnp.ones(3)} | options)
