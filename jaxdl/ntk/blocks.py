"""Kernels block by block, in bounded memory."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.ntk.symmetry import transposed
from jaxdl.types import Array

Kernels = Callable[[Any, Any], list[Array]]
"""``kernels(x1, x2)``; with None for ``x2``, of ``x1`` and itself."""


def in_blocks(
    kernels: Kernels, x1: Any, x2: Any, block_size: int | None
) -> list[Array]:
    """Kernels put together from blocks of at most ``block_size`` rows and columns.

    Beside the result, the memory is that of one block. The blocks of an axis have one
    size, with the last example repeated where they end beyond it, so there is one
    program for all of them (and one for those on the diagonal, if ``x2`` is None).

    Args:
        kernels: Kernels of two blocks.
        x1: Pytree of arrays with n1 examples along the first axis.
        x2: The same with n2, or None for ``x1``: then the blocks above the diagonal
            are computed, and mirrored.
        block_size: Most examples in a block; None for no blocks.

    Returns:
        What ``kernels(x1, x2)`` gives, up to rounding.
    """
    n1 = length(x1)
    n2 = n1 if x2 is None else length(x2)
    if block_size is None or block_size >= max(n1, n2):
        return kernels(x1, x2)
    if x2 is None:
        return _symmetric(kernels, x1, n1, block_size)

    def row(a):
        return in_columns(lambda b: kernels(a, b), x2, block_size)

    return [_join(rows, 0)[:n1] for rows in jax.lax.map(row, _cut(x1, block_size))]


def in_columns(
    kernels: Callable[[Any], list[Array]], x2: Any, block_size: int
) -> list[Array]:
    """Kernels put together from blocks of at most ``block_size`` columns.

    Args:
        kernels: Kernels of a block of the second examples and whatever the first are.
        x2: Pytree of arrays with n2 examples along the first axis.
        block_size: Most examples in a block.

    Returns:
        What ``kernels(x2)`` gives, up to rounding.
    """
    if block_size >= length(x2):
        return kernels(x2)
    blocks = jax.lax.map(kernels, _cut(x2, block_size))  # (m, rows, columns, ...)
    n2 = length(x2)
    return [_join(jnp.moveaxis(block, 0, 1), 1)[:, :n2] for block in blocks]


def length(x: Any) -> int:
    """How many examples there are.

    Args:
        x: Pytree of arrays with the examples along the first axis.

    Returns:
        The length of that axis.
    """
    return jax.tree.leaves(x)[0].shape[0]


def even(n: int, block_size: int | None) -> tuple[int, int]:
    """How many blocks there are, and of how many examples.

    Args:
        n: Examples, at least one.
        block_size: Most examples in a block; None for one block.

    Returns:
        The number of blocks, as small as can be, and then their size.

    Examples:
        >>> even(10, 4), even(9, 4), even(3, 100)
        ((3, 4), (3, 3), (1, 3))
    """
    number = -(-n // min(n, block_size or n))
    return number, -(-n // number)


def _symmetric(kernels, x, n, block_size):
    """Kernels of examples and themselves, from two blocks on."""
    number, size = even(n, block_size)
    blocks = _cut(x, block_size)

    def block(i):
        return jax.tree.map(lambda leaf: leaf[i], blocks)

    on_diagonal = jax.eval_shape(lambda: kernels(block(0), None))
    whole = [
        jnp.zeros((number * size, number * size, *part.shape[2:]), part.dtype)
        for part in on_diagonal
    ]

    def put(whole, parts, i, j):
        def at(array, part, i, j):
            zero = jnp.zeros((), jnp.int32)
            start = (i * size, j * size) + (zero,) * (array.ndim - 2)
            return jax.lax.dynamic_update_slice(array, part, start)

        return [at(array, part, i, j) for array, part in zip(whole, parts, strict=True)]

    def above(whole, pair):
        i, j = pair
        parts = kernels(block(i), block(j))
        whole = put(whole, parts, i, j)
        return put(whole, [transposed(part) for part in parts], j, i), None

    def on(whole, i):
        return put(whole, kernels(block(i), None), i, i), None

    pairs = tuple(jnp.asarray(a, jnp.int32) for a in np.triu_indices(number, 1))
    whole, _ = jax.lax.scan(above, whole, pairs)
    whole, _ = jax.lax.scan(on, whole, jnp.arange(number, dtype=jnp.int32))
    return [array[:n, :n] for array in whole]


def _cut(x, block_size):
    """Blocks along a new first axis."""
    number, size = even(length(x), block_size)
    rows = np.minimum(np.arange(number * size), length(x) - 1).reshape(number, size)
    return jax.tree.map(lambda leaf: leaf[rows], x)


def _join(blocks, axis):
    """One axis of two."""
    shape = blocks.shape
    return blocks.reshape(*shape[:axis], -1, *shape[axis + 2 :])
