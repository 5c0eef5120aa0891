"""Kernels from the two factors of each gradient, or from gradients themselves.

With gradients ``dW[g, c, f] = sum_r h[g, r, c] dy[g, r, f]`` the product of those of
two examples is ``sum over g, r, s of (h_r . h'_s) (dy_r . dy'_s)``: two small inner
products in place of one over all of W. With many rows the gradients are cheaper.
"""

import itertools
from typing import NamedTuple

import jax.numpy as jnp

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

    gradients: list[Array]  # (n, k, p) each, p being any part of the parameters
    weights: list[Factored]


def gradient(part: Part, inputs: int) -> Array:
    """The gradient itself, ``(k, groups, outputs, inputs)``, of one example.

    Args:
        part: Without the axis n.
        inputs: Their number, which a one-hot h does not tell.

    Returns:
        The sum over rows; in the order of axes that takes no transposition.
    """
    h, dy = part
    k, groups, _, outputs = dy.shape
    if not isinstance(h, Hot):
        return jnp.moveaxis(jnp.einsum("grc,kgrf->gkfc", h, dy), 0, 1)
    zeros = jnp.zeros((k, groups, inputs, outputs), dy.dtype)
    weighted = dy * h.weight[None, :, :, None]
    group = jnp.arange(groups)[:, None]
    return zeros.at[:, group, h.position].add(weighted).swapaxes(2, 3)


def contract(a: Features, b: Features, outputs: str) -> Array:
    """The kernel between two sets of examples.

    Args:
        a: Of n1 examples.
        b: Of n2 examples.
        outputs: ``"full"``, ``"diagonal"`` or ``"trace"``; the last is a sum here.

    Returns:
        ``(n1, n2, k, k)``, ``(n1, n2, k)`` or ``(n1, n2)``.
    """
    terms = [
        _along(u, v, outputs) for u, v in zip(a.gradients, b.gradients, strict=True)
    ]
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
    (n1, k, p), n2 = a.shape, b.shape[0]
    if outputs == "diagonal":
        return jnp.einsum("iap,jap->ija", a, b)
    if outputs == "trace":  # as matrices: two summed axes would be copied first
        return a.reshape(n1, k * p) @ b.reshape(n2, k * p).T
    products = a.reshape(n1 * k, p) @ b.reshape(n2 * k, p).T
    return products.reshape(n1, k, n2, k).transpose(0, 2, 1, 3)


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
        return jnp.einsum("ijgrs,ijgrsa->ija", hh, jnp.einsum(diagonal, p.dy, q.dy))
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
        groups = range(h.position.shape[1])
        return jnp.stack([_picked(h, other, group) for group in groups], axis=2)
    if other.ndim == 4:
        return jnp.einsum("igrc,jgsc->ijgrs", h, other)
    return jnp.einsum("igrc,jkgsc->ijgrsk", h, other)


def _picked(h, other, group):
    """Inner products of one-hot h's with others, of one group."""
    picked = jnp.take(other[..., group, :, :], h.position[:, group], axis=-1)
    weight = h.weight[:, group].astype(picked.dtype)
    picked = picked * weight.reshape((1,) * (picked.ndim - 2) + weight.shape)
    if other.ndim == 4:  # (j, s, i, r)
        return picked.transpose(2, 0, 3, 1)
    return picked.transpose(3, 0, 4, 2, 1)  # (j, k, s, i, r)
