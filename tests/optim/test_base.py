import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdl import optim
from jaxdl.optim.base import count_up

RNG = np.random.default_rng(0)
G = RNG.normal(size=(4,)).astype(np.float32)


def needs_loss():
    def update(updates, state, params=None, *, loss, **extra):
        del params, extra
        return jax.tree.map(lambda u: u * loss, updates), state

    return optim.GradientTransformation(lambda _: optim.EmptyState(), update)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "int32"])
@pytest.mark.parametrize("update_dtype", ["bfloat16", "float32"])
def test_apply_updates_rounds_as_optax_does(dtype, update_dtype):
    params = {"w": jnp.arange(1, 5).astype(dtype), "none": None, "number": 2.0}
    updates = {"w": jnp.asarray(0.3 * G, update_dtype), "none": None, "number": 0.5}
    ours, theirs = (
        f(params, updates) for f in (optim.apply_updates, optax.apply_updates)
    )
    assert ours["w"].dtype == dtype
    assert ours["none"] is None
    np.testing.assert_array_equal(ours["w"], theirs["w"])
    np.testing.assert_array_equal(ours["number"], theirs["number"])


def test_chain_composes_from_left_to_right():
    add_one = optim.stateless(lambda u, _: jax.tree.map(lambda x: x + 1, u))
    transform = optim.chain(add_one, optim.scale(2.0), optim.identity())
    updates, state = transform.update(G, transform.init(G))
    np.testing.assert_allclose(updates, 2 * (G + 1), rtol=1e-6)
    assert len(state) == 3


def test_chain_of_nothing_is_the_identity():
    transform = optim.chain()
    updates, state = transform.update(G, transform.init(G))
    np.testing.assert_array_equal(updates, G)
    assert state == ()


def test_chain_rejects_the_state_of_another():
    transform = optim.chain(optim.identity(), optim.identity())
    with pytest.raises(ValueError, match="expected the 2 states of init, got 1"):
        transform.update(G, (optim.EmptyState(),))


def test_extra_arguments_reach_those_who_take_them():
    transform = optim.chain(optim.sgd(0.5), needs_loss(), optim.scale(3.0))
    updates, _ = transform.update(G, transform.init(G), G, loss=2.0, other="ignored")
    np.testing.assert_allclose(updates, -3 * G, rtol=1e-6)
    with pytest.raises(TypeError, match="loss"):
        transform.update(G, transform.init(G), G)


def test_extra_arguments_reach_the_transforms_of_optax():
    transform = optim.chain(optim.scale(1.0), optax.scale_by_polyak())
    updates, _ = transform.update(G, transform.init(G), G, value=0.1)
    np.testing.assert_allclose(updates, G * 0.1 / np.sum(G * G), rtol=1e-5)


def test_with_extra_args_leaves_what_takes_them_already():
    takes = needs_loss()
    assert optim.with_extra_args(takes) is takes
    wrapped = optim.with_extra_args(optim.identity())
    assert wrapped is not optim.identity()
    assert wrapped.update(G, wrapped.init(G), None, anything=1)[0] is G


def test_stateless_sees_the_parameters():
    transform = optim.stateless(lambda updates, params: updates - 2 * params)
    updates, state = transform.update(G, transform.init(G), 3 * G)
    np.testing.assert_allclose(updates, -5 * G, rtol=1e-6)
    assert state == optim.EmptyState()


def test_set_to_zero_keeps_shapes_and_dtypes():
    tree = {"a": jnp.ones((2, 3), jnp.bfloat16), "b": None}
    updates, _ = optim.set_to_zero().update(tree, optim.EmptyState())
    np.testing.assert_array_equal(updates["a"], np.zeros((2, 3)))
    assert updates["a"].dtype == jnp.bfloat16


def test_a_counter_saturates():
    last = np.iinfo(np.int32).max
    steps = jnp.array([0, 1, last - 1, last], jnp.int32)
    counted = count_up(steps)
    assert counted.dtype == jnp.int32
    np.testing.assert_array_equal(counted, [1, 2, last, last])


def test_updates_from_integers_are_not_rounded():
    for gradient in (jnp.array([1, 3]), 3):
        updates, _ = optim.scale(0.5).update(gradient, optim.EmptyState())
        np.testing.assert_array_equal(updates, 0.5 * np.asarray(gradient))
