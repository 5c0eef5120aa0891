import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdl import optim
from tests.optim.trajectories import run

RNG = np.random.default_rng(0)
G = RNG.normal(size=(6, 4)).astype(np.float32)
THETA = np.zeros(4, np.float32)


@pytest.mark.parametrize("mean", [False, True])
def test_equals_the_updates_of_larger_batches(mean):
    inner = optim.adam(0.1, b1=0.5, b2=0.7, eps=0.3)
    updates = np.stack(run(optim.accumulate(inner, 3, mean=mean), G, THETA))
    batches = G.reshape(2, 3, 4).sum(axis=1) / (3 if mean else 1)
    np.testing.assert_allclose(updates[2::3], run(inner, batches, THETA), rtol=1e-5)
    np.testing.assert_array_equal(np.delete(updates, [2, 5], axis=0), 0)


def test_counts():
    transform = optim.accumulate(optim.sgd(1.0), 2)
    state, seen = transform.init(THETA), []
    for gradient in G[:5]:
        _, state = transform.update(gradient, state)
        seen.append((int(state.mini_step), int(state.gradient_step)))
    assert seen == [(1, 0), (0, 1), (1, 1), (0, 2), (1, 2)]


def test_a_schedule_counts_updates():
    transform = optim.accumulate(
        optim.sgd(1.0), lambda updates: jnp.where(updates < 2, 1, 2), mean=False
    )
    updates = np.stack(run(transform, G, THETA))
    expected = -np.stack([G[0], G[1], 0 * G[0], G[2] + G[3], 0 * G[0], G[4] + G[5]])
    np.testing.assert_allclose(updates, expected, rtol=1e-5)


def test_half_precision_is_summed_in_float32():
    gradient = jnp.full(2, 1.0, jnp.bfloat16)
    transform = optim.accumulate(optim.scale(1.0), 400, mean=False)

    def step(state, _):
        updates, state = transform.update(gradient, state)
        return state, updates

    state, updates = jax.lax.scan(step, transform.init(gradient), None, 400)
    assert updates.dtype == jnp.bfloat16
    assert state.acc_grads.dtype == jnp.float32
    np.testing.assert_array_equal(updates[-1], [400, 400])  # bfloat16 ends at 256


def test_optax_inside_and_extra_arguments():
    transform = optim.accumulate(optax.scale_by_polyak(), 2)
    state = transform.init(THETA)
    for gradient in G[:2]:
        updates, state = transform.update(gradient, state, THETA, value=0.1)
    mean = G[:2].mean(axis=0)
    np.testing.assert_allclose(updates, mean * 0.1 / np.sum(mean**2), rtol=1e-5)


def test_a_gradient_that_is_not_finite_can_be_left_out():
    transform = optim.apply_if_finite(optim.accumulate(optim.sgd(1.0), 2), 3)
    bad = np.full(4, np.nan, np.float32)
    updates = run(transform, [G[0], bad, G[1]], THETA)
    np.testing.assert_array_equal(updates[1], 0)
    np.testing.assert_allclose(updates[2], -G[:2].mean(axis=0), rtol=1e-5)


def test_vmap_over_the_inner_rate_equals_a_loop():
    def updates(rate):
        return jnp.stack(run(optim.accumulate(optim.sgd(rate), 2), G[:4], THETA))

    rates = np.float32([0.1, 1.0])
    loop = [updates(float(rate)) for rate in rates]
    np.testing.assert_allclose(jax.vmap(updates)(rates), loop, rtol=1e-6)


@pytest.mark.parametrize("every", [0, -1, 2.0, 1.5])
def test_a_wrong_number_of_calls_raises(every):
    with pytest.raises(ValueError, match="every must be an integer >= 1"):
        optim.accumulate(optim.sgd(1.0), every)
