"""The structured method equals Jacobians for programs put together at random.

Blocks map ``(3, 4)`` to ``(3, 4)`` and take their parameters from one pool, so that a
parameter has several uses of different kinds.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from jaxdl.ntk import empirical_ntk, structured

SHAPES = {
    "w0": (4, 4), "w1": (4, 4), "b0": (4,), "b1": (4,), "wide": (4, 8),
    "table": (5, 4), "layers": (2, 4, 4), "shifts": (2, 4), "heads": (2, 2, 4),
    "filter": (2, 4, 4), "tables": (3, 5, 4),
}  # fmt: skip
RNG = np.random.default_rng(0)
PARAMS = {name: RNG.normal(size=shape) / 2 for name, shape in SHAPES.items()}
X1, X2 = (
    {
        "h": RNG.normal(size=(2, 3, 4)),
        "t": RNG.integers(-2, 7, size=(2, 3)).astype(np.int32),
    }
    for _ in range(2)
)


def dense(p, i, h, t):
    return jnp.tanh(h @ p[f"w{i}"] + p[f"b{i}"][None])


def transposed(p, i, h, t):
    return jnp.sin((p[f"w{i}"] @ h.T).T * 0.7)


def residual(p, i, h, t):
    return h + (h @ (p[f"w{i}"] / 2)) * t[0]


def half(p, i, h, t):
    w = jnp.split(p["wide"], 2, axis=1)[i]
    return jnp.tanh(h @ w + p["b0"][None] / 3)


def overlapping(p, i, h, t):
    return jnp.tanh(h @ p["wide"][:, 2 * i : 2 * i + 4])


def scaled(p, i, h, t):
    return h * p[f"b{i}"][None]


def shifted(p, i, h, t):
    return h + p[f"b{i}"][None]


def looked_up(p, i, h, t):
    return h + jnp.take(p["table"] * 0.5, t, axis=0, mode=["clip", "wrap"][i])


def attended(p, i, h, t):
    weights = jax.nn.softmax(h @ p["table"].T)
    return weights @ p["table"] if i else h * (weights @ p["table"])


def stacked(p, i, h, t):
    def layer(h, rows):
        w, b = rows
        return jnp.tanh(h @ w + b[None]), None

    return lax.scan(layer, h, (p["layers"], p["shifts"]), reverse=bool(i))[0]


def unrolled(p, i, h, t):
    for w in p["layers"]:
        h = jnp.sin(h @ (w if i else w.T))
    return h


def recurrent(p, i, h, t):
    @(jax.checkpoint if i else lambda f: f)
    def step(carry, rows):
        x, token = rows
        carry = jnp.tanh(carry @ p["w0"] + x @ p["w1"] + p[f"b{i}"])
        return carry, carry + jnp.take(p["table"], token, axis=0, mode="clip")

    return lax.scan(step, h[0], (h, t))[1]


def step_tables(p, i, h, t):
    def step(carry, rows):
        table, x = rows
        return carry, x + (table @ x)[:4] + table[i]

    return lax.scan(step, None, (p["tables"], h))[1]


def multi_head(p, i, h, t):
    heads = jnp.einsum("thc,hcd->htd", h.reshape(3, 2, 2), p["heads"])
    return jnp.tanh(heads[i] * heads[1 - i])


def convolved(p, i, h, t):
    y = lax.conv_general_dilated(
        h[None], p["filter"], (1,), [(1, 0)], dimension_numbers=("NWC", "WIO", "NWC")
    )
    return jax.nn.relu(y + p[f"b{i}"][None, None])[0]


def branched(p, i, h, t):
    return lax.cond(
        h[0, 0] > 0,
        lambda h: jnp.tanh(h @ p["w0"] + p["b0"][None]),
        lambda h: h @ p[f"w{i}"].T * 0.5,
        h,
    )


def called(p, i, h, t):
    return jax.jit(jax.checkpoint(partial(dense, p, i)))(h, t)


def normed(p, i, h, t):
    return h @ (p[f"w{i}"] / jnp.linalg.norm(p[f"w{i}"]))


def stopped(p, i, h, t):
    return h @ lax.stop_gradient(p[f"w{i}"])


def summed_twice(p, i, h, t):
    y = h @ p[f"w{i}"]
    return jnp.tanh(y + p[f"b{1 - i}"][None]) + y / 3


BLOCKS = (
    dense, transposed, residual, half, overlapping, scaled, shifted, looked_up,
    attended, stacked, unrolled, recurrent, step_tables, multi_head, convolved,
    branched, called, normed, stopped, summed_twice,
)  # fmt: skip

programs = st.lists(
    st.tuples(st.sampled_from(BLOCKS), st.integers(0, 1)), min_size=2, max_size=4
)


def check(program, flags):
    """A program's kernel with each weight served in one of two ways."""

    def apply(params, x):
        h = x["h"]
        for block, i in program:
            h = block(params, i, h, x["t"])
        return jnp.sin(h).sum(0)

    plan = structured.plan

    def flagged(*args, **kwargs):
        how = plan(*args, **kwargs)
        weights = [
            weight._replace(factored=bool(flags >> i & 1))
            for i, weight in enumerate(how.weights)
        ]
        return how._replace(weights=weights)

    @partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
    def both(params, x1, x2):
        structured.plan = flagged
        try:
            kernel = empirical_ntk(apply, params, x1, x2, method="structured")
        finally:
            structured.plan = plan
        jacobian = jax.vmap(jax.jacrev(apply), (None, 0))
        return kernel, [jacobian(params, x) for x in (x1, x2)]

    with jax.enable_x64(True):
        kernel, jacobians = both(PARAMS, X1, X2)
        j1, j2 = (
            np.concatenate([np.reshape(j[name], (2, 4, -1)) for name in SHAPES], 2)
            for j in jacobians
        )
        expected = np.einsum("iap,jbp->ijab", j1, j2)
        np.testing.assert_allclose(
            kernel, expected, rtol=1e-10, atol=1e-10 * (1e-6 + np.abs(expected).max())
        )


@given(program=programs, flags=st.integers(0, 255))
@settings(max_examples=20, deadline=None, derandomize=True)
def test_random_programs(program, flags):
    check(program, flags)


@pytest.mark.slow
@given(program=programs, flags=st.integers(0, 255))
@settings(max_examples=200, deadline=None)
def test_many_random_programs(program, flags):
    check(program, flags)
