"""Blocks give the whole, exactly symmetric where it must be, with half of the work."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.ntk import empirical_ntk
from jaxdl.ntk.blocks import even, in_blocks
from jaxdl.ntk.symmetry import FEWEST, STRIPS, in_strips, mirror, transposed

RNG = np.random.default_rng(0)
X1 = RNG.normal(size=(7, 3)).astype(np.float32)
X2 = RNG.normal(size=(5, 3)).astype(np.float32)


def kernels(x1, x2):
    """Two kernels that say which pair of examples they belong to."""
    x2 = x1 if x2 is None else x2
    pairs = 10.0 * x1["i"][:, None] + x2["i"][None, :]
    full = jnp.einsum("ia,jb->ijab", x1["x"], x2["x"])
    return [pairs, full]


@pytest.mark.parametrize("block_size", [1, 2, 3, 4, 5, 6, 7, 100])
def test_every_pair_is_where_it_belongs(block_size):
    a = {"x": X1, "i": np.arange(7.0)}
    b = {"x": X2, "i": np.arange(5.0)}
    call = jax.jit(partial(in_blocks, kernels, block_size=block_size))
    pairs, full = call(a, b)
    np.testing.assert_array_equal(pairs, 10 * np.arange(7)[:, None] + np.arange(5))
    np.testing.assert_array_equal(full, np.einsum("ia,jb->ijab", X1, X2))
    _, full = call(a, None)
    np.testing.assert_array_equal(full, np.einsum("ia,jb->ijab", X1, X1))


def test_blocks_are_as_even_as_can_be():
    for n in range(1, 40):
        for block_size in range(1, 45):
            number, size = even(n, block_size)
            assert size <= block_size
            assert (number - 1) * size < n <= number * size
    assert even(257, 256) == (2, 129)


@pytest.mark.parametrize("method", ["jacobian", "products", "structured"])
@pytest.mark.parametrize("outputs", ["full", "diagonal", "trace"])
def test_kernels_do_not_depend_on_the_blocks_and_are_symmetric(method, outputs):
    w = RNG.normal(size=(3, 2)).astype(np.float32)
    x = RNG.normal(size=(35, 3)).astype(np.float32)  # strips of the symmetric case
    axes = {"full": (1, 0, 3, 2), "diagonal": (1, 0, 2), "trace": (1, 0)}[outputs]

    @partial(jax.jit, static_argnums=2)
    def call(x1, x2, block_size):
        return empirical_ntk(
            lambda w, x: jnp.tanh(x @ w) @ w.T,
            w,
            x1,
            x2,
            outputs=outputs,
            method=method,
            block_size=block_size,
        )

    whole = call(x, x, None)
    for block_size in (None, 4, 18):
        found = np.asarray(call(x, None, block_size))
        np.testing.assert_allclose(found, whole, rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(found, found.transpose(axes))
    for block_size in (3, 16):
        found = call(x, X2, block_size)
        np.testing.assert_allclose(found, call(x, X2, None), rtol=1e-5, atol=1e-5)


def test_half_of_the_work():
    def pairs(n):
        """How many pairs of examples the strips look at."""
        seen = []

        def count(a, b):
            seen.append(a.shape[0] * b.shape[0])
            return [a[:, None] * b[None, :]]

        in_strips(count, np.arange(float(n)))
        return sum(seen)

    n = STRIPS * FEWEST * 3
    assert pairs(n) == n * n * (STRIPS + 1) // (2 * STRIPS)
    assert pairs(FEWEST) == FEWEST**2  # too few to be worth it

    blocks = []

    def count(x1, x2):
        jax.debug.callback(lambda: blocks.append(x2 is None))
        return [x1[:, None] * (x1 if x2 is None else x2)[None, :]]

    in_blocks(count, jnp.arange(12.0), None, 3)
    jax.effects_barrier()
    assert sorted(blocks) == [False] * 6 + [True] * 4


def test_memory_is_that_of_a_block():
    """Beside the result, which is 512 x 512."""
    w = np.zeros((20, 30), np.float32)
    x = np.zeros((512, 20), np.float32)

    def temporary(method, x2, block_size):
        call = jax.jit(
            partial(
                empirical_ntk,
                lambda w, x: jnp.tanh(x @ w),
                outputs="trace",
                method=method,
                block_size=block_size,
            )
        )
        return call.lower(w, x, x2).compile().memory_analysis().temp_size_in_bytes

    for method in ("jacobian", "products"):
        for x2 in (x, None):
            whole, blocks = (temporary(method, x2, size) for size in (None, 32))
            assert blocks < whole / 2
            assert blocks < 3 * 2**20 + 4 * 512 * 512 * 2


def test_mirror_keeps_the_upper_half():
    for shape in ((3, 3), (3, 3, 2), (3, 3, 2, 2)):
        kernel = RNG.normal(size=shape)
        found = np.asarray(mirror(jnp.asarray(kernel, jnp.float32)))
        np.testing.assert_array_equal(found, transposed(found))
        np.testing.assert_array_equal(found[0, 1:], np.float32(kernel[0, 1:]))
        np.testing.assert_array_equal(found[1, 2], np.float32(kernel[1, 2]))
    assert found[0, 0, 0, 1] == np.float32(kernel[0, 0, 0, 1])
