import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import optim
from tests.optim.trajectories import GOLDEN, assert_follows, descend, run

RNG = np.random.default_rng(0)
G = RNG.normal(size=(3, 4)).astype(np.float32)


def dropped(step):
    return jnp.where(step < 10, 0.005, 0.0005)


@pytest.mark.parametrize(
    ("transform", "name"),
    [
        (optim.sgd(0.015), "gd"),
        (optim.sgd(0.015), "gd_closed_form"),
        (optim.momentum(0.005, 0.9), "momentum"),
        (optim.momentum(0.005, 0.9, rate_inside=True), "momentum_notes"),
        (optim.momentum(dropped, 0.9), "momentum_lrdrop_torch"),
        (optim.momentum(dropped, 0.9, rate_inside=True), "momentum_lrdrop_notes"),
        (optim.nesterov(0.005, 0.9), "nesterov"),
        (optim.nesterov(0.005, 0.9, rate_inside=True), "nesterov_sutskever_lookahead"),
    ],
)
def test_golden_trajectories(transform, name):
    assert_follows(transform, name)


@pytest.mark.parametrize("name", ["sgd", "momentum"])
def test_golden_trajectories_with_noise(name):
    transform = {"sgd": optim.sgd(0.005), "momentum": optim.momentum(0.005, 0.9)}[name]
    assert_follows(transform, f"noisy_{name}", GOLDEN["noise"])


def test_the_two_buffers_differ_once_the_rate_drops():
    outside = descend(optim.momentum(dropped, 0.9))
    inside = descend(optim.momentum(dropped, 0.9, rate_inside=True))
    np.testing.assert_allclose(outside[:11], inside[:11], atol=1e-10)
    assert np.abs(outside - inside).max() > 1.0


def test_sutskevers_look_ahead_under_a_schedule():
    decay, theta, v = 0.8, GOLDEN["theta0"], np.zeros(4)
    ahead = [theta]
    for step in range(20):
        rate = 0.005 if step < 10 else 0.0005
        gradient = GOLDEN["H"] @ (theta + decay * v - GOLDEN["theta_star"])
        v = decay * v - rate * gradient
        theta = theta + v
        ahead.append(theta + decay * v)
    got = descend(optim.nesterov(dropped, decay, rate_inside=True))
    np.testing.assert_allclose(got, ahead, atol=1e-10)


def test_terminal_velocity():
    steps = run(optim.momentum(0.1, 0.7), [jnp.ones(2)] * 60, jnp.zeros(2))
    np.testing.assert_allclose(steps[-1], -0.1 / (1 - 0.7) * np.ones(2), rtol=1e-5)


@pytest.mark.parametrize("nesterov", [False, True])
def test_vmap_over_decay_equals_a_loop(nesterov):
    def updates(decay):
        transform = optim.add_momentum(decay, nesterov=nesterov)
        return jnp.stack(run(transform, list(G), jnp.zeros(4)))

    decays = np.array([0.0, 0.5, 0.9], np.float32)
    loop = [updates(float(decay)) for decay in decays]
    np.testing.assert_allclose(jax.vmap(updates)(decays), loop, rtol=1e-5)


def test_dtypes_of_updates_and_accumulator():
    gradient = jnp.ones(3, jnp.bfloat16)
    transform = optim.momentum(0.1, jnp.float32(0.9), accumulator_dtype=jnp.float32)
    state = transform.init(gradient)
    for _ in range(2):
        updates, state = transform.update(gradient, state)
        assert updates.dtype == jnp.bfloat16
        assert state[0].trace.dtype == jnp.float32


@pytest.mark.parametrize("decay", [-0.1, 1.1, float("nan")])
@pytest.mark.parametrize(
    "make",
    [
        optim.add_momentum,
        lambda d: optim.momentum(0.1, d),
        lambda d: optim.nesterov(0.1, d),
    ],
)
def test_a_wrong_decay_raises(make, decay):
    with pytest.raises(ValueError, match=r"decay must be in \[0, 1\]"):
        make(decay)
