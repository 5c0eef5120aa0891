import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdl import optim
from tests.optim.trajectories import run

G = np.float32([1.0, -2.0])
THETA = np.zeros(2, np.float32)


def test_a_constant_is_kept_and_may_be_changed():
    optimizer = optim.inject_hyperparams(optim.adam)(0.1, b1=0.5, eps=0.3)
    plain = optim.adam(0.1, b1=0.5, eps=0.3)
    np.testing.assert_allclose(
        run(optimizer, [G] * 3, THETA), run(plain, [G] * 3, THETA), rtol=1e-5
    )
    state = optimizer.init(THETA)
    names = {"learning_rate", "b1", "b2", "eps", "eps_root"}
    assert set(state.hyperparams) == names
    state.hyperparams["learning_rate"] = jnp.array(0.0)
    updates, state = jax.jit(optimizer.update)(G, state, THETA)
    np.testing.assert_array_equal(updates, np.zeros(2))
    assert state.step == 1
    state.hyperparams["b1"] = 1.0  # a Python number: checked, as it is anywhere else
    with pytest.raises(ValueError, match="b1 must be in"):
        optimizer.update(G, state, THETA)


def test_a_schedule_starts_at_zero_and_its_value_is_kept():
    optimizer = optim.inject_hyperparams(optim.sgd)(lambda step: 1.0 + step)
    state, rates = optimizer.init(THETA), []
    for factor in (1.0, 2.0, 3.0):
        updates, state = optimizer.update(G, state, THETA)
        np.testing.assert_allclose(updates, -factor * G)
        rates.append(float(state.hyperparams["learning_rate"]))
    assert rates == [1.0, 2.0, 3.0]


def test_a_schedule_for_what_takes_none():
    decay = optim.piecewise_constant([0.0, 0.5], [1])
    optimizer = optim.inject_hyperparams(optim.add_momentum)(decay=decay)
    updates = run(optimizer, [G] * 3, THETA)
    np.testing.assert_allclose(updates, [G, 1.5 * G, 1.75 * G])


def dtypes(tree):
    return jax.tree.map(lambda leaf: leaf.dtype, tree)


def test_dtypes():
    bf16 = jnp.zeros(2, jnp.bfloat16)
    optimizer = optim.inject_hyperparams(optim.adam)(optim.constant_schedule(0.1))
    state = optimizer.init(bf16)
    assert {v.dtype for v in state.hyperparams.values()} == {jnp.dtype("float32")}
    updates, after = optimizer.update(jnp.ones(2, jnp.bfloat16), state, bf16)
    assert updates.dtype == jnp.bfloat16
    assert dtypes(after) == dtypes(state)
    with jax.enable_x64(True):
        state = optimizer.init(jnp.zeros(2))
        assert state.hyperparams["b1"].dtype == jnp.float64
        # The gradient may be narrower than the parameters; the state stays.
        _, after = optimizer.update(jnp.ones(2, jnp.float32), state)
        assert dtypes(after) == dtypes(state)
    half = optim.inject_hyperparams(optim.sgd, hyperparam_dtype=jnp.bfloat16)(0.1)
    assert half.init(THETA).hyperparams["learning_rate"].dtype == jnp.bfloat16
    whole = optim.inject_hyperparams(optim.add_momentum)(decay=0)
    assert whole.init(THETA).hyperparams["decay"].dtype == jnp.int32


def test_static_arguments_and_others_stay_out_of_the_state():
    optimizer = optim.inject_hyperparams(optim.adamw, static_args=("b1", "mask"))(
        0.1, weight_decay=1.0, mask=lambda tree: jax.tree.map(lambda _: False, tree)
    )
    state = optimizer.init(THETA)
    assert set(state.hyperparams) == {
        "learning_rate", "b2", "eps", "eps_root", "weight_decay"
    }  # fmt: skip
    updates, _ = optimizer.update(G, state, THETA + 1)
    np.testing.assert_allclose(updates, -0.1 * np.sign(G), rtol=1e-4)


def test_optax_factories_and_extra_arguments():
    optimizer = optim.inject_hyperparams(optax.scale_by_polyak)(max_learning_rate=0.01)
    updates, _ = optimizer.update(G, optimizer.init(THETA), THETA, value=5.0)
    np.testing.assert_allclose(updates, 0.01 * G, rtol=1e-5)
    theirs = optax.inject_hyperparams(optim.sgd)(learning_rate=0.5)
    np.testing.assert_allclose(run(theirs, [G], THETA)[0], -0.5 * G)


def test_vmap_over_a_hyperparameter_equals_a_loop():
    make = optim.inject_hyperparams(optim.momentum)

    def updates(rate):
        return jnp.stack(run(make(rate, decay=0.5), [G] * 2, THETA))

    rates = np.float32([0.1, 1.0])
    loop = [updates(float(rate)) for rate in rates]
    np.testing.assert_allclose(jax.vmap(updates)(rates), loop, rtol=1e-6)


def test_wrong_numbers_and_names_raise():
    with pytest.raises(ValueError, match="learning_rate must be in"):
        optim.inject_hyperparams(optim.sgd)(-0.1)
    with pytest.raises(ValueError, match="b2 must be in"):
        optim.inject_hyperparams(optim.adam)(optim.constant_schedule(0.1), b2=1.0)
    for static in ("rate", ["rate"]):
        with pytest.raises(ValueError, match="static_args must be among"):
            optim.inject_hyperparams(optim.sgd, static_args=static)
