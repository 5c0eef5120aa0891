"""What serves each parameter, in words, and what it costs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.ntk import explain

RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 4, 5)).astype(np.float32)
PARAMS = {
    name: RNG.normal(size=shape).astype(np.float32)
    for name, shape in {
        "bias": (2, 3),
        "kernel": (5, 2, 3),
        "mask": (2, 3),
        "joined": (3, 3),
        "out": (2, 2, 3),
        "scale": (3,),
        "unused": (2,),
    }.items()
}


def apply(params, x):
    """Outputs ``(2,)`` of an example ``(4, 5)``."""
    y = jnp.einsum("td,dhe->the", x, params["kernel"]) + params["bias"][None]
    h = jnp.tanh(y * params["scale"][None, None] * params["mask"][None])
    h = h @ jnp.concatenate([params["joined"][:1], params["joined"][1:]])
    return jnp.einsum("the,ohe->o", h, params["out"])


def services(apply, **settings):
    found = explain(apply, PARAMS, X, **settings).services
    return {service.name.removeprefix("params['")[:-2]: service for service in found}


def test_a_table_by_hand():
    found = services(apply, outputs="trace")
    assert list(found) == sorted(PARAMS)
    rules = {name: service.rule for name, service in found.items()}
    assert rules == {
        "bias": "bias of params['kernel']",
        "kernel": "gradients",
        "mask": "own gradient",
        "joined": "own gradient",
        "out": "factors",
        "scale": "own gradient",
        "unused": "none",
    }
    assert {name for name in found if found[name].fell_back} == {"joined"}
    assert found["kernel"].uses == ("matrix product 4 x 5 -> 6",)
    assert found["kernel"].shape == (5, 2, 3)
    assert found["out"].uses == ("matrix product 1 x 6 -> 2",)
    assert found["joined"].reason == "no rule for concatenate"
    assert found["mask"].reason == found["scale"].reason == "it scales or shifts"
    assert found["unused"].reason == "no output depends on it"
    # Six pairs of three examples with themselves, and two outputs.
    assert found["scale"].flops == 2 * 6 * 2 * 3
    assert found["joined"].flops == 2 * 6 * 2 * 9
    assert found["bias"].flops == found["unused"].flops == 0


def test_what_is_only_added_has_not_fallen_back():
    def twice(params, x):
        def dense(x):
            return jnp.einsum("td,dhe->the", x, params["kernel"]) + params["bias"][None]

        return jnp.tanh(dense(x) + dense(jnp.sin(x))).sum((0, 1))

    def read_twice(params, x):
        y = jnp.einsum("td,dhe->the", x, params["kernel"])
        return (jnp.tanh(y + params["bias"][None]) * y).sum((0, 1))

    for function in (twice, read_twice):
        bias = services(function)["bias"]
        assert bias.rule == "own gradient"
        assert bias.reason.startswith("it is added")
        assert not bias.fell_back


@pytest.mark.parametrize(
    "changed",
    [
        lambda w: w / jnp.linalg.norm(w),
        lambda w: w * np.tri(5, 6, dtype=np.float32),
        lambda w: w * w,
    ],
    ids=["normalized", "masked", "squared"],
)
def test_a_weight_that_is_changed_before_it_is_used_has_fallen_back(changed):
    def function(w, x):
        return x @ changed(w)

    (service,) = explain(function, jnp.ones((5, 6)), X).services
    assert service.rule == "own gradient"
    assert service.fell_back


def test_what_is_added_and_multiplied_has_fallen_back():
    def function(params, x):
        y = jnp.einsum("td,dhe->the", x, params["kernel"]) + params["bias"][None]
        return jnp.tanh(y).sum((0, 1)) @ params["bias"].T

    bias = services(function)["bias"]
    assert bias.rule == "own gradient"
    assert bias.fell_back


def test_only_what_counts():
    where = dict.fromkeys(PARAMS, False) | {"kernel": True, "scale": True}
    found = services(apply, where=where)
    assert sorted(found) == ["kernel", "scale"]
    assert services(apply)["bias"].rule == "bias of params['kernel']"


def test_printed():
    lines = str(explain(apply, PARAMS, X, outputs="diagonal")).splitlines()
    assert len(lines) == len(PARAMS) + 2
    assert lines[0].split() == ["parameter", "shape", "served", "by", "flops", "uses"]
    assert "5x2x3" in lines[3]
    assert "(fell back)" in lines[2]
    assert lines[-1].startswith(
        "3 examples with themselves, 2 outputs, diagonal; flops"
    )
    assert lines[-1].endswith("auto takes structured")


def test_nothing_is_computed():
    shapes = jax.ShapeDtypeStruct((10**6, 10**4, 5), jnp.float32)
    found = explain(apply, PARAMS, shapes)
    assert found.n_examples == 10**6
    assert found.n_outputs == 2


def test_costs_of_methods_by_hand():
    """One product 5 x 6 by 4 rows and one of 6 by 2; three examples, six pairs."""
    w, v = np.ones((5, 6), np.float32), np.ones((6, 2), np.float32)
    found = explain(
        lambda p, x: jnp.tanh(x @ p["w"]).sum(0) @ p["v"], {"w": w, "v": v}, X
    )
    once, n, pairs, k = 2 * 4 * 5 * 6 + 2 * 6 * 2, 3, 6, 2
    size = 30 + 12
    assert found.flops["jacobian"] == n * (2 * k + 1) * once + 2 * pairs * k * k * size
    assert found.flops["products"] == n * (k + 1) * once + 3 * pairs * k * once
    served = sum(service.flops for service in found.services)
    assert found.flops["structured"] == n * (k + 1) * once + served
    # Of w: 16 pairs of rows. Of v: one.
    by_factors = {
        "w": pairs * 16 * (2 * 5 + k * k * (2 * 6 + 2)),
        "v": pairs * (2 * 6 + k * k * (2 * 2 + 2)),
    }
    by_gradients = {
        "w": 2 * 30 * (n * k * 4 + pairs * k * k),
        "v": 2 * 12 * (n * k * 1 + pairs * k * k),
    }
    for service, name in zip(found.services, "vw", strict=True):
        assert service.flops == min(by_factors[name], by_gradients[name])
        better = by_factors[name] <= by_gradients[name]
        assert service.rule == ("factors" if better else "gradients")


def test_products_are_taken_where_they_cost_far_less():
    """Many outputs of few operations: a kernel of all pairs of them is dear."""
    fixed = np.ones((5, 400), np.float32)

    def function(params, x):
        return (x.sum(0) @ fixed) * params["w"]

    for k in (100, 200):
        found = explain(
            lambda p, x, k=k: function(p, x)[:k], {"w": np.ones(400, np.float32)}, X
        )
        far = 8 * found.flops["products"] < found.flops["structured"]
        assert far == (k == 200)
        assert found.method == ("products" if far else "structured")


def test_products_are_not_taken_without_forward_derivatives():
    fixed = np.ones((5, 400), np.float32)
    backward = jax.custom_vjp(lambda x: x)
    backward.defvjp(lambda x: (x, None), lambda _, dy: (dy,))

    def function(params, x):
        return jax.jit(backward)((x.sum(0) @ fixed) * params["w"])

    found = explain(function, {"w": np.ones(400, np.float32)}, X)
    assert 8 * found.flops["products"] < found.flops["structured"]
    assert found.method == "structured"


@pytest.mark.parametrize("outputs", ["half", None])
def test_rejects(outputs):
    with pytest.raises(ValueError, match="outputs must be one of"):
        explain(apply, PARAMS, X, outputs=outputs)
