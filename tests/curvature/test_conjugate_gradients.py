import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse.linalg

from jaxdl.curvature import conjugate_gradient, from_matrix, from_matvec

RNG = np.random.default_rng(0)
N = 31
B = RNG.normal(size=N)
CONVEX = np.linspace(0.3, 5, N)
SADDLE = np.linspace(-1, 5, N)


def solve(matrix, b, **options):
    with jax.enable_x64(True):
        found = conjugate_gradient(from_matrix(matrix), b, **options)
        return jax.tree.map(np.asarray, found)


def model(matrix, x):
    return x @ matrix @ x / 2 - B @ x


def test_solves_a_convex_system(planted):
    matrix = planted(CONVEX)
    found = solve(matrix, B)
    np.testing.assert_allclose(
        found.x, np.linalg.solve(matrix, B), rtol=1e-6, atol=1e-8
    )
    assert found.converged
    assert not found.negative_curvature
    assert not found.at_boundary
    np.testing.assert_allclose(
        found.residual_norm, np.linalg.norm(B - matrix @ found.x), atol=1e-13
    )


def test_iterates_are_those_of_scipy(planted):
    matrix = planted(CONVEX)
    for iterations in (1, 2, 5, 10):
        found = solve(matrix, B, max_iterations=iterations)
        expected, _ = scipy.sparse.linalg.cg(matrix, B, maxiter=iterations, rtol=1e-15)
        np.testing.assert_allclose(found.x, expected, rtol=1e-9, atol=1e-10)
        assert found.iterations == iterations


@pytest.mark.parametrize("radius", [1e-3, 0.5, 2.0, 5.0])
@pytest.mark.parametrize("spectrum", [CONVEX, SADDLE], ids=["convex", "saddle"])
def test_stops_at_the_boundary(spectrum, radius, planted):
    matrix = planted(spectrum)
    found = solve(matrix, B, radius=radius)
    assert np.linalg.norm(found.x) <= radius * (1 + 1e-12)
    if found.at_boundary:
        np.testing.assert_allclose(np.linalg.norm(found.x), radius, rtol=1e-12)
    else:
        assert found.converged
    cauchy = B * min(radius / np.linalg.norm(B), B @ B / abs(B @ matrix @ B))
    assert model(matrix, found.x) <= model(matrix, cauchy) + 1e-12


def test_the_boundary_point_lies_between_two_iterates(planted):
    matrix = planted(CONVEX)
    third, fourth = (solve(matrix, B, max_iterations=n).x for n in (3, 4))
    radius = (np.linalg.norm(third) + np.linalg.norm(fourth)) / 2
    found = solve(matrix, B, radius=radius)
    assert found.at_boundary
    assert found.iterations == 4
    way = np.dot(found.x - third, fourth - third) / np.sum((fourth - third) ** 2)
    assert 0 < way < 1
    np.testing.assert_allclose(found.x, third + way * (fourth - third), rtol=1e-9)


def test_negative_curvature(planted):
    matrix = planted(SADDLE)
    free = solve(matrix, B)
    assert free.negative_curvature
    assert not free.converged
    assert not free.at_boundary
    d = free.direction
    assert d @ matrix @ d < 0
    assert model(matrix, free.x) < 0
    bounded = solve(matrix, B, radius=100.0)
    assert bounded.negative_curvature
    assert bounded.at_boundary
    np.testing.assert_allclose(np.linalg.norm(bounded.x), 100)
    along = bounded.x - free.x
    cosine = along @ d / np.linalg.norm(along) / np.linalg.norm(d)
    np.testing.assert_allclose(cosine, 1)
    assert model(matrix, bounded.x) < model(matrix, free.x)


def test_special_cases():
    found = solve(np.zeros((N, N)), B, radius=2.0)
    assert found.negative_curvature  # flat: the model falls without end
    np.testing.assert_allclose(found.x, 2 * B / np.linalg.norm(B))
    found = solve(np.eye(N), 0 * B)
    assert found.converged
    assert found.iterations == 0
    assert not found.x.any()
    found = solve(np.full((N, N), np.nan), B)
    assert not found.converged
    assert found.iterations <= 2
    for bad in (np.nan, np.inf):
        found = solve(np.eye(N), np.where(np.arange(N) == 1, bad, B))
        assert not found.converged
        assert np.isnan(found.x).all()


def test_trees_and_dtypes():
    weights = {"a": np.array([2.0, 3.0], np.float32), "b": np.float32(5)}
    b = jax.tree.map(np.ones_like, weights)
    with jax.enable_x64(True):
        operator = from_matvec(
            lambda v: jax.tree.map(lambda w, x: w * x, weights, v), weights
        )
        found = conjugate_gradient(operator, b, radius=10.0)
        np.testing.assert_allclose(found.x["a"], [1 / 2, 1 / 3], rtol=1e-4)
        for leaf in jax.tree.leaves((found.x, found.residual_norm, found.direction)):
            assert leaf.dtype == np.float32


def test_vmap_over_radii_equals_a_loop(planted):
    matrix = planted(SADDLE)
    radii = np.array([0.1, 3.0, 50.0])

    def step(radius):
        return conjugate_gradient(from_matrix(matrix), B, radius=radius).x

    with jax.enable_x64(True):
        found = np.asarray(jax.vmap(step)(radii))
    for row, radius in enumerate(radii):
        expected = solve(matrix, B, radius=radius).x
        np.testing.assert_allclose(found[row], expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"b": jnp.ones(4)}, "b must be a .* got"),
        ({"radius": 0.0}, "radius must be > 0, got 0"),
        ({"tol": -1.0}, "tol must be >= 0, got -1"),
        ({"max_iterations": 0}, "max_iterations must be >= 1, got 0"),
    ],
)
def test_rejects(options, message):
    with pytest.raises(ValueError, match=message):
        conjugate_gradient(from_matrix(jnp.eye(3)), **{"b": jnp.ones(3)} | options)
