import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import optim
from tests.optim.second_order import (
    LABELS,
    SADDLE,
    THETA,
    X,
    dense,
    descend,
    log_loss,
    logistic_derivatives,
    logistic_loss,
    logit,
    well_derivatives,
    well_loss,
)

BATCH = (X, LABELS)
NEAR_SADDLE = np.array([0.03, -0.02, 0.01, 0.02])


@pytest.mark.parametrize(("rate", "damping"), [(1.0, 0.0), (0.6, 0.3)])
def test_follows_the_dense_trajectory(rate, damping):
    optimizer = optim.newton(logistic_loss, rate, damping, tol=1e-14)
    path, states = descend(optimizer, logistic_loss, BATCH, 8, THETA)

    def direction(theta):
        gradient, hessian = logistic_derivatives(theta)
        return -rate * np.linalg.solve(hessian + damping * np.eye(4), gradient)

    np.testing.assert_allclose(path, dense(direction, THETA, 8), rtol=0, atol=1e-8)
    assert states[0].iterations.max() <= 20


def test_in_float32():
    path, _ = descend(
        optim.newton(logistic_loss), logistic_loss, BATCH, 8, THETA, np.float32
    )
    gradient, _ = logistic_derivatives(path[-1].astype(float))
    assert path.dtype == np.float32
    np.testing.assert_allclose(gradient, 0, atol=1e-6)


def test_a_quadratic_takes_one_step():
    rng = np.random.default_rng(1)
    basis, _ = np.linalg.qr(rng.normal(size=(6, 6)))
    matrix, target = (basis * np.logspace(0, 3, 6)) @ basis.T, rng.normal(size=6)

    def loss(theta, batch):
        matrix, target = batch
        return (theta - target) @ matrix @ (theta - target) / 2

    for solver in ("minres", "cg"):
        optimizer = optim.newton(loss, solver=solver, tol=1e-13)
        path, _ = descend(optimizer, loss, (matrix, target), 1, np.zeros(6))
        np.testing.assert_allclose(path[1], target, rtol=1e-8)


def test_affine_invariance():
    # In coordinates phi with theta = M phi + c the iterates are the same points.
    rng = np.random.default_rng(2)
    change, shift = rng.normal(size=(4, 4)) + 3 * np.eye(4), rng.normal(size=4)

    def flat_loss(theta, batch):
        return logistic_loss({"b": theta[0], "w": theta[1:]}, batch)

    def changed_loss(phi, batch):
        *batch, change, shift = batch
        return flat_loss(change @ phi + shift, batch)

    start = rng.normal(size=4)
    path, _ = descend(optim.newton(flat_loss, tol=1e-14), flat_loss, BATCH, 5, start)
    changed, _ = descend(
        optim.newton(changed_loss, tol=1e-14),
        changed_loss,
        (*BATCH, change, shift),
        5,
        np.linalg.solve(change, start - shift),
    )
    np.testing.assert_allclose(changed @ change.T + shift, path, rtol=0, atol=1e-8)
    # Damping is not invariant.
    damped, _ = descend(optim.newton(flat_loss, 1.0, 1.0), flat_loss, BATCH, 1, start)
    damped_changed, _ = descend(
        optim.newton(changed_loss, 1.0, 1.0),
        changed_loss,
        (*BATCH, change, shift),
        1,
        np.linalg.solve(change, start - shift),
    )
    assert np.abs(damped_changed @ change.T + shift - damped)[1].max() > 1e-2


def test_a_saddle_attracts_it():
    optimizer = optim.newton(well_loss, tol=1e-13)
    path, states = descend(optimizer, well_loss, SADDLE, 6, NEAR_SADDLE)

    def direction(theta):
        gradient, hessian = well_derivatives(theta)
        return -np.linalg.solve(hessian, gradient)

    np.testing.assert_allclose(path, dense(direction, NEAR_SADDLE, 6), atol=1e-8)
    np.testing.assert_allclose(path[-1], 0, atol=1e-8)
    assert states[0].converged[:2].all()


@pytest.mark.parametrize("radius", [None, 0.5])
def test_conjugate_gradients_descend_from_it(radius):
    optimizer = optim.newton(well_loss, 1.0, 0.1, solver="cg", radius=radius)
    path, states = descend(optimizer, well_loss, SADDLE, 15, NEAR_SADDLE)
    losses = [float(well_loss(theta, SADDLE)) for theta in path]
    assert states[0].negative_curvature[0]
    assert losses[1] < losses[0]
    assert losses[-1] < -0.3
    gradient, hessian = well_derivatives(path[-1])
    np.testing.assert_allclose(gradient, 0, atol=1e-4)
    assert np.linalg.eigvalsh(hessian)[0] > 0
    if radius is not None:
        lengths = np.linalg.norm(np.diff(path, axis=0), axis=1)
        assert lengths.max() <= radius * (1 + 1e-12)
        np.testing.assert_allclose(lengths[0], radius)


def test_the_rate_may_be_a_schedule():
    rate = optim.piecewise_constant([0.5, 0.25], [1])
    optimizer = optim.newton(logistic_loss, rate, tol=1e-14)
    path, _ = descend(optimizer, logistic_loss, BATCH, 2, THETA)
    for i, factor in enumerate((0.5, 0.25)):
        gradient, hessian = logistic_derivatives(path[i])
        step = -factor * np.linalg.solve(hessian, gradient)
        np.testing.assert_allclose(path[i + 1] - path[i], step, rtol=1e-7)


def test_the_batch_may_come_in_chunks():
    whole, _ = descend(optim.newton(logistic_loss), logistic_loss, BATCH, 2, THETA)
    chunks, _ = descend(
        optim.newton(logistic_loss, chunk_size=5), logistic_loss, BATCH, 2, THETA
    )
    np.testing.assert_allclose(chunks, whole, rtol=1e-7)


@pytest.mark.parametrize(
    "make",
    [
        functools.partial(optim.newton, logistic_loss),
        functools.partial(optim.saddle_free_newton, logistic_loss),
        functools.partial(optim.gauss_newton, logit, log_loss),
        functools.partial(optim.levenberg_marquardt, logit, log_loss),
        functools.partial(optim.natural_gradient, logit, "bernoulli"),
    ],
)
def test_chunks_are_handed_on(make):
    theta = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), THETA)
    optimizer = make(chunk_size=0)
    with pytest.raises(ValueError, match="chunk_size must be a positive integer"):
        optimizer.update(theta, optimizer.init(theta), theta, batch=BATCH)


def test_one_program_serves_all_batches():
    traces = []

    def loss(theta, batch):
        traces.append(1)
        return jnp.mean((batch - theta) ** 2)

    optimizer, theta = optim.newton(loss), jnp.array(0.0)
    state, counts = optimizer.init(theta), []
    for batch in (jnp.ones(3), 2 * jnp.ones(3)):
        optimizer.update(jnp.array(1.0), state, theta, batch=batch)
        counts.append(len(traces))
    assert counts[0] == counts[1]
