import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdl import curvature, interop, optim
from tests.optim.second_order import SADDLE, descend, well_derivatives, well_loss

NEAR_SADDLE = np.array([0.03, -0.02, 0.01, 0.02])
HESSIAN = functools.partial(curvature.hvp, well_loss)
THETA = jnp.asarray(NEAR_SADDLE, jnp.float32)
MATRIX = jnp.asarray(SADDLE, jnp.float32)
GRADIENT = jax.grad(well_loss)(THETA, MATRIX)


def damped_newton(damping):
    return optim.newton(well_loss, damping=damping, tol=1e-12)


def dense_path(theta, steps, damping):
    """Damped Newton by NumPy, with its dampings and acceptances."""
    path, dampings, taken = [theta], [], []
    for _ in range(steps):
        gradient, hessian = well_derivatives(theta)
        step = -np.linalg.solve(hessian + damping * np.eye(4), gradient)
        before, after = (float(well(t)) for t in (theta, theta + step))
        gain = (before - after) / -(gradient @ step + step @ hessian @ step / 2)
        taken.append(after <= before)
        theta = theta + step if taken[-1] else theta
        if not taken[-1] or gain < 0.25:
            damping *= 2
        elif gain > 0.75:
            damping /= 3
        path.append(theta)
        dampings.append(damping)
    return np.stack(path), np.array(dampings), np.array(taken)


def well(theta):
    return theta @ SADDLE @ theta / 2 + np.sum(theta**4) / 4


def test_newton_follows_the_dense_trajectory_out_of_a_saddle():
    optimizer = optim.adapt_damping(damped_newton, HESSIAN, well_loss, 0.3)
    path, states = descend(optimizer, well_loss, SADDLE, 20, NEAR_SADDLE)
    expected, dampings, taken = dense_path(NEAR_SADDLE, 20, 0.3)
    assert 0 < taken.sum() < 20
    np.testing.assert_array_equal(states.accepted, taken)
    np.testing.assert_allclose(states.damping, dampings, rtol=1e-12)
    np.testing.assert_allclose(path, expected, rtol=0, atol=1e-8)
    assert well(path[-1]) < -0.3
    np.testing.assert_array_equal(states.rejected, np.cumsum(~taken))


def test_what_is_rejected_leaves_everything_but_the_damping():
    def worse(_):
        return optim.chain(optim.scale(1.0), optim.momentum(0.1))

    transform = optim.adapt_damping(worse, HESSIAN, well_loss, 1.0, increase=4.0)
    state = transform.init(THETA)
    updates, after = transform.update(-GRADIENT, state, THETA, batch=MATRIX)
    np.testing.assert_array_equal(updates, 0)
    assert not after.accepted
    assert after.rejected == 1
    assert after.damping == 4.0
    jax.tree.map(np.testing.assert_array_equal, after.inner_state, state.inner_state)
    updates, after = transform.update(GRADIENT, after, THETA, batch=MATRIX)
    np.testing.assert_allclose(updates, -0.1 * GRADIENT, rtol=1e-6)
    assert after.accepted
    assert after.rejected == 1
    np.testing.assert_allclose(after.inner_state[1][0].trace, GRADIENT)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_step_that_is_not_finite_is_rejected(bad):
    transform = optim.adapt_damping(damped_newton, HESSIAN, well_loss)
    state = transform.init(THETA)
    updates, after = transform.update(GRADIENT * bad, state, THETA, batch=MATRIX)
    np.testing.assert_array_equal(updates, 0)
    assert not after.accepted
    assert after.damping == 2.0


def test_value_fn_and_value_stand_for_the_loss():
    def no_loss(params, batch):
        raise AssertionError

    transform = optim.adapt_damping(damped_newton, HESSIAN, no_loss, 3.0)
    expected = optim.adapt_damping(damped_newton, HESSIAN, well_loss, 3.0)
    wanted, state = expected.update(GRADIENT, expected.init(THETA), THETA, batch=MATRIX)
    calls = []

    def value_fn(params):
        calls.append(1)
        return well_loss(params, MATRIX)

    for value, evaluations in ((None, 2), (well_loss(THETA, MATRIX), 1)):
        calls.clear()
        updates, after = transform.update(
            GRADIENT,
            transform.init(THETA),
            THETA,
            batch=MATRIX,
            value=value,
            grad=GRADIENT,
            value_fn=value_fn,
        )
        assert len(calls) == evaluations
        np.testing.assert_array_equal(updates, wanted)
        np.testing.assert_allclose(after.gain_ratio, state.gain_ratio)
    # With a ready operator the batch is not needed.
    updates, _ = transform.update(
        GRADIENT,
        transform.init(THETA),
        THETA,
        operator=HESSIAN(THETA, MATRIX),
        value_fn=value_fn,
    )
    np.testing.assert_allclose(updates, wanted, rtol=1e-6)


def test_the_gain_of_a_quadratic_is_one():
    def loss(theta, matrix):
        return theta @ matrix @ theta / 2

    matrix = jnp.diag(jnp.array([1.0, 4.0]))
    transform = optim.adapt_damping(
        lambda damping: optim.newton(loss, damping=damping),
        functools.partial(curvature.hvp, loss),
        loss,
        0.5,
        decrease=0.1,
        min_damping=0.02,
    )
    theta = jnp.array([1.0, 1.0])
    state = transform.init(theta)
    assert np.isnan(state.gain_ratio)
    for damping in (0.05, 0.02, 0.02):
        gradient = matrix @ theta
        updates, state = transform.update(gradient, state, theta, batch=matrix)
        np.testing.assert_allclose(state.gain_ratio, 1, rtol=1e-4)
        np.testing.assert_allclose(state.damping, damping, rtol=1e-6)
        theta = theta + updates


def test_the_damping_has_a_ceiling():
    transform = optim.adapt_damping(
        lambda _: optim.sgd(1.0), HESSIAN, well_loss, 3.0, max_damping=5.0
    )
    state = transform.init(THETA)
    _, state = transform.update(-GRADIENT, state, THETA, batch=MATRIX)
    assert state.damping == 5.0


def test_through_optax_and_in_a_scan():
    ours = optim.adapt_damping(damped_newton, HESSIAN, well_loss, 3.0)
    chained = optax.chain(optax.identity(), interop.to_optax(ours))
    expected, _ = ours.update(GRADIENT, ours.init(THETA), THETA, batch=MATRIX)
    updates, _ = chained.update(GRADIENT, chained.init(THETA), THETA, batch=MATRIX)
    np.testing.assert_array_equal(updates, expected)
    before = ours.init(THETA)
    _, after = jax.eval_shape(
        lambda: ours.update(GRADIENT, before, THETA, batch=MATRIX)
    )

    def types(tree):
        return jax.tree.map(lambda x: (x.shape, x.dtype, x.weak_type), tree)

    assert types(before) == types(after)


def test_vmap_over_every_hyperparameter_equals_a_loop():
    def dampings(damping, increase, decrease, low, high):
        transform = optim.adapt_damping(
            lambda damping: optim.saddle_free_newton(well_loss, damping=damping),
            HESSIAN,
            well_loss,
            damping,
            increase=increase,
            decrease=decrease,
            min_damping=low,
            max_damping=high,
        )
        state = transform.init(THETA)
        after = []
        for gradient in (GRADIENT, -GRADIENT, GRADIENT):
            _, state = transform.update(gradient, state, THETA, batch=MATRIX)
            after.append(state.damping)
        return jnp.stack(after)

    settings = np.float32([
        [1.0, 0.1, 3.0, 1.0],
        [2.0, 3.0, 9.0, 2.0],
        [0.5, 0.1, 0.2, 0.0],
        [0.0, 0.08, 0.0, 0.1],
        [9.0, 9.0, 4.0, 9.0],
    ])
    loop = [dampings(*(float(x) for x in member)) for member in settings.T]
    np.testing.assert_allclose(jax.vmap(dampings)(*settings), loop, rtol=1e-6)
    assert len({tuple(np.asarray(row)) for row in loop}) == 4


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"damping": -1.0}, r"damping must be in \[0, inf\), got -1.0"),
        ({"increase": 0.5}, r"increase must be in \[1, inf\), got 0.5"),
        ({"decrease": 1.5}, r"decrease must be in \[0, 1\], got 1.5"),
        ({"min_damping": -1e-9}, r"min_damping must be in \[0, inf\)"),
        ({"max_damping": 0.0}, r"max_damping must be in \(0, inf\), got 0.0"),
        ({"max_damping": 0.5}, "must lie between min_damping and max_damping"),
        ({"damping": 0.0}, "must lie between min_damping and max_damping"),
    ],
)
def test_a_wrong_hyperparameter_raises(settings, message):
    with pytest.raises(ValueError, match=message):
        optim.adapt_damping(damped_newton, HESSIAN, well_loss, **settings)


def test_an_update_without_what_it_needs_raises():
    transform = optim.adapt_damping(damped_newton, HESSIAN, well_loss)
    state = transform.init(THETA)
    with pytest.raises(ValueError, match=r"got parameters and \['value'\]"):
        transform.update(GRADIENT, state, THETA, value=1.0)
    with pytest.raises(ValueError, match="got no parameters"):
        transform.update(GRADIENT, state, batch=MATRIX)
