import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdl import optim
from jaxdl.interop import to_optax


def needs_loss():
    def update(updates, state, params=None, *, loss, **extra):
        del params, extra
        return loss * updates, state

    return optim.GradientTransformation(lambda _: optim.EmptyState(), update)


def test_extra_arguments_reach_ours_through_optax():
    gradient = jnp.array([1.0, -2.0])
    wrapped = optax.chain(optax.scale(2.0), to_optax(needs_loss()))
    updates, _ = wrapped.update(gradient, wrapped.init(gradient), gradient, loss=3.0)
    np.testing.assert_array_equal(updates, [6.0, -12.0])
    bare = optax.chain(needs_loss())
    with pytest.raises(TypeError, match="loss"):
        bare.update(gradient, bare.init(gradient), gradient, loss=3.0)


def test_extra_arguments_may_be_ignored():
    gradient = jnp.array([1.0, -2.0])
    wrapped = to_optax(optim.identity())
    assert isinstance(wrapped, optax.GradientTransformationExtraArgs)
    updates, state = wrapped.update(gradient, wrapped.init(gradient), loss=3.0)
    np.testing.assert_array_equal(updates, gradient)
    assert state == optim.EmptyState()


def test_a_trajectory_is_the_same_through_optax():
    ours = optim.adam(0.1, b1=0.7, b2=0.9, eps=0.01)
    params = [jnp.array([3.0, -1.0])] * 2
    states = [ours.init(params[0]), to_optax(ours).init(params[0])]
    for _ in range(5):
        for i, transform in enumerate((ours, to_optax(ours))):
            gradient = params[i] * jnp.array([1.0, 10.0])
            updates, states[i] = transform.update(gradient, states[i], params[i])
            params[i] = optax.apply_updates(params[i], updates)
    np.testing.assert_array_equal(params[0], params[1])
