from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import optim
from tests.optim.trajectories import GOLDEN

THETA = GOLDEN["noisy_sgd"]  # (21, 4)


def averages(transform, path=THETA):
    """The average before and after each update that follows a path, in float64."""
    with jax.enable_x64(True):
        state, rows = transform.init(jnp.asarray(path[0])), []
        rows.append(np.asarray(state.average))
        for before, after in pairwise(path):
            step = jnp.asarray(after - before)
            updates, state = transform.update(step, state, jnp.asarray(before))
            np.testing.assert_array_equal(updates, after - before)
            rows.append(np.asarray(state.average))
        return np.stack(rows)


def test_golden_trajectories():
    np.testing.assert_allclose(
        averages(optim.polyak_average()),
        GOLDEN["noisy_sgd_polyak_mean"],
        rtol=0,
        atol=1e-10,
    )
    np.testing.assert_allclose(
        averages(optim.ema_average(0.9, debias=False)),
        GOLDEN["noisy_sgd_ema09"],
        rtol=0,
        atol=1e-10,
    )


def test_polyak_average_with_a_start():
    got = averages(optim.polyak_average(start=6))
    np.testing.assert_allclose(got[:7], THETA[:7], atol=1e-12)
    for t in range(6, 21):
        np.testing.assert_allclose(got[t], THETA[6 : t + 1].mean(axis=0), atol=1e-12)


def test_debiased_average():
    got, decay = averages(optim.ema_average(0.7)), 0.7
    for t in range(1, 21):
        weights = decay ** np.arange(t)[::-1]
        expected = np.average(THETA[1 : t + 1], axis=0, weights=weights)
        np.testing.assert_allclose(got[t], expected, atol=1e-12)


def test_averaging_lowers_the_variance_of_a_noisy_quadratic():
    optimizer = optim.chain(optim.sgd(0.2), optim.polyak_average(start=50))

    def final(key):
        def step(carry, noise):
            theta, state = carry
            updates, state = optimizer.update(theta + noise, state, theta)
            return (theta + updates, state), None

        theta = jnp.array(3.0)
        noise = jax.random.normal(key, (500,))
        (theta, state), _ = jax.lax.scan(step, (theta, optimizer.init(theta)), noise)
        return theta, state[-1].average

    theta, average = jax.jit(jax.vmap(final))(jax.random.split(jax.random.key(0), 400))
    # Stationary variance of SGD: lr / (2 - lr); of the mean of n iterates: about 1/n.
    np.testing.assert_allclose(np.var(theta), 0.2 / 1.8, rtol=0.25)
    np.testing.assert_allclose(np.var(average), 1 / 450, rtol=0.25)


def test_the_average_is_wide_and_of_what_is_stored():
    params = {"w": jnp.full(2, 256.0, jnp.bfloat16), "none": None}
    updates = {"w": jnp.full(2, 0.5, jnp.bfloat16), "none": None}  # rounds away
    transform = optim.polyak_average()
    state = transform.init(params)
    for _ in range(3):
        kept, state = transform.update(updates, state, params)
    assert kept is updates
    assert state.average["w"].dtype == jnp.float32
    assert state.average["none"] is None
    np.testing.assert_array_equal(state.average["w"], [256, 256])


def test_vmap_over_start_and_decay_equals_a_loop():
    path = THETA.astype(np.float32)

    def last(start, decay):
        rows = []
        for transform in (
            optim.polyak_average(start),
            optim.ema_average(decay),
            optim.ema_average(decay, debias=False),
        ):
            state = transform.init(path[0])
            for before, after in pairwise(path[:5]):
                _, state = transform.update(after - before, state, before)
            rows.append(state.average)
        return jnp.stack(rows)

    start, decay = np.int32([0, 2]), np.float32([0.0, 0.9])
    loop = [last(int(start[i]), float(decay[i])) for i in range(2)]
    np.testing.assert_allclose(jax.vmap(last)(start, decay), loop, rtol=1e-5)


def test_errors():
    with pytest.raises(ValueError, match="start must be an integer >= 0"):
        optim.polyak_average(-1)
    with pytest.raises(ValueError, match=r"decay must be in \[0, 1\)"):
        optim.ema_average(1.0)
    for transform in (optim.polyak_average(), optim.ema_average(0.5)):
        with pytest.raises(ValueError, match="needs the parameters"):
            transform.update(jnp.ones(2), transform.init(jnp.ones(2)))
