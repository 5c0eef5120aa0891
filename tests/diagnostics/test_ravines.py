import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.curvature import from_matrix
from jaxdl.diagnostics import path, ravine, secant_curvature

RNG = np.random.default_rng(0)
KEY = jax.random.key(0)
SPECTRUM = np.array([100.0, 30.0, 1.0, 0.1])


def descend(rate, steps=12, start=1.0):
    """Gradient descent on a quadratic of that spectrum."""
    points = [np.full(4, start)]
    for _ in range(steps):
        points.append(points[-1] * (1 - rate * SPECTRUM))
    return np.array(points)


def test_shares_and_curvatures_by_hand():
    gradient = np.array([3.0, 2.0, 1.0, 1.0])
    with jax.enable_x64(True):
        found = ravine(gradient, from_matrix(np.diag(SPECTRUM)), 2, key=KEY)
        np.testing.assert_allclose(found.sharpness, 100)
        np.testing.assert_allclose(found.top_shares, [9 / 15, 4 / 15], rtol=1e-6)
        np.testing.assert_allclose(found.top_share, 13 / 15, rtol=1e-6)
        curvature = gradient**2 @ SPECTRUM / 15
        np.testing.assert_allclose(found.gradient_curvature, curvature)
        np.testing.assert_allclose(found.steepness, curvature / 100)
        np.testing.assert_allclose(found.chance, 0.5)
        assert found.converged
        scaled = ravine(-7 * gradient, from_matrix(np.diag(SPECTRUM)), 2, key=KEY)
        np.testing.assert_allclose(scaled.top_shares, found.top_shares, rtol=1e-6)


def test_a_random_gradient_has_the_share_of_chance():
    with jax.enable_x64(True):
        operator = from_matrix(np.diag(np.arange(1.0, 41)))
        shares = [
            ravine(g, operator, 10, key=KEY).top_share
            for g in RNG.normal(size=(40, 40))
        ]
    np.testing.assert_allclose(np.mean(shares), 0.25, atol=0.05)


def test_no_gradient_points_nowhere():
    found = ravine(jnp.zeros(2), from_matrix(jnp.eye(2)), key=KEY)
    assert np.isnan(found.top_share)


def test_steps_across_the_ravine_point_back():
    steep = path(descend(1.9 / 100))
    assert np.all(steep.cosines < -0.9)
    assert steep.zigzag == 1
    assert steep.directness < 0.1
    smooth = path(descend(0.9 / 100))
    assert np.all(smooth.cosines > 0)
    assert smooth.zigzag == 0
    assert smooth.directness > 0.8


def test_path_of_a_tree_by_hand():
    trajectory = {"a": np.array([[0.0], [3.0], [3.0], [0.0]]), "b": np.zeros(4)}
    trajectory["b"][1:] = [4, 4, 0]
    found = path(trajectory)
    np.testing.assert_allclose(found.lengths, [5, 0, 5])
    np.testing.assert_array_equal(found.cosines, [np.nan, np.nan])
    np.testing.assert_allclose(found.directness, 0)
    assert np.isnan(found.zigzag)


def test_independent_positions_have_cosine_minus_a_half():
    found = path(RNG.normal(size=(200, 500)))
    np.testing.assert_allclose(np.mean(found.cosines), -0.5, atol=0.01)


def test_secants_of_a_quadratic_lie_in_its_spectrum():
    with jax.enable_x64(True):
        points = descend(1.5 / 100, steps=8)
        found = secant_curvature(points, points * SPECTRUM)
        moves = np.diff(points, axis=0) ** 2
        want = moves @ SPECTRUM / moves.sum(1)
        np.testing.assert_allclose(found.values, want, rtol=1e-6)
        assert 1 <= found.ratio <= 1000
        np.testing.assert_allclose(found.ratio, want.max() / want.min())
        axes = np.cumsum(np.eye(4), axis=0)  # along each eigenvector once
        points = np.concatenate([np.zeros((1, 4)), axes])
        found = secant_curvature({"w": points}, {"w": points * SPECTRUM})
        np.testing.assert_allclose(found.values, SPECTRUM)
        np.testing.assert_allclose(found.ratio, 1000)


def test_negative_curvature_is_no_flattest():
    w = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [1.0, 1.0]])
    found = secant_curvature(w, w * np.array([[-2.0, 3.0]]))
    np.testing.assert_allclose(found.values, [-2, 3, np.nan])
    np.testing.assert_allclose([found.flattest, found.ratio], [3, 1])
    only = secant_curvature(w[:2], -w[:2])
    assert np.isnan(only.flattest)


def test_vmap_equals_a_loop():
    runs = np.stack([descend(0.5 / 100), descend(1.9 / 100)]).astype(np.float32)

    def measures(points):
        return path(points), secant_curvature(points, points**3)

    mapped = jax.vmap(measures)(runs)
    for row, points in enumerate(runs):
        want = jax.tree.leaves(measures(points))
        for got, value in zip(jax.tree.leaves(mapped), want, strict=True):
            np.testing.assert_allclose(got[row], value, rtol=1e-4)


def test_rejects():
    operator = from_matrix(jnp.eye(3))
    with pytest.raises(ValueError, match=r"k must be an integer in 1\.\.3, got 4"):
        ravine(jnp.ones(3), operator, 4, key=KEY)
    with pytest.raises(ValueError, match="vector"):
        ravine(jnp.ones(2), operator, key=KEY)
    with pytest.raises(ValueError, match="at least 3, along"):
        path(np.ones((2, 4)))
    with pytest.raises(ValueError, match="trajectory must hold"):
        path([np.ones((4, 1)), np.ones((5, 1))])
    with pytest.raises(ValueError, match="gradients must hold"):
        secant_curvature(np.ones((3, 2)), np.ones((1, 2)))
    with pytest.raises(ValueError, match="gradients must have shapes"):
        secant_curvature(np.ones((3, 2)), np.ones((3, 1)))
