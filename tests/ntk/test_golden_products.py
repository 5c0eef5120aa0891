"""Products and expansions against those of neural-tangents 0.6.5, in float64."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import curvature
from jaxdl.ntk import linearize, ntk_operator, ntk_vector_product, taylor_expand

with np.load(Path(__file__).parent.parent / "golden" / "finite_width.npz") as file:
    GOLDEN = dict(file)
XA, XB = GOLDEN["xa"], GOLDEN["xb"]


def network(params, x):
    """6-20-15-3 with tanh, standard parameterization."""
    (w0, b0), (w1, b1), (w2, b2) = params
    return jnp.tanh(jnp.tanh(x @ w0 + b0) @ w1 + b1) @ w2 + b2


def parameters(mark=""):
    names = [(f"std/{mark}W{i}", f"std/{mark}b{i}") for i in range(3)]
    return [(GOLDEN[w], GOLDEN[b]) for w, b in names]


MOVED = jax.tree.map(np.add, parameters(), parameters("d"))


@pytest.mark.parametrize("chunk_size", [None, 3])
def test_the_product_of_two_sets(chunk_size):
    with jax.enable_x64(True):
        found = ntk_vector_product(
            network,
            parameters(),
            XA,
            XB,
            GOLDEN["std_tanh/vp_in_b"],
            chunk_size=chunk_size,
        )
        np.testing.assert_allclose(found, GOLDEN["std_tanh/vp_out_a"], rtol=1e-9)


def test_the_operator_of_one_set():
    with jax.enable_x64(True):
        operator = ntk_operator(network, parameters(), XA)
        found = np.asarray(curvature.materialize(operator))
    expected = GOLDEN["std_tanh/ntk_aa"].transpose(0, 2, 1, 3).reshape(21, 21)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.parametrize(
    ("name", "expand"),
    [
        ("f_a", lambda apply, params: taylor_expand(apply, params, 0)),
        ("lin_a", linearize),
        ("taylor2_a", lambda apply, params: taylor_expand(apply, params, 2)),
        ("taylor3_a", lambda apply, params: taylor_expand(apply, params, 3)),
        ("new_a", lambda apply, params: apply),
    ],
)
def test_expansions(name, expand):
    with jax.enable_x64(True):
        f = jax.vmap(expand(network, parameters()), (None, 0))
        np.testing.assert_allclose(f(MOVED, XA), GOLDEN[f"std_tanh/{name}"], rtol=1e-9)
