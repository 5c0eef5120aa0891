from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdl import optim
from tests.optim.trajectories import run

PARAMS = {"w": jnp.ones((2, 2)), "b": jnp.full(2, 3.0), "deep": {"w": jnp.ones(2)}}
GRADS = jax.tree.map(lambda p: 0.5 * p, PARAMS)


def matrices(tree):
    return jax.tree.map(lambda leaf: leaf.ndim == 2, tree)


@pytest.mark.parametrize(
    "mask",
    [{"w": True, "b": False, "deep": False}, matrices],
    ids=["prefix", "function"],
)
def test_only_what_the_mask_says_is_transformed(mask):
    transform = optim.masked(optim.momentum(1.0, 0.5), mask)
    state = transform.init(PARAMS)
    trace = state.inner_state[0].trace
    assert trace["b"] == optim.MaskedNode()
    assert jax.tree.leaves(trace["deep"]) == []
    for velocity in (1.0, 1.5):
        updates, state = transform.update(GRADS, state, PARAMS)
        np.testing.assert_allclose(updates["w"], -velocity * GRADS["w"])
        np.testing.assert_array_equal(updates["b"], GRADS["b"])
        np.testing.assert_array_equal(updates["deep"]["w"], GRADS["deep"]["w"])


def test_the_inner_transformation_sees_the_masked_parameters():
    transform = optim.masked(optim.add_decayed_weights(2.0), matrices)
    (updates,) = run(transform, [GRADS], PARAMS)
    np.testing.assert_allclose(updates["w"], np.full((2, 2), 2.5))
    np.testing.assert_array_equal(updates["b"], GRADS["b"])


def test_a_mask_of_another_structure_raises():
    transform = optim.masked(optim.identity(), {"w": True})
    with pytest.raises(ValueError, match="mask or labels must have the structure"):
        transform.init(PARAMS)
    with pytest.raises(ValueError, match="mask or labels must have the structure"):
        transform.update(GRADS, optim.MaskedState(optim.EmptyState()))


def test_a_callable_tree_is_a_mask():
    class Module(NamedTuple):
        w: object

        def __call__(self):
            raise AssertionError("a mask was called")

    module = Module(jnp.ones(2))
    (updates,) = run(optim.masked(optim.scale(3.0), Module(True)), [module], module)
    np.testing.assert_allclose(updates.w, 3 * np.ones(2))


def test_partition():
    labels = {"w": "adam", "b": "frozen", "deep": "decay"}
    transforms = {
        "adam": optim.adam(0.1),
        "frozen": optim.set_to_zero(),
        "decay": optim.chain(optim.add_decayed_weights(1.0), optim.sgd(1.0)),
        "unused": optim.sgd(1.0),
    }
    for given in (labels, lambda _: labels):
        transform = optim.partition(transforms, given)
        (updates,) = run(transform, [GRADS], PARAMS)
        np.testing.assert_allclose(updates["w"], np.full((2, 2), -0.1), rtol=1e-4)
        np.testing.assert_array_equal(updates["b"], np.zeros(2))
        np.testing.assert_allclose(updates["deep"]["w"], np.full(2, -1.5))


def test_partition_rejects_a_label_without_a_transformation():
    transform = optim.partition(
        {"a": optim.sgd(1.0)}, {"w": "a", "b": "z", "deep": "a"}
    )
    with pytest.raises(ValueError, match=r"no transformation for the labels \['z'\]"):
        transform.init(PARAMS)


def test_partition_forwards_extra_arguments_to_those_who_take_them():
    transform = optim.partition(
        {"polyak": optax.scale_by_polyak(), "plain": optim.sgd(1.0)},
        {"w": "plain", "b": "polyak", "deep": "plain"},
    )
    updates, _ = transform.update(GRADS, transform.init(PARAMS), PARAMS, value=0.9)
    gradient = GRADS["b"]
    np.testing.assert_allclose(
        updates["b"], gradient * 0.9 / np.sum(gradient**2), rtol=1e-5
    )
    np.testing.assert_allclose(updates["w"], -GRADS["w"])


@pytest.mark.parametrize("make", ["masked", "partition"])
def test_vmap_over_the_inner_rate_equals_a_loop(make):
    def update(rate):
        if make == "masked":
            transform = optim.masked(optim.sgd(rate), matrices)
        else:
            transform = optim.partition(
                {True: optim.sgd(rate), False: optim.scale(2.0)}, matrices
            )
        return run(transform, [GRADS], PARAMS)[0]

    rates = np.float32([0.1, 1.0])
    got = jax.vmap(update)(rates)
    for i, rate in enumerate(rates):
        expected = update(float(rate))
        jax.tree.map(
            lambda a, b, i=i: np.testing.assert_allclose(a[i], b, rtol=1e-6),
            got,
            expected,
        )
