import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import optim
from tests.optim.trajectories import run

RNG = np.random.default_rng(0)
G = RNG.normal(size=(4,)).astype(np.float32)


def test_scale_keeps_the_dtype_under_an_array():
    updates, _ = optim.scale(jnp.float32(0.3)).update(jnp.ones(3, jnp.bfloat16), ())
    assert updates.dtype == jnp.bfloat16
    np.testing.assert_array_equal(updates, np.full(3, jnp.bfloat16(0.3)))


@pytest.mark.parametrize("factor", [float("nan"), float("inf")])
def test_scale_rejects_what_is_not_finite(factor):
    with pytest.raises(ValueError, match="step_size must be in"):
        optim.scale(factor)


def test_a_schedule_is_asked_for_zero_first():
    updates = run(optim.scale_by_schedule(lambda step: step + 1), [G] * 3, G)
    np.testing.assert_allclose(updates, [G, 2 * G, 3 * G], rtol=1e-6)
    updates = run(optim.sgd(lambda step: step + 1), [G] * 3, G)
    np.testing.assert_allclose(updates, [-G, -2 * G, -3 * G], rtol=1e-6)


def test_the_counter_of_a_schedule_saturates():
    transform = optim.scale_by_schedule(lambda step: (step > 0).astype(float))
    last = jnp.asarray(np.iinfo(np.int32).max, jnp.int32)
    updates, state = transform.update(G, optim.ScaleByScheduleState(last))
    np.testing.assert_array_equal(updates, G)
    assert state.step == last


def test_flip_sign():
    up = optim.scale_by_learning_rate(0.5, flip_sign=False)
    np.testing.assert_allclose(run(up, [G], G)[0], 0.5 * G)
    up = optim.scale_by_learning_rate(lambda _: 0.5, flip_sign=False)
    np.testing.assert_allclose(run(up, [G], G)[0], 0.5 * G)


def test_vmap_over_learning_rates_equals_a_loop():
    rates = jnp.array([0.1, 0.3, 1.0])

    def update(rate):
        return run(optim.sgd(rate), [G], G)[0]

    np.testing.assert_allclose(jax.vmap(update)(rates), -rates[:, None] * G[None])


@pytest.mark.parametrize("rate", [-0.1, float("nan"), float("inf"), -1])
def test_a_wrong_learning_rate_raises(rate):
    with pytest.raises(ValueError, match=r"learning_rate must be in \[0, inf\)"):
        optim.scale_by_learning_rate(rate)
