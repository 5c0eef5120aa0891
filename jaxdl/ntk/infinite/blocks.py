"""Parts of a kernel: its diagonal, and all of it block by block."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.ntk.infinite.kernels import Kernels, unfolded
from jaxdl.ntk.infinite.layer import KernelFunction, Layer, from_data
from jaxdl.ntk.infinite.pairs import map_branches


def diagonal(layer: Layer, x1: Any, x2: Any = None) -> Kernels:
    """Kernels of the first example with the first, the second with the second, ...

    Args:
        layer: The network.
        x1: ``(n, ...)``.
        x2: ``(n, ...)``, or None for ``x1`` again: then ``nngp`` are variances.

    Returns:
        Kernels of shape ``(n,)``, in the time of ``n`` pairs.

    Raises:
        ValueError: If the kernel of the layer was not made in this package, or the
            shapes do not fit.

    Examples:
        >>> from jaxdl.ntk.infinite import dense
        >>> print(diagonal(dense(3), jnp.array([[1.0, 1.0], [2.0, 0.0]])).nngp)
        [1. 2.]
    """
    kernel = layer.kernel
    if not isinstance(kernel, KernelFunction):
        raise ValueError("layer must be made by the functions of jaxdl.ntk.infinite")
    return map_branches(unfolded, from_data(kernel, x1, x2, matched=True))


def in_blocks(layer: Layer, x1: Any, x2: Any = None, *, block_size: int) -> Kernels:
    """``layer.kernel(x1, x2)`` in the memory of one block and of the result.

    Blocks are computed one after the other in one program; of one batch, those on
    and above the diagonal.

    Args:
        layer: The network; its kernels must be ``(n1, n2)`` at the end.
        x1: ``(n1, ...)``.
        x2: ``(n2, ...)``, or None for ``x1`` again.
        block_size: Examples in a block, 1 or more.

    Returns:
        The same kernels.

    Raises:
        ValueError: If ``block_size < 1``, or the kernels have axes of pixels left.

    Examples:
        >>> from jaxdl.ntk.infinite import dense
        >>> print(in_blocks(dense(3), jnp.eye(3), block_size=2).nngp * 3)
        [[1. 0. 0.]
         [0. 1. 0.]
         [0. 0. 1.]]
    """
    if block_size < 1:
        raise ValueError(f"block_size must be at least 1, got {block_size}")
    x1 = jnp.asarray(x1)
    whole = jax.eval_shape(layer.kernel, x1, x2)
    if whole.nngp.ndim != 2:
        raise ValueError(
            "layer must end in vectors, as after flatten, to be computed in blocks; "
            f"its kernels have shape {whole.nngp.shape}"
        )
    rows = _blocks(x1, block_size)

    def pair(x, y):
        return tuple(layer.kernel(x, y))

    if x2 is None:
        own = jax.lax.map(lambda x: tuple(layer.kernel(x)), rows)
        above = np.triu_indices(len(rows), 1)
        others = jax.lax.map(lambda ij: pair(rows[ij[0]], rows[ij[1]]), above)
        matrices = [
            _symmetric(d, o, above, len(x1)) for d, o in zip(own, others, strict=True)
        ]
        own1, own2 = jnp.diagonal(matrices[0]), None
    else:
        x2 = jnp.asarray(x2)
        columns = _blocks(x2, block_size)
        blocks = jax.lax.map(lambda x: jax.lax.map(lambda y: pair(x, y), columns), rows)
        matrices = [_joined(b)[: len(x1), : len(x2)] for b in blocks]
        own1, own2 = diagonal(layer, x1).nngp, diagonal(layer, x2).nngp
    return Kernels(
        *matrices,
        own1=own1,
        own2=own2,
        shape=whole.shape,
        gaussian=whole.gaussian,
        independent=whole.independent,
    )


def _blocks(x, size):
    """``(blocks, size, ...)``; the last is filled up with its last example."""
    short = -len(x) % size
    margins = ((0, short), *((0, 0),) * (x.ndim - 1))
    x = jnp.pad(x, margins, "edge")
    return x.reshape(-1, size, *x.shape[1:])


def _joined(blocks):
    """From ``(rows, columns, size, size)`` to a matrix."""
    rows, columns, size, _ = blocks.shape
    return blocks.swapaxes(1, 2).reshape(rows * size, columns * size)


def _symmetric(own, others, above, n):
    """A symmetric matrix of its blocks on and above the diagonal."""
    count, size, _ = own.shape
    blocks = jnp.zeros((count, count, size, size), own.dtype)
    on = np.arange(count)
    blocks = blocks.at[on, on].set(own)
    blocks = blocks.at[above].set(others).at[above[::-1]].set(others.swapaxes(1, 2))
    return _joined(blocks)[:n, :n]
