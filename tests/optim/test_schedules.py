import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdl import optim
from tests.optim.trajectories import run

T = np.arange(12)
INT = r"must be an integer >= 1"

# A schedule, and its values at t = 0, 1, ..., 11 from the formula.
CASES = {
    "constant": (optim.constant_schedule(0.3), np.full(12, 0.3)),
    "step": (optim.step_decay(0.8, 0.3, 4), 0.8 * 0.3 ** (T // 4)),
    "exponential": (optim.exponential_decay(0.8, 0.25), 0.8 * np.exp(-0.25 * T)),
    "1/t": (optim.inverse_time_decay(0.8, 0.5), 0.8 / (1 + 0.5 * T)),
    "inverse root": (optim.inverse_root_decay(0.8, 0.5), 0.8 / np.sqrt(1 + 0.5 * T)),
    "cosine": (
        optim.cosine_decay(0.8, 7, 0.1),
        0.1 + 0.35 * (1 + np.cos(np.pi * np.minimum(T / 7, 1))),
    ),
    "polynomial": (
        optim.polynomial_decay(0.8, 0.1, 7, 3.0),
        0.1 + 0.7 * (1 - np.minimum(T / 7, 1)) ** 3,
    ),
    "rising line": (
        optim.polynomial_decay(0.0, 1.0, 4),
        np.minimum(T / 4, 1),
    ),
    "piecewise": (
        optim.piecewise_constant([0.3, 0.7, 0.2], [2, 9]),
        np.select([T < 2, T < 9], [0.3, 0.7], 0.2),
    ),
    "join": (
        optim.join_schedules(
            [optim.exponential_decay(0.8, 0.25), optim.inverse_time_decay(0.4, 1.0)],
            [5],
        ),
        np.where(T < 5, 0.8 * np.exp(-0.25 * T), 0.4 / (1 + np.maximum(T - 5, 0))),
    ),
    "warm-up": (
        optim.warmup(optim.inverse_time_decay(0.8, 0.5), 4, 0.2),
        np.where(T < 4, 0.2 + 0.6 * T / 4, 0.8 / (1 + 0.5 * np.maximum(T - 4, 0))),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_values(name):
    schedule, expected = CASES[name]
    got = jax.jit(jax.vmap(schedule))(jnp.arange(12, dtype=jnp.int32))
    np.testing.assert_allclose(got, expected, rtol=2e-6, atol=1e-7)
    np.testing.assert_allclose(got[3], schedule(3), rtol=1e-6)
    assert jnp.shape(schedule(jnp.int32(3))) == ()
    with jax.enable_x64(True):
        got = np.array([schedule(jnp.int32(t)) for t in T])
    np.testing.assert_allclose(got, expected, rtol=1e-14, atol=1e-16)


@pytest.mark.parametrize("name", CASES)
def test_the_first_update_uses_step_zero(name):
    schedule, expected = CASES[name]
    updates = run(optim.sgd(schedule), [jnp.array(-1.0)] * 3, jnp.array(0.0))
    np.testing.assert_allclose(updates, expected[:3], rtol=2e-6)


@pytest.mark.parametrize("name", CASES)
def test_the_last_count_gives_a_finite_value(name):
    assert np.isfinite(CASES[name][0](jnp.int32(np.iinfo(np.int32).max)))


def test_against_optax():
    for ours, theirs in (
        (optim.cosine_decay(0.8, 7, 0.1), optax.cosine_decay_schedule(0.8, 7, 0.125)),
        (
            optim.warmup(optim.cosine_decay(0.8, 6, 0.1), 3, 0.2),
            optax.warmup_cosine_decay_schedule(0.2, 0.8, 3, 9, 0.1),
        ),
        (
            optim.exponential_decay(0.8, -np.log(0.5) / 3),
            optax.exponential_decay(0.8, 3, 0.5),
        ),
    ):
        np.testing.assert_allclose([ours(t) for t in T], [theirs(t) for t in T], 1e-5)


def test_a_joined_schedule_is_never_asked_for_a_negative_step():
    # A NaN in the branch not taken would make the derivative NaN.
    def late(value, step):
        root = optim.inverse_root_decay(value, 1.0)
        return optim.join_schedules([optim.constant_schedule(1.0), root], [5])(step)

    assert jax.grad(late)(2.0, jnp.int32(0)) == 0
    warm = jax.grad(lambda v: optim.warmup(optim.inverse_root_decay(v, 1.0), 5)(0))
    assert warm(2.0) == 0


def schedules_of(a, b, c):
    """One of each kind from three numbers that may be traced."""
    return [
        optim.constant_schedule(a),
        optim.step_decay(a, b, c),
        optim.exponential_decay(a, b),
        optim.inverse_time_decay(a, b),
        optim.inverse_root_decay(a, b),
        optim.cosine_decay(a, c, b),
        optim.polynomial_decay(a, b, c, 1 + b),
        optim.piecewise_constant([a, b], [c]),
        optim.join_schedules([optim.constant_schedule(a)] * 2, [c]),
        optim.warmup(optim.constant_schedule(a), c, b),
    ]


def test_vmap_over_every_number_equals_a_loop():
    def values(a, b, c):
        return jnp.stack([f(jnp.int32(3)) for f in schedules_of(a, b, c)])

    a, b, c = np.float32([0.3, 0.8]), np.float32([0.5, 0.2]), np.int32([2, 5])
    loop = [values(float(a[i]), float(b[i]), int(c[i])) for i in range(2)]
    np.testing.assert_allclose(jax.vmap(values)(a, b, c), loop, rtol=1e-6)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: optim.constant_schedule(float("nan")), "value must be in"),
        (lambda: optim.step_decay(0.1, -0.5, 3), "factor must be in"),
        (lambda: optim.step_decay(0.1, 0.5, 0), f"every {INT}"),
        (lambda: optim.step_decay(0.1, 0.5, 1.5), f"every {INT}"),
        (lambda: optim.step_decay(float("inf"), 0.5, 1), "init_value must be in"),
        (lambda: optim.exponential_decay(0.1, float("nan")), "rate must be in"),
        (lambda: optim.inverse_time_decay(0.1, -1.0), "rate must be in"),
        (lambda: optim.inverse_root_decay(0.1, -1.0), "rate must be in"),
        (lambda: optim.cosine_decay(0.1, 0), f"steps {INT}"),
        (lambda: optim.cosine_decay(0.1, 5, float("nan")), "end_value must be in"),
        (lambda: optim.polynomial_decay(0.1, 0.0, 0), f"steps {INT}"),
        (lambda: optim.polynomial_decay(0.1, 0.0, 5, 0.0), "power must be in"),
        (lambda: optim.piecewise_constant([1.0], [2]), "one entry fewer"),
        (lambda: optim.piecewise_constant([1.0, 2.0, 3.0], [5, 5]), "must rise"),
        (lambda: optim.piecewise_constant([1.0, 2.0], [-1]), "must rise"),
        (lambda: optim.piecewise_constant([1.0, float("nan")], [1]), "values must be"),
        (lambda: optim.join_schedules([jnp.sin], [1]), "one entry fewer"),
        (lambda: optim.join_schedules([jnp.sin] * 3, [4, 2]), "must rise"),
        (lambda: optim.warmup(jnp.sin, 0), f"steps {INT}"),
        (lambda: optim.warmup(jnp.sin, 3, float("inf")), "init_value must be in"),
    ],
)
def test_wrong_numbers_raise(make, match):
    with pytest.raises(ValueError, match=match):
        make()
