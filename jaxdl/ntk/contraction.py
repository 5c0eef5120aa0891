"""Kernels from the two factors of each gradient, or from gradients themselves.

With gradients ``dW[g, c, f] = sum_r h[g, r, c] dy[g, r, f]`` the product of those of
two examples is ``sum over g, r, s of (h_r . h'_s) (dy_r . dy'_s)``: two small inner
products in place of one over all of W. With many rows the gradients are cheaper.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxdl.ntk.rules import Hot
from jaxdl.types import Array


class Part(NamedTuple):
    """Uses of one weight that are laid out alike, of n examples."""

    h: Array | Hot  # (n, groups, rows, inputs); no axis of outputs k
    dy: Array  # (n, k, groups, rows, outputs)


class Factored(NamedTuple):
    """All uses of one weight."""

    straight: list[Part]
    swapped: list[Part]  # with h over the outputs of the weight, dy over its inputs


class Features(NamedTuple):
    """What the kernel of one group of leaves is made of, for n examples."""

    gradients: Array | None  # (n, k, p)
    weights: list[Factored]


def gradient(part: Part, inputs: int) -> Array:
    """The gradient itself, ``(k, groups, inputs, outputs)``, of one example.

    Args:
        part: Without the axis n.
        inputs: Their number, which a one-hot h does not tell.

    Returns:
        The sum over rows.
    """
    h, dy = part
    if not isinstance(h, Hot):
        return jnp.einsum("grc,kgrf->kgcf", h, dy)
    k, groups, _, outputs = dy.shape
    zeros = jnp.zeros((k, groups, inputs, outputs), dy.dtype)
    return zeros.at[:, 0, h.position[0]].add(dy[:, 0] * h.weight[0][None, :, None])


def contract(a: Features, b: Features, outputs: str) -> Array:
    """The kernel between two sets of examples.

    Args:
        a: Of n1 examples.
        b: Of n2 examples.
        outputs: ``"full"``, ``"diagonal"`` or ``"trace"``; the last is a sum here.

    Returns:
        ``(n1, n2, k, k)``, ``(n1, n2, k)`` or ``(n1, n2)``.
    """
    terms = []
    if a.gradients is not None:
        terms.append(_along(a.gradients, b.gradients, outputs))
    for u, v in zip(a.weights, b.weights, strict=True):
        for product, pairs in (
            (_aligned, itertools.product(u.straight, v.straight)),
            (_aligned, itertools.product(u.swapped, v.swapped)),
            (_crossed, itertools.product(u.straight, v.swapped)),
            (_crossed, itertools.product(u.swapped, v.straight)),
        ):
            terms += [product(p, q, outputs) for p, q in pairs]
    return sum(terms[1:], start=terms[0])


def _along(a, b, outputs):
    """Inner products over the last axis of ``(n, k, p)``."""
    spec = {"full": "iap,jbp->ijab", "diagonal": "iap,jap->ija", "trace": "iap,jap->ij"}
    return jnp.einsum(spec[outputs], a, b)


def _aligned(p, q, outputs):
    """Both parts have h over the inputs and dy over the outputs of the weight."""
    hh = _overlap(p.h, q.h)
    if hh.shape[2:] == (1, 1, 1):
        hh = hh[:, :, 0, 0, 0]
        dd = _along(p.dy[:, :, 0, 0], q.dy[:, :, 0, 0], outputs)
        return hh.reshape(*hh.shape, *(1,) * (dd.ndim - 2)) * dd
    full, diagonal = "iagrf,jbgsf->ijgrsab", "iagrf,jagsf->ijgrsa"
    if outputs == "trace":
        dd = jnp.einsum("iagrf,jagsf->ijgrs", p.dy, q.dy)
        return jnp.einsum("ijgrs,ijgrs->ij", hh, dd)
    if outputs == "diagonal":
        return jnp.einsum(
            "ijgrs,ijgrsa->ija", hh, jnp.einsum(diagonal, p.dy, q.dy)
        )
    return jnp.einsum("ijgrs,ijgrsab->ijab", hh, jnp.einsum(full, p.dy, q.dy))


def _crossed(p, q, outputs):
    """The h of one part is over the same axis of the weight as the other's dy."""
    left = _overlap(p.h, q.dy)  # (i, j, g, r, s, b)
    right = jnp.moveaxis(_overlap(q.h, p.dy), (0, 1, 3, 4), (1, 0, 4, 3))  # ... a
    spec = {
        "full": "ijgrsb,ijgrsa->ijab",
        "diagonal": "ijgrsa,ijgrsa->ija",
        "trace": "ijgrsa,ijgrsa->ij",
    }
    return jnp.einsum(spec[outputs], left, right)


def _overlap(h, other):
    """Inner products of each h with each h or dy of the other set.

    Returns ``(n1, n2, groups, rows, rows')``, with k last where ``other`` is a dy.
    """
    if isinstance(h, Hot) and isinstance(other, Hot):
        same = h.position[:, None, :, :, None] == other.position[None, :, :, None, :]
        weight = h.weight[:, None, :, :, None] * other.weight[None, :, :, None, :]
        return jnp.where(same, weight, 0)
    if isinstance(other, Hot):
        return jnp.moveaxis(_overlap(other, h), (0, 1, 3, 4), (1, 0, 4, 3))
    if isinstance(h, Hot):
        picked = jnp.take(other[..., 0, :, :], h.position[:, 0], axis=-1)
        weight = h.weight[:, 0].astype(picked.dtype)
        picked = picked * weight.reshape((1,) * (picked.ndim - 2) + weight.shape)
        if other.ndim == 4:  # (j, s, i, r)
            return picked.transpose(2, 0, 3, 1)[:, :, None]
        return picked.transpose(3, 0, 4, 2, 1)[:, :, None]  # (j, k, s, i, r)
    if other.ndim == 4:
        return jnp.einsum("igrc,jgsc->ijgrs", h, other)
    return jnp.einsum("igrc,jkgsc->ijgrsk", h, other)


def pairwise(
    product: Callable[[Any, Any], Any], a: Any, b: Any | None, tile: int
) -> Any:
    """``product`` of all examples with all, tile by tile.

    Args:
        product: From the features of ``m1`` and ``m2`` examples to a pytree of
            ``(m1, m2, ...)``, symmetric in the two where ``b`` is None: exchanging
            them transposes the first two axes, and the last two of four.
        a: A pytree with n1 examples along the first axes.
        b: One with n2; None for ``a``: then only half of the tiles are computed, and
            the result is exactly symmetric.
        tile: Examples of one side at a time.

    Returns:
        A pytree of ``(n1, n2, ...)``.
    """
    n1 = _length(a)
    n2 = n1 if b is None else _length(b)
    if b is None and tile >= n1:
        return jax.tree.map(_symmetrize, product(a, a))
    if tile >= max(n1, n2):
        return product(a, b)
    tile1, tile2 = min(tile, n1), min(tile, n2)
    if b is None:
        tile1 = tile2 = min(tile1, tile2)
    rows, columns = _tiles(a, tile1), _tiles(a if b is None else b, tile2)
    m1, m2 = math.ceil(n1 / tile1), math.ceil(n2 / tile2)
    pairs = [(i, j) for i in range(m1) for j in range(i if b is None else 0, m2)]

    def at(tiles, i):
        return jax.tree.map(
            lambda leaf: lax.dynamic_index_in_dim(leaf, i, 0, keepdims=False), tiles
        )

    def place(whole, block, i, j):
        start = (i * tile1, j * tile2, *(0,) * (whole.ndim - 2))
        return lax.dynamic_update_slice(whole, block, start)

    def step(kernels, pair):
        i, j = pair
        blocks = product(at(rows, i), at(columns, j))
        if b is None:
            blocks = lax.cond(
                i == j, lambda k: jax.tree.map(_symmetrize, k), lambda k: k, blocks
            )
            kernels = jax.tree.map(
                lambda k, block: place(k, _transpose(block), j, i), kernels, blocks
            )
        kernels = jax.tree.map(lambda k, block: place(k, block, i, j), kernels, blocks)
        return kernels, None

    shapes = jax.eval_shape(product, at(rows, 0), at(columns, 0))
    empty = jax.tree.map(
        lambda s: jnp.zeros((m1 * tile1, m2 * tile2, *s.shape[2:]), s.dtype), shapes
    )
    kernels, _ = lax.scan(step, empty, jnp.asarray(pairs))
    return jax.tree.map(lambda kernel: kernel[:n1, :n2], kernels)


def _tiles(features, tile):
    """``(n, ...)`` to ``(tiles, tile, ...)``, the last one filled up with zeros."""

    def split(leaf):
        n = leaf.shape[0]
        missing = -n % tile
        filled = jnp.pad(leaf, [(0, missing)] + [(0, 0)] * (leaf.ndim - 1))
        return filled.reshape(-1, tile, *leaf.shape[1:])

    return jax.tree.map(split, features)


def _transpose(kernel):
    """What the kernel is with its two sets of examples exchanged."""
    swapped = jnp.swapaxes(kernel, 0, 1)
    return jnp.swapaxes(swapped, 2, 3) if kernel.ndim == 4 else swapped


def _symmetrize(kernel):
    return (kernel + _transpose(kernel)) / 2


def _length(features: Any) -> int:
    return jax.tree.leaves(features)[0].shape[0]


def sum_of(kernels: Sequence[Array]) -> Array:
    """The kernel of several groups together."""
    return sum(kernels[1:], start=kernels[0])
