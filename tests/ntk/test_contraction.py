"""Contractions of factors against gradients written out."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.ntk.contraction import Factored, Features, Part, contract, gradient
from jaxdl.ntk.rules import Hot

RNG = np.random.default_rng(0)
K, G, C, F = 2, 3, 4, 5
run = jax.jit(
    contract,
    static_argnums=2,
    compiler_options={"xla_backend_optimization_level": 0},
)


def part(n, rows, inputs, outputs, groups=G, hot=False):
    """Uses of n examples, and gradients ``(n, k, groups, inputs, outputs)``."""
    dy = RNG.normal(size=(n, K, groups, rows, outputs)).astype(np.float32)
    if not hot:
        h = RNG.normal(size=(n, groups, rows, inputs)).astype(np.float32)
        return Part(h, dy), np.einsum("ngrc,nkgrf->nkgcf", h, dy)
    position = RNG.integers(0, inputs, size=(n, groups, rows)).astype(np.int32)
    weight = RNG.normal(size=(n, groups, rows)).astype(np.float32)
    h = weight[..., None] * (position[..., None] == np.arange(inputs))
    return Part(Hot(position, weight), dy), np.einsum("ngrc,nkgrf->nkgcf", h, dy)


def side(n, kinds, groups):
    """All uses of a weight, and their gradient."""
    result, total = Factored([], []), 0
    for rows, hot, swapped in kinds:
        inputs, outputs = (F, C) if swapped else (C, F)
        mine, dense = part(n, rows, inputs, outputs, groups, hot)
        (result.swapped if swapped else result.straight).append(mine)
        total = total + (dense.swapaxes(3, 4) if swapped else dense)
    return result, total


@pytest.mark.parametrize("groups", [1, G])
@pytest.mark.parametrize(
    "kinds",
    [
        [(1, False, False)],
        [(3, False, False)],
        [(1, True, False)],
        [(3, True, False)],
        [(3, True, False), (2, False, False)],
        [(3, True, False), (2, False, True)],
        [(3, True, True), (2, False, False), (4, True, False)],
        [(1, True, True), (1, True, False)],
    ],
)
def test_equals_products_of_gradients(kinds, groups):
    a, da = side(3, kinds, groups)
    b, db = side(2, kinds, groups)
    more = [RNG.normal(size=(n, K, 7)).astype(np.float32) for n in (3, 2)]
    full = np.einsum("iagcf,jbgcf->ijab", da, db)
    full += np.einsum("iap,jbp->ijab", *more)
    diagonal = np.einsum("ijaa->ija", full)
    expected = {"full": full, "diagonal": diagonal, "trace": diagonal.sum(-1)}
    features = [Features([m], [f]) for m, f in zip(more, (a, b), strict=True)]
    for outputs, kernel in expected.items():
        found = run(*features, outputs)
        np.testing.assert_allclose(found, kernel, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("hot", [False, True])
@pytest.mark.parametrize("rows", [1, 3])
def test_gradients(hot, rows):
    mine, dense = part(2, rows, C, F, hot=hot)
    found = jax.jit(jax.vmap(partial(gradient, inputs=C)))(mine)
    np.testing.assert_allclose(found, dense.swapaxes(3, 4), rtol=1e-5, atol=1e-5)


def test_one_hot_rows_at_the_same_place_add_up():
    h = Hot(jnp.zeros((1, 3), jnp.int32), jnp.array([[1.0, 2.0, 0.0]]))
    dy = jnp.ones((1, 1, 3, 2))
    found = gradient(Part(h, dy), 2)
    np.testing.assert_array_equal(found[0, 0], [[3.0, 0.0], [3.0, 0.0]])
