"""Kernels between examples and themselves: half of the work, and exactly symmetric."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp

from jaxdl.types import Array

STRIPS = 4  # the work is then 5/8 of the whole
FEWEST = 8  # examples that are worth a strip, which is a program of its own


def transposed(kernel: Array) -> Array:
    """The kernel with its two batches exchanged, and so their outputs.

    Args:
        kernel: ``(n1, n2)``, ``(n1, n2, k)`` or ``(n1, n2, k, k)``, also of NumPy.

    Returns:
        ``(n2, n1)``, ``(n2, n1, k)`` or ``(n2, n1, k, k)``.
    """
    swapped = kernel.swapaxes(0, 1)
    return swapped.swapaxes(2, 3) if kernel.ndim == 4 else swapped


def mirror(kernel: Array) -> Array:
    """Put what is above the diagonal below it, too.

    Args:
        kernel: ``(n, n)``, ``(n, n, k)`` or ``(n, n, k, k)``; what is below the
            diagonal, in the last case that of the ``(n k, n k)`` matrix, is not used.

    Returns:
        The symmetric kernel.
    """
    n = kernel.shape[0]
    if kernel.ndim == 4:
        k = kernel.shape[2]
        row = jnp.arange(n * k).reshape(n, 1, k, 1)
        column = jnp.arange(n * k).reshape(1, n, 1, k)
    else:
        ones = (1,) * (kernel.ndim - 2)
        row = jnp.arange(n).reshape(n, 1, *ones)
        column = jnp.arange(n).reshape(1, n, *ones)
    upper = jnp.broadcast_to(row <= column, kernel.shape)
    return jnp.where(upper, kernel, transposed(kernel))


def in_strips(kernels: Callable[[Any, Any], list[Array]], x: Any) -> list[Array]:
    """Kernels between ``x`` and itself from strips that end at the last column.

    Args:
        kernels: ``kernels(a, b)``, one array a kernel, each with the examples of ``a``
            and those of ``b`` along its first two axes.
        x: Pytree of arrays with n examples along the first axis.

    Returns:
        What ``kernels(x, x)`` gives up to rounding, and exactly symmetric.
    """
    n = jax.tree.leaves(x)[0].shape[0]
    strips = max(1, min(STRIPS, n // FEWEST))
    bounds = [n * s // strips for s in range(strips + 1)]

    def cut(start, stop):
        return jax.tree.map(lambda leaf: leaf[start:stop], x)

    def padded(kernel, start):
        widths = [(0, 0), (start, 0)] + [(0, 0)] * (kernel.ndim - 2)
        return jnp.pad(kernel, widths)

    rows = [
        [padded(kernel, start) for kernel in kernels(cut(start, stop), cut(start, n))]
        for start, stop in pairwise(bounds)
    ]
    return [mirror(jnp.concatenate(parts)) for parts in zip(*rows, strict=True)]
