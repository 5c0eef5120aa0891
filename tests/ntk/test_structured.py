"""The structured method against dense Jacobians: which rule serves what, and numbers.

A case is a function, its parameters, two sets of examples, and the rule expected for
each parameter: a rule that no longer matches gives the right kernel at a higher cost.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxdl.ntk import empirical_ntk, structured
from jaxdl.ntk.problem import pose

N1, N2 = 4, 3
PRODUCT, LOOKUP, CONVOLUTION, OWN = (
    "matrix product",
    "lookup",
    "convolution",
    "own gradient",
)
# Tiny programs, run once: what the compiler does to make them fast costs more.
jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


class Case(NamedTuple):
    apply: Any
    params: dict[str, Any]
    x1: Any
    x2: Any
    rules: dict[str, str]


CASES: dict[str, Case] = {}


def case(x, shapes, rules, *, tokens=None, dtype=np.float64):
    """Add a case: shapes of an example (or a range of tokens) and of parameters."""

    def add(apply):
        rng = np.random.default_rng(len(apply.__name__))

        def examples(n):
            if tokens is not None:
                low, high = tokens
                return rng.integers(low, high, size=(n, *x))
            return rng.normal(size=(n, *x))

        params = {name: rng.normal(size=s).astype(dtype) for name, s in shapes.items()}
        name = apply.__name__.replace("_", " ").strip()
        assert name not in CASES
        CASES[name] = Case(apply, params, examples(N1), examples(N2), rules)
        return apply

    return add


def served(apply, params, x, **settings):
    """The plan, and for each parameter the rules of its uses, or what serves it."""
    settings = {"outputs": "full", "n_pairs": 9.0, "n_examples": 7.0} | settings
    problem = pose(apply, params, x, None, settings["outputs"], None)
    example = jax.tree.map(
        lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype),
        jax.tree.map(jnp.asarray, x),
    )
    how = structured.plan(
        problem.outputs_of, problem.leaves, [problem.selected], example, **settings
    )
    paths = jax.tree_util.tree_leaves_with_path(params)
    names = [jax.tree_util.keystr(p, simple=True, separator=".") for p, _ in paths]
    found = dict.fromkeys(names, "none")
    for leaf in how.direct:
        found[names[leaf]] = OWN
    for leaf, name in enumerate(names):
        mine = [
            " + ".join(how.uses[i].rule for i in weight.uses)
            for weight in how.weights
            if weight.leaf == leaf
        ]
        if mine:
            found[name] = ", ".join(mine)
    for weight in how.weights:
        if weight.bias is not None:
            found[names[weight.bias]] = f"bias of {names[weight.leaf]}"
    return how, found


def jacobian(apply, params, x, mode=jax.jacrev):
    """``(n, k, p)``, of all parameters."""

    def outputs(params, x):
        return jnp.concatenate([
            jnp.ravel(leaf) for leaf in jax.tree.leaves(apply(params, x))
        ])

    found = jax.vmap(mode(outputs), (None, 0))(params, x)
    flat = [leaf.reshape(*leaf.shape[:2], -1) for leaf in jax.tree.leaves(found)]
    return jnp.concatenate(flat, axis=2)


def reduced(j1, j2, outputs):
    """The kernel of two Jacobians."""
    full = np.einsum("iap,jbp->ijab", j1, j2)
    diagonal = np.einsum("ijaa->ija", full)
    return {"full": full, "diagonal": diagonal, "trace": diagonal.mean(-1)}[outputs]


@pytest.fixture
def serve(monkeypatch):
    """A function that has all weights served by factors, or all by gradients."""
    plan = structured.plan

    def serve(factored):
        def forced(*args, **kwargs):
            how = plan(*args, **kwargs)
            weights = [weight._replace(factored=factored) for weight in how.weights]
            return how._replace(weights=weights)

        monkeypatch.setattr(structured, "plan", forced)

    return serve


ASKED = ((True, True, "full"), (False, False, "trace"))
"""By factors or by gradients, with a second set of examples or without, outputs."""
EVERYTHING = (
    (True, True, "full"),
    (True, False, "diagonal"),
    (True, True, "trace"),
    (False, False, "full"),
    (False, True, "diagonal"),
    (False, False, "trace"),
)


def check(apply, params, x1, x2, serve, asked=ASKED, mode=jax.jacrev, rtol=1e-10):
    """Kernels, served in both ways, against Jacobians."""
    with jax.enable_x64(True):

        @jit
        def everything(params, x1, x2):
            kernels = []
            for factored, two, outputs in asked:
                serve(factored)
                kernels.append(
                    empirical_ntk(
                        apply,
                        params,
                        x1,
                        x2 if two else None,
                        outputs=outputs,
                        method="structured",
                    )
                )
            return kernels, [jacobian(apply, params, x, mode) for x in (x1, x2)]

        kernels, jacobians = everything(params, x1, x2)
        j1, j2 = (np.asarray(j) for j in jacobians)
        for (_, two, outputs), kernel in zip(asked, kernels, strict=True):
            expected = reduced(j1, j2 if two else j1, outputs)
            size = np.abs(expected).max()
            assert size > 0
            np.testing.assert_allclose(
                kernel, expected, rtol=0, atol=rtol * size, err_msg=outputs
            )


# -- Products -----------------------------------------------------------------------


@case(
    (5,),
    {"a": (5, 6), "b": (6,), "c": (6, 3)},
    {"a": PRODUCT, "b": "bias of a", "c": PRODUCT},
)
def mlp(p, x):
    return jnp.tanh(x @ p["a"] + p["b"]) @ p["c"]


@case(
    (5,),
    {"a": (6, 5), "b": (6,), "c": (6, 3), "d": ()},
    {"a": PRODUCT, "b": "bias of a", "c": PRODUCT, "d": OWN},
)
def transposed_and_scaled(p, x):
    h = jnp.tanh((-p["a"] * x[1]) @ x + p["b"])
    return (p["c"] * 0.5).T @ h / 3 + p["d"]


@case(
    (5,),
    {"w": (5, 6), "b": (6,), "v": (6, 2), "c": (2,)},
    {"w": PRODUCT, "b": "bias of w", "v": PRODUCT, "c": OWN},
)
def numbers_before(p, x):
    scale = 1 + x[0] ** 2
    h = jnp.tanh(x @ (p["w"] * scale / 7) + -p["b"] / scale)
    return h @ p["v"] * 0.2 + 0.7 * p["c"]


@case(
    (4, 5),
    {"w": (5, 2, 3), "b": (2, 3), "o": (2, 3, 4)},
    {"w": PRODUCT, "b": "bias of w", "o": PRODUCT},
)
def heads(p, x):
    h = jnp.tanh(jnp.einsum("td,dhe->the", x, p["w"]) + p["b"][None])
    return jnp.einsum("the,heo->o", h, p["o"])


@case((2, 3, 4), {"w": (2, 4, 5), "v": (6, 2, 5)}, {"w": PRODUCT, "v": PRODUCT})
def batched_on_either_side(p, x):
    h = jnp.tanh(jnp.einsum("gtc,gcf->gtf", x, p["w"]))
    return jnp.einsum("ogf,gtf->gto", p["v"], h).sum(1)


@case(
    (3, 5),
    {"w": (24,), "v": (2, 4, 3)},
    {"w": "matrix product, matrix product", "v": "matrix product, matrix product"},
)
def looked_at_in_many_ways(p, x):
    w = jnp.flip(p["w"][:20].reshape(2, 2, 5).astype(jnp.float64), (0, 2))
    left, right = jnp.split(w.transpose(2, 0, 1).reshape(5, 4), [1], axis=1)
    h = jnp.concatenate([jnp.tanh(x @ left), jnp.cos(x @ right)], axis=1)
    return h @ p["v"][0][:, ::2] + h @ p["v"][1, :, ::2]


@case(
    (5,), {"w": (5, 6), "v": (5, 4)}, {"w": "matrix product, matrix product", "v": OWN}
)
def slices_apart_and_overlapping(p, x):
    apart = jnp.tanh(x @ p["w"][:, :2]) * (x @ p["w"][:, 2:4])
    return apart + jnp.sin(x @ p["v"][:, :2]) + x @ p["v"][:, 1:3]


@case(
    (5,),
    {"w": (3, 5, 5), "v": (5, 2)},
    {"w": "matrix product, matrix product, matrix product", "v": PRODUCT},
)
def layers_in_a_loop(p, x):
    for w in p["w"]:
        x = jnp.tanh(x @ w)
    return x @ p["v"]


@case((5,), {"w": (3, 5, 5)}, {"w": "matrix product, matrix product, matrix product"})
def layers_by_number(p, x):
    for i in range(3):
        x = jnp.tanh(x @ p["w"][i])
    return x[:2]


@case((5,), {"w": (5, 5)}, {"w": "matrix product + matrix product"})
def tied_as_it_is(p, x):
    return jnp.tanh(x @ p["w"]) @ p["w"]


@case(
    (5,),
    {"w": (5, 5), "v": (5, 4)},
    {
        "w": "matrix product + matrix product",
        "v": "matrix product + matrix product + matrix product",
    },
)
def tied_and_transposed(p, x):
    h = jnp.tanh(p["w"] @ jnp.tanh(x @ p["w"]))
    return jnp.tanh(jnp.tanh(h @ p["v"]) @ (2 * p["v"].T)) @ p["v"]


@case(
    (4,),
    {"w": (4, 5), "v": (5,)},
    {"w": "matrix product + matrix product", "v": "matrix product + matrix product"},
)
def with_a_gradient_inside(p, x):
    def potential(x):
        return jnp.tanh(x @ p["w"]) @ p["v"]

    return jax.grad(potential)(x)


@case(
    (5,),
    {"a": (5, 2), "b": (2, 6), "w": (5, 6), "g": (6,), "m": (5, 6)},
    {"a": OWN, "b": OWN, "w": OWN, "g": OWN, "m": OWN},
)
def without_a_rule(p, x):
    normed = p["w"] / jnp.linalg.norm(p["w"])
    masked = p["m"] * np.tri(5, 6)
    return x @ (p["a"] @ p["b"]) + x @ normed * p["g"] + x @ masked


@case(
    (5,),
    {"w": (5, 3), "unused": (2, 2), "stopped": (5, 3), "out": (3,), "one": (1,)},
    {"w": PRODUCT, "unused": "none", "stopped": "none", "out": OWN, "one": OWN},
)
def parameters_that_are_outputs_or_nothing(p, x):
    return {
        "y": x @ p["w"] + x @ lax.stop_gradient(p["stopped"]),
        "p": p["out"],
        "q": p["one"] * x,
    }


@case(
    (4,),
    {"w": (4, 8), "s": (2, 4, 4), "t": (4, 4)},
    {
        "w": "matrix product + matrix product, matrix product + matrix product",
        "s": "matrix product + matrix product, matrix product + matrix product",
        "t": "matrix product + matrix product",
    },
)
def one_view_in_two_ways(p, x):
    left, right = jnp.split(p["w"], 2, axis=1)
    h = jnp.tanh(jnp.tanh(x @ left) @ p["w"][:, :4])
    h = jnp.tanh(jnp.tanh(h @ right) @ p["w"][:, 4:])
    for i, w in enumerate(p["s"]):
        h = jnp.tanh(jnp.tanh(h @ w) @ p["s"][i])
    h = jnp.tanh(h @ p["t"])
    return h @ jnp.flip(jnp.flip(p["t"], 0), 0).reshape(2, 2, 4).reshape(4, 4)


@case(
    (4,),
    dict.fromkeys("abcdef", (4, 4)) | {"g": (2, 4, 4), "h": (4, 8)},
    dict.fromkeys("abcdefgh", OWN),
)
def two_views_of_the_same_entries(p, x):
    y = jnp.tanh(jnp.tanh(x @ p["a"]) @ jnp.flip(p["a"], 1))
    y = jnp.tanh(jnp.tanh(y @ p["b"]) @ p["b"][::-1])
    exchanged = p["c"].reshape(2, 2, 4).transpose(1, 0, 2).reshape(4, 4)
    y = jnp.tanh(jnp.tanh(y @ p["c"]) @ exchanged)
    y = jnp.tanh(jnp.tanh(y @ p["d"]) @ p["d"].T.reshape(2, 2, 4)[0].T.repeat(2, 1))
    y = jnp.tanh(jnp.tanh(y @ p["e"]) @ lax.reshape(p["e"], (4, 4), (1, 0)))
    y = jnp.tanh(jnp.tanh(y @ p["f"]) @ jnp.roll(p["f"], 1, 0))
    first, second = p["g"].transpose(1, 0, 2).reshape(2, 4, 4)
    y = jnp.tanh(jnp.tanh(y @ first) @ p["g"][0]) + y @ second
    left, _ = jnp.split(p["h"], [4], axis=1)
    return jnp.tanh(jnp.tanh(y @ left) @ p["h"][:, ::2])


@case((4,), {"w": (4, 3), "s": ()}, {"w": OWN, "s": OWN})
def complex_numbers_and_a_number(p, x):
    waves = (x * (1 + 2j)) @ (p["w"] * (p["s"] * x[0])).astype(complex)
    return jnp.abs(waves) ** 2


# -- Biases -------------------------------------------------------------------------


@case(
    (5,),
    {"w": (5, 6), "b": (6,), "v": (5, 6), "c": (6,), "u": (5, 6), "d": (6,)},
    {"w": PRODUCT, "b": OWN, "v": PRODUCT, "c": OWN, "u": PRODUCT, "d": OWN},
)
def biases_of_what_is_read_twice(p, x):
    y = x @ p["w"]
    z = x @ p["v"]
    both = z + jnp.sin(x[0] * jnp.ones(6))
    u = x @ p["u"]
    return (
        jnp.tanh(y + p["b"])
        + y**2
        + jnp.cos(both + p["c"]) * both
        + jnp.sin((u + u) + p["d"])
    )


@case(
    (5,),
    {"w": (5, 4), "u": (5, 4), "b": (4,), "v": (5, 4), "c": (4,), "d": (4,)},
    {"w": PRODUCT, "u": PRODUCT, "b": "bias of w", "v": PRODUCT, "c": OWN, "d": OWN},
)
def biases_before_and_after(p, x):
    h = jnp.tanh(x @ p["w"] + x @ p["u"] + x[:4] + p["b"])
    v = (x @ p["v"]) * 2 + p["c"]
    return h + jnp.tanh(v) + (p["d"] + x[1:])


@case(
    (5,),
    {"w": (5, 5), "b": (5,), "v": (5, 5), "c": (5,), "e": (5,)},
    {
        "w": PRODUCT,
        "b": OWN,
        "v": "matrix product + matrix product",
        "c": OWN,
        "e": OWN,
    },
)
def biases_shared(p, x):
    h = jnp.tanh(x @ p["w"] + p["b"])
    h = jnp.sin(h @ p["v"] + p["b"])
    h = jnp.sin(h @ p["v"] + p["c"]) * p["e"]
    return h @ jnp.ones((5, 2)) + p["e"][:2]


@case(
    (5,),
    {
        "w": (5, 5),
        "s": (),
        "v": (5, 5),
        "o": (1,),
        "u": (5, 1),
        "r": (4,),
        "q": (2, 5),
        "z": (5, 2),
        "y": (4,),
    },
    {
        "w": PRODUCT,
        "s": OWN,
        "v": PRODUCT,
        "o": OWN,
        "u": PRODUCT,
        "r": OWN,
        "q": OWN,
        "z": "matrix product, matrix product",
        "y": OWN,
    },
)
def biases_of_other_shapes(p, x):
    h = jnp.tanh(x @ p["w"] + p["s"])
    h = jnp.sin(h @ p["v"] + p["o"])
    grid = (h[None] @ p["u"]) + p["r"][None]  # (1, 1) + (1, 4)
    twice = jnp.stack([h, 2 * h]) + p["q"]
    two = jnp.concatenate([
        h @ p["z"][:, :1] + p["y"][:1],
        h @ p["z"][:, 1:] + p["y"][2:3],
    ])
    return grid[0, :2] + twice.sum(1) + jnp.tanh(two)


@case(
    (5,),
    {"w": (5, 3), "b": (3,), "v": (3, 2, 4), "c": (2,), "x": (2, 1, 3), "y": (3,)},
    {"w": PRODUCT, "b": OWN, "v": PRODUCT, "c": OWN, "x": PRODUCT, "y": OWN},
)
def biases_across(p, x):
    outer = jnp.tanh(x[None] @ p["w"] + p["b"][:, None])  # (1, 3) + (3, 1)
    h = jnp.einsum("td,dhe->the", outer, p["v"]) + p["c"].reshape(1, 2, 1)
    g = jnp.einsum("gto,goe->gte", jnp.ones((2, 4, 1)) * x[0], p["x"])
    return jnp.tanh(h).sum((1, 2)) + jnp.tanh(g + p["y"][None, None]).sum((0, 1))


@case(
    (4, 5),
    {"w": (5, 6), "b": (6,), "v": (6, 4), "c": (4,)},
    {"w": PRODUCT, "b": "bias of w", "v": PRODUCT, "c": "bias of v"},
)
def biases_through_calls(p, x):
    dense = jax.jit(lambda w, b, x: jnp.dot(x, w) + b)
    h = jnp.tanh(dense(p["w"], p["b"][None], x))
    y = jax.checkpoint(lambda w, h: h @ w)(p["v"], h)
    return jax.jit(lambda y, c: jnp.sin(y + c))(y, jnp.flip(p["c"])[None]).sum(0)


@case(
    (3, 5),
    {"w": (5, 4), "b": (4,), "v": (5, 4), "c": (4,)},
    {"w": PRODUCT, "b": OWN, "v": PRODUCT, "c": "bias of v"},
)
def biases_after_more_rows(p, x):
    wider = x[:1] @ p["w"] + x[:, :4]  # (1, 4) + (3, 4)
    as_wide = x @ p["v"] + x[:, :4]
    return (jnp.tanh(wider + p["b"][None]) * jnp.sin(as_wide + p["c"][None])).sum(0)


@case(
    (5,),
    {"w": (5, 4), "b": (4,), "e": (5, 4), "c": (4,)},
    {"w": PRODUCT, "b": "bias of w", "e": LOOKUP, "c": OWN},
)
def biases_after_a_call_and_of_a_lookup(p, x):
    y = jax.jit(lambda y, x: y + x[1:])(x @ p["w"], x)
    row = lax.dynamic_index_in_dim(p["e"], (x[0] > 0).astype(int), keepdims=False)
    return jnp.tanh(y + p["b"]) * jnp.sin(row + p["c"])


# -- Lookups ------------------------------------------------------------------------


def lookup(name, tokens, rules=LOOKUP, shape=(6,), table=(9, 4), **others):
    """A case of a table ``e`` with rows taken by a function."""

    def add(look):
        def apply(p, t):
            return jnp.tanh(look(p["e"], t)).sum(0)

        apply.__name__ = f"lookup_{name}"
        case(shape, {"e": table}, {"e": rules}, tokens=tokens, **others)(apply)
        return look

    return add


lookup("by_tokens", (0, 9))(lambda e, t: e[t])
lookup("from_the_end", (-9, 9))(lambda e, t: e[t])
lookup("out_of_range_clipped", (-20, 20))(lambda e, t: jnp.take(e, t, 0, mode="clip"))
lookup("out_of_range_wrapped", (-20, 20))(lambda e, t: jnp.take(e, t, 0, mode="wrap"))
lookup("out_of_range_dropped", (0, 14))(
    lambda e, t: jnp.nan_to_num(jnp.take(e, t, 0, mode="fill"))
)
lookup("out_of_range_filled", (-20, 14))(
    lambda e, t: e.at[t].get(mode="fill", fill_value=3.0)
)
lookup("in_bounds", (0, 9))(lambda e, t: e.at[t].get(mode="promise_in_bounds"))
lookup("of_columns", (0, 9), table=(4, 9))(lambda e, t: e[:, t].T)
lookup("of_a_middle_axis", (0, 9), table=(2, 9, 3))(
    lambda e, t: jnp.moveaxis(e[:, t], 1, 0)
)
lookup("of_a_grid", (0, 9), shape=(2, 3))(lambda e, t: e[t].reshape(6, 4))
lookup("of_a_vector", (0, 9), table=(9,))(
    lambda e, t: e[t][:, None] * np.arange(3.0)[None]
)
lookup("of_one", (0, 9), "lookup + lookup", shape=(2,))(
    lambda e, t: e[t[0]][None] * lax.dynamic_index_in_dim(e, t[1], 0, keepdims=True)
)
lookup("of_one_clipped", (7, 14), shape=(2,))(
    lambda e, t: lax.dynamic_slice(e, (t[0], 0), (1, 4))
)
lookup("of_two_axes", (0, 4), OWN)(lambda e, t: e[t, t[::-1]][:, None])
lookup("of_windows", (0, 6), OWN, shape=(2,))(
    lambda e, t: lax.dynamic_slice(e, (t[0], 0), (2, 4))
)
lookup("by_one_byte", (250, 255), table=(300, 2))(
    lambda e, t: lax.gather(
        e,
        t.astype(jnp.uint8)[:, None],
        lax.GatherDimensionNumbers((1,), (0,), (0,)),
        (1, 2),
    )
)
lookup("of_one_by_one_byte", (252, 255), shape=(1,), table=(300, 2))(
    lambda e, t: lax.dynamic_index_in_dim(e, t[0].astype(jnp.uint8))
)
lookup("of_a_scaled_table", (0, 9))(lambda e, t: (e * 0.3)[t] / 7)
lookup("of_a_slice", (0, 5))(lambda e, t: e[3:, ::2].astype(jnp.float64)[t])


@case(
    (6,),
    {"e": (9, 4), "pos": (6, 4), "w": (4, 4)},
    {"e": "lookup + matrix product", "pos": OWN, "w": PRODUCT},
    tokens=(0, 9),
)
def tied_embedding(p, t):
    h = jnp.tanh(p["e"][t] @ p["w"] + p["pos"])
    return h.mean(0) @ p["e"].T


@case(
    (6,),
    {"e": (9, 4), "f": (4, 9)},
    {"e": "matrix product + lookup + lookup", "f": "matrix product + lookup"},
    tokens=(0, 9),
)
def tied_embedding_read_last(p, t):
    h = jnp.tanh(jax.nn.one_hot(t, 9, dtype=jnp.float64) @ (p["e"] * 0.5))
    g = jnp.tanh(h @ p["f"])
    return (p["e"][t] * h + jnp.take(p["f"], t, axis=1).T).sum(0) * p["e"][t[0]] + g[
        0, :4
    ]


# -- Convolutions -------------------------------------------------------------------


@case(
    (7, 6, 3),
    {"w": (2, 3, 3, 4), "b": (4,), "v": (3, 3, 2, 6), "c": (6,), "t": (5, 6, 2, 2)},
    {
        "w": CONVOLUTION,
        "b": "bias of w",
        "v": CONVOLUTION,
        "c": "bias of v",
        "t": CONVOLUTION,
    },
)
def images(p, x):
    nhwc, nchw = ("NHWC", "HWIO", "NHWC"), ("NCHW", "OIHW", "NCHW")
    conv = lax.conv_general_dilated
    h = conv(x[None], p["w"], (2, 1), ((1, 2), (0, 1)), (1, 1), (2, 1), nhwc)
    h = jnp.tanh(h + p["b"].reshape(1, 1, 1, 4))
    h = conv(h, p["v"], (1, 1), "SAME", (1, 1), (1, 1), nhwc, feature_group_count=2)
    h = jnp.tanh(h + p["c"][None, None, None]).transpose(0, 3, 1, 2)
    h = conv(h, p["t"], (1, 2), ((0, -1), (1, 0)), (2, 1), (1, 1), nchw)
    return jnp.tanh(h).mean((2, 3))[0]


@case((9, 2), {"w": (3, 2, 4), "v": (5, 4, 2)}, {"w": CONVOLUTION, "v": CONVOLUTION})
def sequences(p, x):
    conv = lax.conv_general_dilated
    numbers = ("NWC", "WIO", "NWC")
    h = conv(x[None], p["w"], (1,), ((4, 0),), (1,), (2,), numbers)
    h = conv(jnp.tanh(h).swapaxes(1, 2), p["v"], (2,), "VALID")  # NCW, OIW
    return jnp.tanh(h).sum((0, 2))


@case(
    (2, 3, 4, 3),
    {"w": (2, 2, 2, 2, 4), "v": (4, 1, 1, 2, 1)},
    {"w": CONVOLUTION, "v": CONVOLUTION},
)
def volumes(p, x):
    conv = lax.conv_general_dilated
    numbers = ("NCDHW", "DHWIO", "NDHWC")
    h = jnp.tanh(conv(x[None], p["w"], (1, 2, 1), "SAME", (1,) * 3, (1,) * 3, numbers))
    numbers = ("NDHWC", "OIDHW", "NCDHW")
    h = conv(
        h, p["v"], (1,) * 3, "VALID", (1,) * 3, (1,) * 3, numbers, feature_group_count=4
    )
    return jnp.tanh(h).sum((0, 2, 3, 4))


@case(
    (4, 5, 3),
    {"w": (4, 3, 2, 2), "x": (2, 2, 3, 4), "v": (6, 3, 2, 2)},
    {"w": OWN, "x": CONVOLUTION, "v": OWN},
)
def other_convolutions(p, x):
    x = jnp.stack([x, x**2]).transpose(0, 3, 1, 2)
    y = lax.conv_general_dilated(x, p["w"], (1, 1), "SAME", batch_group_count=2)
    filtered = lax.conv_general_dilated(p["v"], x, (1, 1), "SAME")  # the weight first
    up = lax.conv_transpose(
        x, p["x"], (2, 1), "SAME", dimension_numbers=("NCHW", "HWIO", "NCHW")
    )
    return jnp.tanh(y).sum((0, 2, 3)) + jnp.tanh(filtered).sum() + up.sum((0, 2, 3))


@case(
    (6, 6, 2),
    {"w": (3, 3, 2, 2), "b": (2,)},
    {"w": "convolution + convolution", "b": OWN},
)
def a_convolution_twice(p, x):
    for _ in range(2):
        x = jnp.tanh(
            p["b"][None, None]
            + lax.conv_general_dilated(
                x[None],
                p["w"],
                (1, 1),
                "SAME",
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
            )[0]
        )
    return x.mean((0, 1))


@case((3, 4), {"w": (2, 3, 5), "b": (2,)}, {"w": CONVOLUTION, "b": OWN})
def a_convolution_of_too_few(p, x):
    empty = lax.conv_general_dilated(x[None], p["w"], (1,), "VALID")
    return empty.sum((0, 2)) + p["b"] * x[0, 0]


# -- Bodies -------------------------------------------------------------------------


@case(
    (7, 2),
    {"w": (4, 4), "u": (2, 4), "b": (4,), "o": (4, 2), "c": (2,)},
    {"w": PRODUCT, "u": PRODUCT, "b": "bias of w", "o": PRODUCT, "c": "bias of o"},
)
def recurrent(p, x):
    def step(h, xt):
        return jnp.tanh(h @ p["w"] + xt @ p["u"] + p["b"]), None

    h, _ = lax.scan(step, jnp.zeros(4), x)
    return h @ p["o"] + p["c"]


@case(
    (5, 2),
    {"w": (4, 4), "u": (2, 4), "b": (4,), "h": (4,)},
    {"w": "matrix product + matrix product", "u": PRODUCT, "b": OWN, "h": OWN},
)
def recurrent_tied_and_remembered(p, x):
    @jax.checkpoint
    def step(h, xt):
        return jnp.tanh(h @ (p["w"] * 0.4) + xt @ p["u"]) + p["b"], h

    h, seen = lax.scan(step, p["h"], x, reverse=True)
    return jax.jit(jnp.matmul)(h + seen[1], p["w"])


@case(
    (5, 2), {"w": (6, 8), "b": (8,)}, {"w": "matrix product, matrix product", "b": OWN}
)
def gates(p, x):
    wi, wf = jnp.split(p["w"], 2, axis=1)

    def step(h, xt):
        z = jnp.concatenate([h, xt])
        return jax.nn.sigmoid(z @ wi + p["b"][:4]) * jnp.tanh(z @ wf + p["b"][4:]), h

    h, seen = lax.scan(step, jnp.zeros(4), x)
    return h[:2] + seen[2, :2]


@case(
    (5,),
    {"w": (3, 5, 5), "b": (3, 5), "c": (5,), "g": (3,)},
    {"w": PRODUCT, "b": "bias of w", "c": OWN, "g": OWN},
)
def scan_over_layers(p, x):
    def layer(h, rows):
        w, b, g = rows
        return jnp.tanh(h @ (w * 2) + 0.3 * b) * g + p["c"], None

    return lax.scan(layer, x, (p["w"] * 0.5, p["b"] * 0.4, p["g"]), reverse=True)[0]


@case(
    (5,),
    {"w": (3, 5, 5), "c": (5,), "v": (5, 5), "b": (3, 5)},
    {"w": PRODUCT, "c": OWN, "v": PRODUCT, "b": OWN},
)
def scan_with_biases_of_another_kind(p, x):
    def layer(h, rows):
        w, b = rows
        h = jnp.tanh(h @ w + p["c"])
        return jnp.tanh(h @ p["v"] + b), None

    return lax.scan(layer, x, (p["w"], p["b"]))[0]


@case((4, 3), {"e": (4, 7, 3), "w": (3, 3)}, {"e": LOOKUP, "w": PRODUCT}, tokens=(0, 7))
def scan_over_tables(p, t):
    def step(h, rows):
        e, t = rows
        return jnp.tanh(h @ p["w"] + e[t].sum(0)), None

    return lax.scan(step, jnp.ones(3), (p["e"], t))[0]


@case((4, 3), {"e": (4, 7, 3)}, {"e": "lookup + matrix product"}, tokens=(0, 7))
def scan_over_tied_tables(p, t):
    def step(h, rows):
        e, t = rows
        return jnp.tanh(h + e[t].sum(0)), (e * 0.5) @ h

    h, seen = lax.scan(step, jnp.ones(3), (p["e"], t))
    return h + seen.sum(0)[:3]


@case(
    (3, 2, 3),
    {"w": (3, 3), "v": (2, 3, 3), "b": (3,), "a": (2, 3)},
    {"w": PRODUCT, "v": PRODUCT, "b": "bias of w", "a": "bias of v"},
)
def nested_scans(p, x):
    def outer(h, xs):
        def inner(h, rows):
            v, a, x = rows
            return jnp.tanh(h @ p["w"] + p["b"]) + jnp.sin(x @ v + a), None

        return lax.scan(inner, h, (p["v"], p["a"], xs), reverse=True)[0], h

    h, seen = lax.scan(outer, jnp.ones(3), x)
    return h + seen[1]


@case((5,), {"w": (3, 5, 5)}, {"w": "matrix product + matrix product"})
def one_stack_in_steps_and_at_once(p, x):
    h, _ = lax.scan(lambda h, w: (jnp.tanh(h @ w), None), x, p["w"], reverse=True)
    y = jnp.einsum("gtc,gcf->gtf", jnp.stack([h, 2 * x, x])[:, None], p["w"])
    return jnp.tanh(y[:, 0]).sum(0) + y[1, 0]


@case((5,), {"w": (2, 2, 5, 5), "b": (2, 2, 5)}, {"w": PRODUCT, "b": "bias of w"})
def scan_over_blocks_of_layers(p, x):
    def block(h, rows):
        return lax.scan(lambda h, m: (jnp.tanh(h @ m[0] + m[1]), None), h, rows)[
            0
        ], None

    return lax.scan(block, x, (p["w"], p["b"]))[0]


@case(
    (5,),
    {"w": (5, 6), "v": (6, 2), "b": (6,), "u": (5, 2), "d": (2,), "s": ()},
    {
        "w": PRODUCT,
        "v": "matrix product + matrix product",
        "b": "bias of w",
        "u": PRODUCT,
        "d": "bias of u",
        "s": OWN,
    },
)
def branches(p, x):
    v = p["v"] * 0.3
    y = lax.cond(
        x[0] > 0,
        lambda x: jnp.tanh(x @ p["w"] + 2 * p["b"]) @ v,
        lambda x: (x * 2) @ (-p["u"]) + p["d"],
        x,
    )
    chosen = (x[1] > 0).astype(int) + (x[2] > 0)
    functions = [lambda h: h[:2], lambda h: jnp.sin(h[:2]), lambda h: h @ v]
    return y + lax.switch(chosen, functions, jnp.ones(6)) * p["s"]


@case(
    (5,),
    {"w": (5, 6), "v": (6, 2)},
    {"w": "matrix product + matrix product", "v": "matrix product + matrix product"},
)
def branches_with_one_weight(p, x):
    return lax.cond(
        x[0] > 0,
        lambda x: jnp.tanh(x @ p["w"]) @ p["v"],
        lambda x: (x * 2) @ p["w"] @ p["v"],
        x,
    )


@case(
    (5, 3),
    {"w": (3, 3), "v": (3, 3), "b": (3,)},
    {"w": PRODUCT, "v": PRODUCT, "b": "bias of w"},
)
def a_branch_in_a_scan(p, x):
    def step(h, xt):
        return lax.cond(
            xt[0] > 0,
            lambda h: jnp.tanh(h @ (p["w"] / 2) + p["b"]),
            lambda h: h + xt @ p["v"],
            h,
        ), None

    return lax.scan(step, jnp.ones(3), x)[0]


@case(
    (5,),
    {"e": (7, 3), "w": (3, 3)},
    {"e": "lookup + lookup", "w": PRODUCT},
    tokens=(0, 7),
)
def branches_with_scaled_tables(p, t):
    def inner(t):
        e = p["e"] * 0.7
        h, _ = lax.scan(lambda h, i: (jnp.tanh(h + e[i]), None), jnp.ones(3), t)
        return lax.cond(t[1] > 3, lambda e: h + (e * 2)[t[2]], lambda e: h, e * 0.1)

    return lax.cond(t[0] > 3, inner, lambda t: jnp.cos(t[:3] @ p["w"]), t * 1)


# -- Custom derivatives -------------------------------------------------------------


@jax.custom_jvp
def square(w):
    return w**2


@square.defjvp
def _(primals, tangents):
    return primals[0] ** 2, 3 * primals[0] * tangents[0]  # not the derivative


@jax.custom_vjp
def clipped(w):
    return 2 * w


clipped.defvjp(lambda w: (2 * w, w), lambda w, dy: (dy * jnp.sign(w),))


@case(
    (5,),
    {"w": (5, 4), "v": (5, 4), "u": (5, 4), "t": (4, 4)},
    {"w": OWN, "v": OWN, "u": PRODUCT, "t": PRODUCT},
)
def custom_rules(p, x):
    data = clipped(jnp.tanh(square(x @ p["u"])))
    return x @ square(p["w"]) + x @ clipped(p["v"]) + jax.nn.relu(data) @ p["t"]


@case(
    (3, 5),
    {"w": (5, 4), "b": (4,), "v": (4, 2)},
    {"w": PRODUCT, "b": "bias of w", "v": PRODUCT},
)
def activations_with_rules(p, x):
    h = jax.nn.silu(jax.nn.gelu(x @ p["w"] + p["b"][None]))
    return jax.nn.log_softmax(jax.nn.leaky_relu(h) @ p["v"], axis=-1).sum(0)


@pytest.mark.parametrize("name", CASES)
def test_equals_jacobians_by_factors_and_by_gradients(name, serve):
    apply, params, x1, x2, _ = CASES[name]
    every = name in {"mlp", "tied and transposed", "tied embedding", "images"}
    check(apply, params, x1, x2, serve, EVERYTHING if every else ASKED)


@pytest.mark.parametrize("name", CASES)
def test_rules(name):
    apply, params, x1, _, rules = CASES[name]
    with jax.enable_x64(True):
        _, found = served(apply, params, x1)
    assert found == rules
