"""Equations run one by one against the functions they came from."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxdl import jaxpr

RNG = np.random.default_rng(0)
X = RNG.normal(size=(5, 3)).astype(np.float32)
W = RNG.normal(size=(3, 3)).astype(np.float32)


@jax.custom_jvp
def cube(x):
    return x**3


@cube.defjvp
def _(primals, tangents):
    return cube(primals[0]), 7 * tangents[0]  # not the derivative


@jax.custom_vjp
def double(x):
    return 2 * x


double.defvjp(lambda x: (2 * x, x), lambda x, dy: (5 * dy * x,))  # nor this


def called(x, w):
    dense = jax.jit(lambda x, w: jnp.tanh(x @ w))
    return {"y": dense(dense(x, w), w), "n": jnp.ones(2), "x": x}


def remembered(x, w):
    return jax.checkpoint(lambda x: jnp.sin(x @ w))(x) @ w


def scanned(x, w):
    def step(h, row):
        return jnp.tanh(h @ w + row), (h.sum(), row * 2)

    return lax.scan(step, jnp.ones(3), x)


def scanned_backwards(x, w):
    return lax.scan(lambda h, row: (h / 2 + row @ w, h), x[0], x, reverse=True)


def scanned_without_rows(x, w):
    return lax.scan(lambda h, _: (h @ w, h[0]), x, None, length=3)


def scanned_without_carry(x, w):
    return lax.scan(lambda _, row: (None, row @ w), None, x)[1]


def scanned_without_constants(x, w):
    return lax.scan(lambda h, rows: (h + rows[0], rows[1].sum()), x[0], (x[:3], w))


def scanned_once(x, w):
    return lax.scan(lambda h, row: (h @ w, row), x[0], x[:1])


def scanned_never(x, w):
    return lax.scan(lambda h, row: (h @ w, row), x[0], x[:0])


def scanned_in_a_scan(x, w):
    def outer(h, row):
        inner = jax.checkpoint(lambda g, column: (jnp.sin(g + column), None))
        return lax.scan(inner, h, row[None] * w, reverse=True)[0], h

    return lax.scan(outer, jnp.zeros(3), x)


def chosen(x, w):
    yes, no = lambda x: x @ w, lambda x: jnp.sin(x) * 2
    first = lax.cond(x[0, 0] > -10, yes, no, x)
    return first + lax.switch((x[0, 1] > -10).astype(int) * 2, [no, yes, cube], x)


def while_(x, w):
    def step(state):
        i, y = state
        return i + 1, jnp.tanh(y @ w)

    return lax.while_loop(lambda state: state[0] < 3, step, (0, x))[1]


def with_own_derivatives(x, w):
    return double(cube(x @ jax.jit(cube)(w)))


FUNCTIONS = (
    called,
    remembered,
    scanned,
    scanned_backwards,
    scanned_without_rows,
    scanned_without_carry,
    scanned_without_constants,
    scanned_once,
    scanned_never,
    scanned_in_a_scan,
    chosen,
    while_,
    with_own_derivatives,
)


def perform(equation, values):
    """Everything that can be taken apart is, and put together anew."""
    if (inner := jaxpr.callee(equation)) is not None:
        return jaxpr.evaluate(inner, values, perform)
    if equation.primitive.name == "scan":
        parts = jaxpr.scan(equation)
        n = parts.n_consts + parts.n_carry
        consts = values[: parts.n_consts]

        def step(carry, rows):
            found = jaxpr.evaluate(parts.body, [*consts, *carry, *rows], perform)
            return found[: parts.n_carry], found[parts.n_carry :]

        carry, rows = values[parts.n_consts : n], values[n:]
        carry, rows = lax.scan(step, carry, rows, parts.length, parts.reverse)
        return [*carry, *rows]
    if equation.primitive.name == "cond":
        functions = [
            lambda *args, b=branch: jaxpr.evaluate(b, args, perform)
            for branch in jaxpr.branches(equation)
        ]
        return lax.switch(values[0], functions, *values[1:])
    return jaxpr.bind(equation, values)


@pytest.mark.parametrize("how", [perform, jaxpr.bind])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_equations_are_the_function(function, how):
    equations = jaxpr.trace(function, X, W)

    @jax.jit
    def both(x, w):
        found = jaxpr.evaluate(equations, [x, w], how)
        return found, jax.tree.leaves(function(x, w))

    found, expected = both(X, W)
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("function", [with_own_derivatives, chosen, scanned])
def test_derivatives_are_those_of_the_function(function):
    equations = jaxpr.trace(function, X, W)

    def total(outputs):
        return sum(jnp.sum(jnp.cos(a)) for a in jax.tree.leaves(outputs))

    @jax.jit
    def both(x, w):
        mine = jax.grad(lambda w: total(jaxpr.evaluate(equations, [x, w], perform)))
        return mine(w), jax.grad(lambda w: total(function(x, w)))(w)

    found, expected = both(X, W)
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_any_value_can_stand_in():
    """With ``perform`` the caller's, so are the values."""
    equations = jaxpr.trace(lambda x, w: jax.jit(jnp.matmul)(x, w) + 1.0, X, W)
    seen = []

    def names(equation, values):
        if (inner := jaxpr.callee(equation)) is not None:
            return jaxpr.evaluate(inner, values, names)
        seen.append(values)
        return [equation.primitive.name]

    assert jaxpr.evaluate(equations, ["x", "w"], names) == ["add"]
    assert seen[0] == ["x", "w"]
    assert seen[1][0] == "dot_general"
    assert float(seen[1][1]) == 1.0  # a literal is what it is


def test_shapes_are_enough_and_constants_are_kept():
    table = np.arange(6.0, dtype=np.float32).reshape(2, 3)
    shape = jax.ShapeDtypeStruct((3,), jnp.float32)
    equations = jaxpr.trace(lambda x: jnp.asarray(table) @ x, shape)
    (found,) = jaxpr.evaluate(equations, [jnp.ones(3)], jaxpr.bind)
    np.testing.assert_array_equal(found, table.sum(1))


@pytest.mark.parametrize(
    ("function", "counts"),
    [
        (scanned, (1, 1, 5, False)),
        (scanned_backwards, (1, 1, 5, True)),
        (scanned_without_rows, (1, 1, 3, False)),
        (scanned_without_carry, (1, 0, 5, False)),
        (scanned_without_constants, (0, 1, 3, False)),
        (scanned_once, (1, 1, 1, False)),
        (scanned_never, (1, 1, 0, False)),
    ],
)
def test_what_a_scan_takes(function, counts):
    (equation,) = (
        e for e in jaxpr.trace(function, X, W).jaxpr.eqns if e.primitive.name == "scan"
    )
    assert jaxpr.scan(equation)[1:] == counts


def test_equations_run_in_the_precision_they_were_traced_in():
    def rounded(x):
        with jax.enable_x64(True):
            return (((x.astype(jnp.float64) + 1e10) - 1e10) * 2).astype(jnp.float32)

    (found,) = jaxpr.evaluate(jaxpr.trace(rounded, X), [X], jaxpr.bind)
    np.testing.assert_allclose(found, 2 * X, atol=1e-5)


def test_only_what_is_merely_called_is_a_call():
    def calls(function):
        equations = jaxpr.trace(function, X, W).jaxpr.eqns
        return [e.primitive.name for e in equations if jaxpr.callee(e) is not None]

    assert len(calls(called)) == 2
    assert len(calls(remembered)) == 1
    for function in (lambda x, w: double(x), lambda x, w: cube(x), while_, scanned):
        assert not calls(function)


conv = partial(lax.conv_general_dilated, window_strides=(2, 1), padding="VALID")
IMAGE, FILTER = np.ones((2, 4, 5, 6), np.float32), np.ones((6, 2, 3, 2), np.float32)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda x, w: jnp.sin(x @ w), 2 * 5 * 3 * 3),
        (lambda x, w: w[0] @ x.T, 2 * 3 * 5),
        (lambda x, w: jnp.einsum("tc,sc->ts", x, x), 2 * 5 * 5 * 3),
        (lambda x, w: jnp.einsum("bij,bjk->bik", x[..., None], x[:, None]), 2 * 45),
        # Two groups of two inputs, six outputs at 2 x 5 positions of two images.
        (lambda x, w: conv(IMAGE, FILTER, feature_group_count=2), 2 * 12 * 2 * 6 * 10),
        (
            lambda x, w: lax.conv_general_dilated(
                IMAGE.transpose(0, 2, 3, 1),
                FILTER.transpose(2, 3, 1, 0),
                (2, 1),
                "VALID",
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
                feature_group_count=2,
            ),
            2 * 12 * 2 * 6 * 10,
        ),
        (called, 2 * 2 * 5 * 3 * 3),
        (remembered, 2 * 2 * 5 * 3 * 3),
        (scanned, 5 * 2 * 3 * 3),
        (scanned_without_rows, 3 * 2 * 5 * 3 * 3),
        (while_, 2 * 5 * 3 * 3),
        (lambda x, w: lax.cond(x[0, 0] > 0, lambda: x @ w, lambda: x @ w @ w), 180),
        (lambda x, w: jax.nn.relu(double(cube(x @ w))), 90),
        (lambda x, w: jnp.sin(x), 0),
    ],
)
def test_flops_by_hand(function, expected):
    assert jaxpr.flops(jaxpr.trace(function, X, W)) == expected


def test_flops_inside_custom_derivatives():
    product = jax.custom_jvp(jnp.matmul)
    product.defjvp(lambda primals, tangents: (primals[0], tangents[0]))
    other = jax.custom_vjp(jnp.matmul)
    other.defvjp(lambda x, w: (x @ w, None), lambda _, dy: (dy, None))
    assert jaxpr.flops(jaxpr.trace(product, X, W)) == 90
    assert jaxpr.flops(jaxpr.trace(other, X, W)) == 90


def test_primitives_of_inner_functions():
    found = jaxpr.primitives(jaxpr.trace(scanned_in_a_scan, X, W))
    assert {"scan", "sin", "add", "mul"} <= found
    assert "cos" not in found
    found = jaxpr.primitives(jaxpr.trace(chosen, X, W))
    assert {"cond", "dot_general", "sin", "custom_jvp_call"} <= found
    assert "custom_vjp_call" in jaxpr.primitives(
        jaxpr.trace(with_own_derivatives, X, W)
    )
    assert "while" in jaxpr.primitives(jaxpr.trace(while_, X, W))
    assert "tanh" in jaxpr.primitives(jaxpr.trace(while_, X, W))
