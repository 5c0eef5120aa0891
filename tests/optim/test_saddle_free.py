import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import curvature, optim
from tests.optim.second_order import SADDLE, dense, descend, well_derivatives, well_loss

NEAR_SADDLE = np.array([0.03, -0.02, 0.01, 0.02])


def modulus_step(theta, damping):
    gradient, hessian = well_derivatives(theta)
    values, vectors = np.linalg.eigh(hessian)
    return -vectors @ (vectors.T @ gradient / (np.abs(values) + damping))


@pytest.mark.parametrize(("rate", "damping"), [(1.0, 0.0), (0.5, 0.2)])
@pytest.mark.parametrize("depth", [4, 50])
def test_follows_the_dense_trajectory(rate, damping, depth):
    optimizer = optim.saddle_free_newton(well_loss, rate, damping, depth=depth)
    path, states = descend(optimizer, well_loss, SADDLE, 10, NEAR_SADDLE)
    expected = dense(lambda t: rate * modulus_step(t, damping), NEAR_SADDLE, 10)
    np.testing.assert_allclose(path, expected, rtol=0, atol=1e-8)
    assert states[0].converged.all()
    assert states[0].negative_curvature[0]


def test_leaves_the_saddle_that_attracts_newton():
    newton, _ = descend(optim.newton(well_loss), well_loss, SADDLE, 12, NEAR_SADDLE)
    np.testing.assert_allclose(newton[-1], 0, atol=1e-6)
    # What lies along the negative directions doubles, the rest goes.
    optimizer = optim.saddle_free_newton(well_loss)
    path, _ = descend(optimizer, well_loss, SADDLE, 1, NEAR_SADDLE)
    values, vectors = np.linalg.eigh(SADDLE)
    factors = np.where(values < 0, 2, 0)
    expected = factors * (NEAR_SADDLE @ vectors)
    np.testing.assert_allclose(path[1] @ vectors, expected, atol=2e-4)
    # With damping, for between saddle and minimum there is no curvature.
    optimizer = optim.saddle_free_newton(well_loss, damping=0.5)
    path, _ = descend(optimizer, well_loss, SADDLE, 30, NEAR_SADDLE)
    gradient, hessian = well_derivatives(path[-1])
    np.testing.assert_allclose(gradient, 0, atol=1e-6)
    assert np.linalg.eigvalsh(hessian)[0] > 0


def test_at_a_minimum_it_is_newton():
    start = np.linalg.eigh(SADDLE)[1][:, 0] * 1.4
    path, _ = descend(optim.newton(well_loss), well_loss, SADDLE, 8, start)
    start = path[-1] + 1e-2
    _, hessian = well_derivatives(start)
    assert np.linalg.eigvalsh(hessian)[0] > 0
    ours, _ = descend(optim.saddle_free_newton(well_loss), well_loss, SADDLE, 3, start)
    newton, _ = descend(optim.newton(well_loss), well_loss, SADDLE, 3, start)
    np.testing.assert_allclose(ours, newton, rtol=0, atol=1e-8)


def of_matrix(matrix, gradient, damping=0.0, depth=50):
    """The updates and the state for a given curvature matrix."""
    hessian = functools.partial(curvature.hvp, well_loss)
    transform = optim.scale_by_inverse_modulus(hessian, damping, depth=depth)
    gradient = jnp.asarray(gradient, jnp.float32)
    operator = curvature.from_matrix(jnp.asarray(matrix, jnp.float32))
    state = transform.init(gradient)
    return transform.update(gradient, state, gradient, operator=operator)


def test_a_short_krylov_space_is_the_best_subspace_it_has():
    rng = np.random.default_rng(5)
    basis, _ = np.linalg.qr(rng.normal(size=(9, 9)))
    matrix = (basis * np.linspace(-3, 4, 9)) @ basis.T
    gradient = rng.normal(size=9)
    updates, state = of_matrix(matrix, gradient, 0.5, depth=3)
    krylov = np.column_stack([gradient, matrix @ gradient, matrix @ matrix @ gradient])
    rows, _ = np.linalg.qr(krylov)
    values, vectors = np.linalg.eigh(rows.T @ matrix @ rows)
    within = vectors @ (vectors.T @ (rows.T @ gradient) / (np.abs(values) + 0.5))
    np.testing.assert_allclose(updates, rows @ within, rtol=1e-3, atol=1e-5)
    assert not state.converged
    assert state.iterations == 3


def test_an_invariant_space_ends_it():
    updates, state = of_matrix(np.diag([2.0, -4.0, 1.0, 7.0]), [1.0, 1.0, 0.0, 0.0])
    np.testing.assert_allclose(updates, [0.5, 0.25, 0.0, 0.0], rtol=1e-5, atol=1e-7)
    assert state.iterations == 2
    assert state.converged
    assert state.negative_curvature


def test_no_curvature_and_no_damping_make_no_step():
    # The mean curvature is 0 too, which is where the unused rows stand.
    updates, state = of_matrix(np.diag([1.0, -1.0, 0.0]), [1.0, 1.0, 0.0])
    np.testing.assert_allclose(updates, [1.0, 1.0, 0.0], rtol=1e-5)
    updates, state = of_matrix(np.zeros((3, 3)), [1.0, 2.0, 3.0])
    np.testing.assert_array_equal(updates, 0)
    assert not state.negative_curvature


def test_positive_curvature_is_not_called_negative():
    # A zero eigenvalue of a matrix of rank 3 is rounded to either side.
    for seed in range(8):
        rng = np.random.default_rng(seed)
        factor = rng.normal(size=(6, 3))
        _, state = of_matrix(factor @ factor.T, rng.normal(size=6), 0.1)
        assert not state.negative_curvature


def test_no_gradient_makes_no_step():
    updates, state = of_matrix(np.diag([1.0, -2.0]), [0.0, 0.0])
    np.testing.assert_array_equal(updates, 0)
    assert state.converged


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_gradient_that_is_not_finite_shows(bad):
    for gradient in ([1.0, bad, 0.0], [bad]):
        updates, state = of_matrix(np.eye(len(gradient)), gradient)
        assert np.isnan(updates).all()
        assert not state.converged


def test_vmap_over_the_hyperparameters_equals_a_loop():
    theta = jnp.asarray(NEAR_SADDLE, jnp.float32)
    matrix = jnp.asarray(SADDLE, jnp.float32)
    gradient = jax.grad(well_loss)(theta, matrix)

    def step(rate, damping):
        optimizer = optim.saddle_free_newton(well_loss, rate, damping)
        state = optimizer.init(theta)
        return optimizer.update(gradient, state, theta, batch=matrix)[0]

    rates, dampings = jnp.array([1.0, 0.5, 0.1]), jnp.array([0.0, 0.1, 2.0])
    loop = [step(float(r), float(c)) for r, c in zip(rates, dampings, strict=True)]
    np.testing.assert_allclose(jax.vmap(step)(rates, dampings), loop, rtol=1e-4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"damping": -0.1}, r"damping must be in \[0, inf\), got -0.1"),
        ({"depth": 0}, "depth must be an integer >= 1, got 0"),
        ({"learning_rate": -1.0}, r"learning_rate must be in \[0, inf\), got -1.0"),
    ],
)
def test_a_wrong_hyperparameter_raises(settings, message):
    with pytest.raises(ValueError, match=message):
        optim.saddle_free_newton(well_loss, **settings)
