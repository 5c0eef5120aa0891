import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import optim
from tests.optim.second_order import (
    TARGETS,
    THETA,
    X,
    at,
    dense,
    descend,
    half_square,
    neuron,
    neuron_derivatives,
    neuron_loss,
    vector,
)

BATCH = (X, TARGETS)


def damped_step(theta, damping):
    _, gradient, matrix = neuron_derivatives(theta)
    return -np.linalg.solve(matrix + damping * np.eye(4), gradient)


@pytest.mark.parametrize(("rate", "damping"), [(0.3, 0.0), (0.8, 0.2)])
def test_follows_the_dense_trajectory(rate, damping):
    optimizer = optim.gauss_newton(neuron, half_square, rate, damping, tol=1e-14)
    path, _ = descend(optimizer, neuron_loss, BATCH, 8, THETA)
    expected = dense(lambda theta: rate * damped_step(theta, damping), THETA, 8)
    np.testing.assert_allclose(path, expected, rtol=0, atol=1e-8)


def test_linear_least_squares_takes_one_step():
    def apply(theta, x):
        return jnp.dot(theta, x)

    def loss(theta, batch):
        x, y = batch
        return jnp.mean(half_square(x @ theta, y))

    optimizer = optim.gauss_newton(apply, half_square, tol=1e-14)
    path, _ = descend(optimizer, loss, BATCH, 1, np.ones(3))
    expected, *_ = np.linalg.lstsq(X, TARGETS)
    np.testing.assert_allclose(path[1], expected, rtol=1e-10)


def test_singular_matrices_leave_the_null_space_alone():
    # Two weights with one input between them: only their sum matters.
    def apply(theta, x):
        return (theta[0] + theta[1]) * x

    def loss(theta, batch):
        x, y = batch
        return jnp.mean(half_square((theta[0] + theta[1]) * x, y))

    x = X[:, 0]
    optimizer = optim.gauss_newton(apply, half_square)
    path, _ = descend(optimizer, loss, (x, 3 * x), 1, np.array([2.0, -1.0]))
    np.testing.assert_allclose(path[1], [3.0, 0.0], atol=1e-10)


# --- Levenberg and Marquardt ---------------------------------------------------------


def dense_levenberg_marquardt(theta, steps, damping, increase=2.0, decrease=1 / 3):
    """Parameters, dampings, gain ratios and acceptances, by NumPy."""
    path, dampings, gains, taken = [theta], [], [], []
    for _ in range(steps):
        before, gradient, matrix = neuron_derivatives(theta)
        step = damped_step(theta, damping)
        after, *_ = neuron_derivatives(theta + step)
        foretold = -(gradient @ step + step @ matrix @ step / 2)
        gains.append((before - after) / foretold)
        taken.append(after <= before)
        if taken[-1]:
            theta = theta + step
            damping *= {True: decrease, False: 1.0}[gains[-1] > 0.75]
        if not taken[-1] or gains[-1] < 0.25:
            damping *= increase
        path.append(theta)
        dampings.append(damping)
    return np.stack(path), np.array(dampings), np.array(gains), np.array(taken)


@pytest.mark.parametrize(
    ("settings", "damping"), [({}, 1e-3), ({"increase": 5.0, "decrease": 0.2}, 1e-4)]
)
def test_follows_the_dense_trajectory_with_its_rejections(settings, damping):
    optimizer = optim.levenberg_marquardt(
        neuron, half_square, damping, tol=1e-14, **settings
    )
    # With little height the weights hardly matter, and the first models overshoot.
    start = {"b": np.array(0.1), "w": np.array([1.5, -1.0, 0.5])}
    steps = 7  # the loss of later ones differs by rounding
    path, states = descend(optimizer, neuron_loss, BATCH, steps, start)
    expected, dampings, gains, taken = dense_levenberg_marquardt(
        vector(start), steps, damping, **settings
    )
    assert not taken.all()
    assert taken.sum() > 4
    assert np.any((gains > 0) & (gains < 0.75))
    np.testing.assert_array_equal(states.accepted, taken)
    np.testing.assert_allclose(path, expected, rtol=0, atol=1e-8)
    np.testing.assert_allclose(states.damping, dampings, rtol=1e-12)
    np.testing.assert_allclose(states.gain_ratio, gains, rtol=1e-4)
    assert at(states, -1).rejected == np.sum(~taken)


def test_the_loss_never_rises():
    optimizer = optim.levenberg_marquardt(neuron, half_square, 1e-3)
    start = {"b": np.array(0.1), "w": np.array([1.5, -1.0, 0.5])}
    path, _ = descend(optimizer, neuron_loss, BATCH, 20, start)
    losses = [neuron_derivatives(theta)[0] for theta in path]
    assert np.diff(losses).max() < 1e-16  # NumPy rounds them in another way
    np.testing.assert_allclose(neuron_derivatives(path[-1])[1], 0, atol=1e-5)


def test_undamped_it_is_gauss_newton_and_much_damped_the_gradient():
    undamped = optim.levenberg_marquardt(
        neuron, half_square, 0.0, min_damping=0.0, tol=1e-14
    )
    start = {"b": np.array(1.3), "w": np.array([0.7, -0.4, 0.4])}
    path, states = descend(undamped, neuron_loss, BATCH, 5, start)
    plain, _ = descend(
        optim.gauss_newton(neuron, half_square, tol=1e-14),
        neuron_loss,
        BATCH,
        5,
        start,
    )
    assert states.accepted.all()
    np.testing.assert_allclose(path, plain, rtol=0, atol=1e-10)

    damped = optim.levenberg_marquardt(neuron, half_square, 1e6)
    path, _ = descend(damped, neuron_loss, BATCH, 1, start)
    _, gradient, _ = neuron_derivatives(path[0])
    np.testing.assert_allclose(1e6 * (path[1] - path[0]), -gradient, rtol=1e-4)


def test_in_float32():
    optimizer = optim.levenberg_marquardt(neuron, half_square, 0.1)
    path, states = descend(optimizer, neuron_loss, BATCH, 20, THETA, np.float32)
    assert path.dtype == np.float32
    assert states.damping.dtype == np.float32
    _, gradient, _ = neuron_derivatives(path[-1].astype(float))
    np.testing.assert_allclose(gradient, 0, atol=1e-3)


def test_vmap_over_the_damping_equals_a_loop():
    x, y = (np.float32(part) for part in BATCH)
    theta = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), THETA)
    grads = jax.grad(neuron_loss)(theta, (x, y))

    def step(damping):
        optimizer = optim.levenberg_marquardt(neuron, half_square, damping)
        updates, state = optimizer.update(
            grads, optimizer.init(theta), theta, batch=(x, y)
        )
        return updates, state.damping

    dampings = [0.1, 1.0, 10.0]
    updates, after = jax.vmap(step)(jnp.array(dampings))
    for i, damping in enumerate(dampings):
        alone, damping_after = step(damping)
        got = vector(jax.tree.map(lambda u, i=i: u[i], updates))
        np.testing.assert_allclose(got, vector(alone), rtol=1e-3)
        np.testing.assert_allclose(after[i], damping_after, rtol=1e-6)


def test_a_batch_that_is_no_pair_raises():
    optimizer = optim.gauss_newton(neuron, half_square)
    theta = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), THETA)
    with pytest.raises(ValueError, match=r"batch must be a pair \(x, y\)"):
        optimizer.update(theta, optimizer.init(theta), theta, batch=np.float32(X))
