"""Kernels of images, a few pairs of images at a time.

One pair of images with ``p`` pixels has ``p^2`` covariances, of which the end of a
network leaves one. So pairs go through the whole network one chunk after the other, in
the memory of a chunk, which fits into a cache. The variances that activations need
belong to images, not pairs, and are found first.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.ntk.infinite.folding import folded_pairs
from jaxdl.ntk.infinite.kernels import Kernels, Variances, batches, data_kernels

CHUNK = 2**18
"""Numbers in each array of a chunk, or of one pair if that has more."""


def pair_by_pair(
    network: Callable[[Kernels], Any],
    x1: Any,
    x2: Any,
    *,
    matched: bool,
    pixel_pairs: bool,
) -> Any:
    """The network's kernels of images.

    Args:
        network: From the kernels of the data to its own.
        x1: ``(n1, h, w, c)``.
        x2: ``(n2, h, w, c)``, or None for ``x1`` again.
        matched: Whether to take the i-th of one with the i-th of the other only.
        pixel_pairs: Whether covariances of different pixels are needed.

    Returns:
        `Kernels` or a tuple of them; folded for all pairs of one batch.
    """
    x1, x2 = batches(x1, x2, matched=matched)
    shape = x1.shape[1:]
    pixels = shape[0] * shape[1]
    chunk = max(1, CHUNK // (pixels**2 if pixel_pairs else pixels))
    template: Any = None

    def start(x, y, **rest):
        return _data(x, y, shape, pixel_pairs, **rest)

    def own(x):
        """Covariances within examples, and the variances asked for on the way."""
        memory = Variances()
        begin = start(x, x, variances=memory)
        out = network(replace(begin, own1=begin.nngp))
        return [branch.nngp for branch in branches_of(out)], memory.kept

    def pair(x, y, i, j, given, same):
        nonlocal template
        sides = iter([(a[i], b[j]) for a, b in given])
        memory = Variances(given=sides, same=same)
        out = network(start(x, y, variances=memory))
        template = map_branches(lambda k: replace(k, variances=None), out)
        return [
            tuple(branch)[: 1 + (branch.ntk is not None)] for branch in branches_of(out)
        ]

    own1, kept1 = _in_chunks(own, (x1,), chunk)
    own2, kept2 = (own1, kept1) if x2 is None else _in_chunks(own, (x2,), chunk)
    given = list(zip(kept1, kept2, strict=True))
    n1, n2 = len(x1), len(x1 if x2 is None else x2)
    if matched:
        i = j = np.arange(n1)
    elif x2 is None:
        i, j = (jnp.ravel(side) for side in folded_pairs(jnp.arange(n1)))
    else:
        i, j = (np.ravel(side) for side in np.indices((n1, n2)))

    def of_chunk(i, j):
        same = i == j if x2 is None else None
        return pair(x1[i], (x1 if x2 is None else x2)[j], i, j, given, same)

    results = _in_chunks(of_chunk, (i, j), chunk)
    lead = (n1,) if matched else ((n1 + 1) // 2, n1 + 1) if x2 is None else (n1, n2)
    rebuilt = iter(zip(results, own1, own2, strict=True))

    def rebuild(kernels):
        arrays, own1, own2 = next(rebuilt)
        arrays = [a.reshape(*lead, *a.shape[1:]) for a in arrays]
        return replace(
            kernels,
            nngp=arrays[0],
            ntk=arrays[1] if len(arrays) > 1 else None,
            own1=own1 if matched or x2 is not None else None,
            own2=None if x2 is None else own2,
            pairs="matched" if matched else "folded" if x2 is None else "all",
        )

    return map_branches(rebuild, template)


def map_branches(function: Callable[[Kernels], Any], kernels: Any) -> Any:
    """The function of each `Kernels` in a tuple of tuples, or of one."""
    if isinstance(kernels, Kernels):
        return function(kernels)
    return tuple(map_branches(function, k) for k in kernels)


def branches_of(kernels: Any) -> list[Kernels]:
    """All `Kernels` in a tuple of tuples, or one."""
    if isinstance(kernels, Kernels):
        return [kernels]
    return [branch for k in kernels for branch in branches_of(k)]


def _data(x, y, shape, pixel_pairs, **rest):
    """The kernels of pairs of images."""
    if pixel_pairs:
        nngp = jnp.einsum("nhwc,nijc->nhiwj", x, y, precision="highest")
    else:
        nngp = jnp.einsum("nhwc,nhwc->nhw", x, y, precision="highest")
    return data_kernels(nngp / shape[2], shape, "matched", **rest)


def _in_chunks(function, arguments, size):
    """``function(*arguments)`` of a few rows at a time."""
    n = len(arguments[0])
    if n <= size:
        return function(*arguments)
    size = -(-n // -(-n // size))  # as many chunks, as even as they can be

    def cut(a):
        margins = ((0, -n % size), *((0, 0),) * (a.ndim - 1))
        return jnp.pad(jnp.asarray(a), margins, "edge").reshape(-1, size, *a.shape[1:])

    out = jax.lax.map(lambda a: function(*a), tuple(cut(a) for a in arguments))
    return jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:])[:n], out)
