"""Each rule's form against its equation: ``y[g, r, f] = h[g, r, c] W[g, c, f]``."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from jaxdl import jaxpr
from jaxdl.ntk.rules import Hot, match

RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.normal(size=shape).astype(np.float32)


NAMES = ("dot_general", "conv_general_dilated", "gather", "dynamic_slice", "mul")


def equation_of(function, *args):
    """A function's only equation that is one of these, its inputs and its output."""
    seen = []

    def perform(equation, values):
        if (inner := jaxpr.callee(equation)) is not None:
            return jaxpr.evaluate(inner, values, perform)
        outputs = jaxpr.bind(equation, values)
        if equation.primitive.name in NAMES:
            seen.append((equation, values, np.asarray(outputs[0])))
        return outputs

    jaxpr.evaluate(jaxpr.trace(function, *args), args, perform)
    (found,) = seen
    return found


def check(function, *args, position, rule, lengths):
    """The form of an equation, in NumPy."""
    equation, values, y = equation_of(function, *args)
    form = match(equation, position)
    assert form is not None
    groups, rows, inputs, outputs = lengths
    assert (form.rule, form.groups, form.rows) == (rule, groups, rows)
    assert (form.inputs, form.outputs) == (inputs, outputs)
    data = [value for i, value in enumerate(values) if i != position]
    h = form.factor(*data)
    if isinstance(h, Hot):
        places = np.asarray(h.position)[..., None] == np.arange(inputs)
        h = places * np.asarray(h.weight)[..., None]
    assert h.shape == (groups, rows, inputs)
    w = form.arrange(np.asarray(values[position]))
    assert w.shape == (groups, inputs, outputs)
    product = np.einsum("grc,gcf->grf", h, w)
    close = partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4)
    close(form.spread(jnp.asarray(product, jnp.float32)), y)
    if rule != "lookup":
        close(form.collect(y), product)
    if form.perform is not None:
        close(form.perform(*data, values[position]), y)
    return form


# -- Products -----------------------------------------------------------------------


@given(data=st.data(), position=st.integers(0, 1), kind=st.integers(0, 5))
@settings(max_examples=20, deadline=None, derandomize=True)
def test_products_in_any_layout(data, position, kind):
    """Axes of both inputs in any order: shared, summed and free."""
    shared, summed = [(2,), (), (2, 3)][kind % 3], [(3,), (3, 2)][kind // 3]
    free = [(4, 1), (5,)]
    arrays, batch, contracted = [], [], []
    for own in free:
        sizes = (*shared, *summed, *own)
        order = data.draw(st.permutations(range(len(sizes))))
        places = [order.index(i) for i in range(len(sizes))]
        arrays.append(normal(*(sizes[i] for i in order)))
        batch.append(tuple(places[: len(shared)]))
        contracted.append(tuple(places[len(shared) : len(shared) + len(summed)]))
    numbers = (tuple(contracted), tuple(batch))
    rows, outputs = int(np.prod(free[1 - position])), int(np.prod(free[position]))
    check(
        lambda a, b: lax.dot_general(a, b, numbers), *arrays,
        position=position, rule="matrix product",
        lengths=(int(np.prod(shared)), rows, int(np.prod(summed)), outputs),
    )  # fmt: skip


# -- Convolutions -------------------------------------------------------------------

CONVOLUTIONS = {
    "plain": dict(x=(2, 3, 7), w=(4, 3, 3), window_strides=(1,), padding="VALID"),
    "strides": dict(x=(1, 3, 8), w=(4, 3, 3), window_strides=(3,), padding="SAME"),
    "padding": dict(x=(2, 3, 5), w=(4, 3, 2), window_strides=(2,), padding=[(3, -1)]),
    "dilated": dict(
        x=(1, 2, 9), w=(3, 2, 3), window_strides=(2,), padding=[(1, 0)],
        rhs_dilation=(3,), lhs_dilation=(2,),
    ),
    "groups": dict(
        x=(2, 6, 5, 4), w=(9, 2, 2, 3), window_strides=(1, 2), padding="SAME",
        feature_group_count=3,
    ),
    "channels last": dict(
        x=(2, 5, 4, 6), w=(2, 3, 3, 4), window_strides=(2, 1), padding=[(0, 1), (2, 0)],
        dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=2,
    ),
    "any order": dict(
        x=(5, 6, 2, 4), w=(3, 4, 2, 2), window_strides=(1, 1), padding="VALID",
        dimension_numbers=("HCNW", "IOHW", "WNCH"), feature_group_count=2,
    ),
    "volumes": dict(
        x=(1, 2, 3, 4, 5), w=(3, 2, 2, 1, 3), window_strides=(1, 2, 1),
        padding="SAME", rhs_dilation=(1, 1, 2),
    ),
}  # fmt: skip


def convolution(name):
    settings = dict(CONVOLUTIONS[name])
    x, w = normal(*settings.pop("x")), normal(*settings.pop("w"))
    return x, w, partial(lax.conv_general_dilated, **settings)


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions(name):
    x, w, function = convolution(name)
    equation, _, y = equation_of(function, x, w)
    numbers = equation.params["dimension_numbers"]
    groups = equation.params["feature_group_count"]
    outputs = w.shape[numbers.rhs_spec[0]]
    check(
        function, x, w, position=1, rule="convolution",
        lengths=(groups, y.size // outputs, w.size // outputs, outputs // groups),
    )  # fmt: skip


@pytest.mark.parametrize("name", ["dilated", "groups", "any order", "volumes"])
def test_convolutions_with_channels_last_have_the_same_derivatives(name):
    x, w, function = convolution(name)
    equation, (_, _), y = equation_of(function, x, w)
    form = match(equation, 1)
    assert form is not None
    assert form.perform is not None
    mine = form.perform
    dx, dw, dy = normal(*x.shape), normal(*w.shape), normal(*y.shape)

    @jax.jit
    def everything(x, w, dx, dw, dy):
        results = []
        for conv in (function, mine):

            def slope(x, w, conv=conv):
                return jax.vjp(lambda x, w: jnp.sin(conv(x, w)), x, w)[1](dy)

            results.append(
                (slope(x, w), jax.jvp(conv, (x, w), (dx, dw)),
                 jax.jvp(slope, (x, w), (dx, dw)))
            )  # fmt: skip
        return results

    expected, found = everything(x, w, dx, dw, dy)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3)


def test_convolutions_without_a_form():
    x, w = normal(4, 3, 6), normal(4, 3, 3)
    conv = partial(lax.conv_general_dilated, window_strides=(1,), padding="SAME")
    equation, _, _ = equation_of(partial(conv, batch_group_count=2), x, w)
    assert match(equation, 1) is None
    equation, _, _ = equation_of(conv, x, w)
    assert match(equation, 0) is None


# -- Lookups ------------------------------------------------------------------------

T = np.array([[3, 0], [5, 3], [1, 6]])
LOOKUPS = {
    "rows": (lambda e, t: e.at[t].get(mode="promise_in_bounds"), (7, 2), T),
    "clipped": (lambda e, t: jnp.take(e, t, 0, mode="clip"), (4, 2), T - 2),
    "filled": (lambda e, t: e.at[t].get(mode="fill", fill_value=0), (4, 2), T),
    "columns": (lambda e, t: jnp.take(e, t, axis=2, mode="clip"), (2, 3, 7), T),
    "one": (lambda e, t: lax.dynamic_index_in_dim(e, t[0, 1], 1), (2, 7, 3), T),
    "one beyond": (lambda e, t: lax.dynamic_slice(e, (t[1, 0], 0), (1, 2)), (4, 2), T),
}


@pytest.mark.parametrize("name", LOOKUPS)
def test_lookups(name):
    function, shape, t = LOOKUPS[name]
    table = normal(*shape)
    axis = {"columns": 2, "one": 1}.get(name, 0)
    rows = 1 if name.startswith("one") else 6
    n = shape[axis]
    check(
        function, table, t.astype(np.int32), position=0, rule="lookup",
        lengths=(1, rows, n, table.size // n),
    )  # fmt: skip


@pytest.mark.parametrize(
    "function",
    [
        lambda e, t: e.at[t, t].get(mode="clip"),
        lambda e, t: lax.dynamic_slice(e, (t[0, 0], 0, 0), (2, 3, 7)),
        lambda e, t: lax.dynamic_slice(e, (t[0, 0], t[0, 0], 0), (1, 1, 7)),
        lambda e, t: jax.vmap(lambda row, i: row.at[i].get(mode="clip"))(e, t[:2, 0]),
        lambda e, t: jax.vmap(lambda row, i: row.at[i].get(mode="clip"))(e[:1], t[:1]),
        lambda e, t: lax.gather(
            e, t, lax.GatherDimensionNumbers((1,), (0, 1), (0, 1)), (1, 1, 3),
            mode="clip",
        ),
        lambda e, t: lax.gather(
            e, t[:, :1], lax.GatherDimensionNumbers((1, 2), (0,), (0,)), (1, 3, 2),
            mode="clip",
        ),
    ],
)  # fmt: skip
def test_lookups_without_a_form(function):
    equation, _, _ = equation_of(function, normal(4, 3, 7)[:2], T.astype(np.int32))
    assert match(equation, 0) is None


def test_a_table_of_indices_or_another_equation_has_no_form():
    equation, _, _ = equation_of(lambda e, t: jnp.take(e, t, 0, mode="clip"), T, T)
    assert match(equation, 1) is None
    equation, _, _ = equation_of(lambda a, b: a * b, normal(2), normal(2))
    assert match(equation, 0) is None
