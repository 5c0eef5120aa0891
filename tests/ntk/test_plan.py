"""What is chosen for each weight, and the counted operations behind it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxdl.ntk.plan import plan, weight_flops

F32 = jnp.float32
X = jax.ShapeDtypeStruct((4, 5), F32)
T = jax.ShapeDtypeStruct((4,), jnp.int32)


def planned(apply, shapes, x=X, outputs="full", n_pairs=10, n_examples=7, groups=None):
    """A plan for parameters in the order of their names."""
    leaves = [jax.ShapeDtypeStruct(shapes[name], F32) for name in sorted(shapes)]

    def outputs_of(leaves, x):
        return apply(dict(zip(sorted(shapes), leaves, strict=True)), x).ravel()

    if groups is None:
        groups = [range(len(leaves))]
    return plan(
        outputs_of, leaves, groups, x,
        outputs=outputs, n_pairs=n_pairs, n_examples=n_examples,
    )  # fmt: skip


def flops(how, factored, outputs, weight=0):
    return weight_flops(
        how.weights[weight], how.uses, how.n_outputs, factored, outputs, 10, 7
    )


def biased(p, x):
    y = jnp.einsum("gtc,gcf->gtf", x.reshape(2, 2, 5), p["w"]) + p["b"][:, None]
    return jnp.tanh(y).sum((0, 1))[:2]


def test_operations_of_a_weight_with_a_bias_in_groups():
    """Two groups, two rows, five inputs and one for the bias, three outputs, k = 2."""
    how = planned(biased, {"w": (2, 5, 3), "b": (2, 3)})
    assert [weight.shape for weight in how.weights] == [(2, 5, 3)]
    assert (how.weights[0].leaf, how.weights[0].bias) == (1, 0)
    # Of pairs of rows: a product of h's, those of dy's, and their product and sum.
    for outputs, products in (("full", 4), ("diagonal", 2), ("trace", 2)):
        expected = 10 * 2 * 2 * 2 * (2 * 6 + products * (2 * 3 + 2))
        assert flops(how, True, outputs) == expected
        size = 2 * 6 * 3
        expected = 2 * size * (7 * 2 * 2 + 10 * products)
        assert flops(how, False, outputs) == expected


def test_operations_of_a_table_used_in_two_ways():
    """Four lookups and one product: of one-hot rows, products are free."""
    how = planned(lambda p, t: p["e"] @ jnp.tanh(p["e"][t]).sum(0), {"e": (9, 3)}, T)
    (weight,) = how.weights
    assert weight.swapped == [False, True]
    assert weight.shape == (1, 9, 3)
    k = 9
    one = {1: 1, 0: 2 * 9}
    pairs = 16 * one[1] + 2 * 4 * one[1] + 1 * one[0]
    pairs += (16 + 2 * 4 + 1) * k * (2 * 3 + 2)
    assert flops(how, True, "diagonal") == 10 * pairs
    # To form a gradient of lookups costs nothing.
    assert flops(how, False, "diagonal") == 2 * 27 * (7 * k * 1 + 10 * k)


@pytest.mark.parametrize("outputs", ["full", "trace"])
def test_the_cheaper_way_is_taken(outputs):
    chosen = set()
    for rows in (1, 2, 4, 8, 16):
        x = jax.ShapeDtypeStruct((rows, 5), F32)
        how = planned(
            lambda p, x: jnp.tanh(x @ p["w"]).sum(0), {"w": (5, 6)}, x, outputs
        )
        (weight,) = how.weights
        costs = flops(how, True, outputs), flops(how, False, outputs)
        assert weight.factored == (costs[0] <= costs[1])
        chosen.add(weight.factored)
    assert chosen == {True, False}


def test_slices_are_weights_of_their_own():
    def apply(p, x):
        left, right = p["w"][:, :2], p["w"][:, 2:5]
        y = jnp.tanh(x @ left) @ left.T
        return jnp.sin(y @ right).sum(0)

    how = planned(apply, {"w": (5, 6)})
    assert [weight.uses for weight in how.weights] == [[0, 1], [2]]
    assert [weight.shape for weight in how.weights] == [(1, 5, 2), (1, 5, 3)]
    assert [weight.swapped for weight in how.weights] == [[False, True], [False]]
    assert how.direct == []
    assert how.sizes == [30]


def test_why_there_is_no_rule():
    def apply(p, x):
        y = x @ p["a"]
        h = jnp.tanh(y + p["b"][None]) * y
        h = h + jnp.sin(x @ p["c"] + p["d"][None]) + jnp.cos(x @ p["e"] + p["d"][None])
        h = h + x @ (p["f"] * p["f"]) + x @ p["g"][:, :3] + jnp.sin(x @ p["g"][:, 1:4])

        def layer(h, w):
            return jnp.tanh(h @ w + p["i"]), None

        h, _ = lax.scan(layer, h[0], p["h"])
        h, _ = lax.scan(lambda h, _: (jnp.tanh(h), None), h * p["j"], None, length=2)
        start = lax.scan(lambda h, _: (jnp.tanh(h), None), p["k"], None, length=2)[0]
        return jnp.concatenate([h + start, p["l"]])

    shapes = {name: (5, 3) for name in "acef"}
    shapes |= {name: (3,) for name in "bdijkl"} | {"g": (5, 4), "h": (2, 3, 3)}
    how = planned(apply, shapes)
    why = {sorted(shapes)[leaf]: reason for leaf, reason in how.refused.items()}
    assert why == {
        "b": "it is added to what is used again",
        "d": "it is added to the outputs of two weights",
        "f": "no rule for mul",
        "g": "it is used in slices that overlap in part",
        "i": "it is added, another one in each step",
        "j": "it scales or shifts",
        "k": "it starts the carry of a scan",
        "l": "no rule for concatenate",
    }
    assert [sorted(shapes)[leaf] for leaf in how.direct] == sorted(why)
    assert {sorted(shapes)[weight.leaf] for weight in how.weights} == set("aceh")


def test_a_bias_that_counts_apart_and_one_that_does_not_count():
    shapes = {"w": (2, 5, 3), "b": (2, 3)}
    how = planned(biased, shapes, groups=[[0], [1]])
    assert how.refused == {0: "it is added to what has other uses, or counts apart"}
    assert [weight.bias for weight in how.weights] == [None]
    how = planned(biased, shapes, groups=[[1]])
    assert how.refused == {}
    assert how.direct == []
    assert [weight.bias for weight in how.weights] == [None]
    how = planned(biased, shapes, groups=[[0, 1]])
    assert [weight.bias for weight in how.weights] == [0]


def test_nothing_depends_on_any():
    how = planned(lambda p, x: x.sum(0) + np.float32(1), {"w": (5, 3)})
    assert (how.uses, how.weights, how.direct, how.refused) == ([], [], [], {})
    assert how.n_outputs == 5
