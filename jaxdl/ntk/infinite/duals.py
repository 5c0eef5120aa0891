"""Means of products of activations of two Gaussians, in closed form.

For (u, v) Gaussian with mean zero, covariance c and variances v1 and v2, the dual of
an activation phi is ``E phi(u) phi(v)`` and its slope ``E phi'(u) phi'(v)``, which is
the derivative of the dual with respect to c. Each function here takes ``c, v1, v2``,
arrays that broadcast with each other, ``|c| <= sqrt(v1 v2)``, and returns both. Values
and first derivatives are finite at ``|c| = sqrt(v1 v2)`` and at zero variance.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxdl.types import Array, Scalar

Dual = Callable[[Array, Array, Array], tuple[Array, Array]]


def piecewise_linear(negative: Scalar, positive: Scalar) -> Dual:
    """``negative u`` below zero and ``positive u`` above: arc-cosine kernels.

    With the angle ``t = arccos(c / sqrt(v1 v2))`` and a, b the two slopes::

        dual = (a - b)^2 / (2 pi) (sqrt(v1 v2) sin t - c t) + (a^2 + b^2) / 2 c
        slope = (a^2 + b^2) / 2 - (a - b)^2 / (2 pi) t

    Args:
        negative: a.
        positive: b.

    Returns:
        ``dual(c, v1, v2) -> (dual, slope)``.

    References:
        Cho, Saul (2009), Kernel methods for deep learning, equations 3 to 6.
    """

    def dual(c, v1, v2):
        bend = (negative - positive) ** 2 / (2 * math.pi)
        mean = (negative**2 + positive**2) / 2
        value = bend * _bow(c, v1, v2) + mean * c
        return value.astype(c.dtype), (mean - bend * _angle(c, v1, v2)).astype(c.dtype)

    return dual


def erf(c: Array, v1: Array, v2: Array) -> tuple[Array, Array]:
    """Dual and slope of ``erf(u)``: the arcsine kernel.

    With ``d = (1 + 2 v1)(1 + 2 v2) - 4 c^2``::

        dual = 2 / pi arctan(2 c / sqrt(d))        slope = 4 / (pi sqrt(d))

    Args:
        c: Covariances.
        v1: Variances of one side.
        v2: Variances of the other side.

    Returns:
        The dual and its slope.

    References:
        Williams (1997), Computing with infinite networks, equation 11.
    """
    root = jnp.sqrt(1 + 2 * (v1 + v2) + 4 * _determinant(c, v1, v2))
    return 2 / math.pi * jnp.arctan2(2 * c, root), 4 / math.pi / root


def gelu(c: Array, v1: Array, v2: Array) -> tuple[Array, Array]:
    """Dual and slope of ``u Phi(u)``, Phi the standard normal distribution function.

    With ``p = (1 + v1)(1 + v2)``, ``d = p - c^2`` and
    ``g = 1 / 4 + arctan(c / sqrt(d)) / (2 pi)``::

        dual = c g + (c^2 + v1 v2 d) / (2 pi p sqrt(d))
        slope = g + c / (2 pi sqrt(d)) (1 + 1 / d + (1 - v1 v2) / p)

    Args:
        c: Covariances.
        v1: Variances of one side.
        v2: Variances of the other side.

    Returns:
        The dual and its slope.

    References:
        Tsuchida, Pearce, van der Heide, Roosta, Gallagher (2021), Avoiding kernel
        fixed points: computing with ELU and GELU infinite networks.
        https://arxiv.org/abs/2002.08517
    """
    p = (1 + v1) * (1 + v2)
    d = 1 + v1 + v2 + _determinant(c, v1, v2)
    root = jnp.sqrt(d)
    g = 0.25 + jnp.arctan2(c, root) / (2 * math.pi)
    v = v1 * v2
    value = c * g + (c * c + v * d) / (2 * math.pi * p * root)
    return value, g + c / (2 * math.pi * root) * (1 + 1 / d + (1 - v) / p)


def sine(c: Array, v1: Array, v2: Array) -> tuple[Array, Array]:
    """Dual and slope of ``sin(u)``.

    With ``h = (v1 + v2) / 2``::

        dual = (exp(c - h) - exp(-c - h)) / 2
        slope = (exp(c - h) + exp(-c - h)) / 2

    Args:
        c: Covariances.
        v1: Variances of one side.
        v2: Variances of the other side.

    Returns:
        The dual and its slope.
    """
    h = (v1 + v2) / 2
    up, down = jnp.exp(c - h) / 2, jnp.exp(-c - h) / 2
    return up - down, up + down


def rbf(gamma: Scalar) -> Dual:
    """``sqrt(2) sin(sqrt(2 gamma) u + pi / 4)``: the Gaussian kernel.

    ::

        dual = exp(-gamma (v1 + v2 - 2 c))         slope = 2 gamma dual

    Args:
        gamma: Inverse squared length, ``> 0``.

    Returns:
        ``dual(c, v1, v2) -> (dual, slope)``.

    References:
        Rahimi, Recht (2007), Random features for large-scale kernel machines.
    """

    def dual(c, v1, v2):
        value = jnp.exp(-gamma * (v1 + v2 - 2 * c)).astype(c.dtype)
        return value, (2 * gamma * value).astype(c.dtype)

    return dual


def _determinant(c, v1, v2):
    """``v1 v2 - c^2``, which is never negative."""
    determinant = v1 * v2 - c * c
    return jnp.where(determinant < 0, 0, determinant)


def _sine(c, v1, v2):
    """``sqrt(v1 v2 - c^2)``, exactly zero where ``c = v1 = v2``."""
    s = _root(v1 * v2)  # the root of a rounded square is exact
    return _root((s - c) * (s + c))


def _root(a):
    """``sqrt(max(a, 0))``, with derivative zero where it would be infinite."""
    positive = a > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, a, 1)), 0)


@jax.custom_jvp
def _angle(c, v1, v2):
    """``arccos(c / sqrt(v1 v2))``, in [0, pi]; zero if a variance is zero."""
    return jnp.arctan2(_sine(c, v1, v2), c)


@_angle.defjvp
def _angle_jvp(primals, tangents):
    """Zero where the derivative is infinite: at 0, pi, and zero variance."""
    c, v1, v2 = primals
    dc, dv1, dv2 = tangents
    root, safe1, safe2 = (_or_inf(a) for a in (_sine(c, v1, v2), v1, v2))
    change = -dc + c / (2 * safe1) * dv1 + c / (2 * safe2) * dv2
    return _angle(c, v1, v2), change / root


@jax.custom_jvp
def _bow(c, v1, v2):
    """``sqrt(v1 v2) sin t - c t`` with the angle t."""
    root = _sine(c, v1, v2)
    return root - c * jnp.arctan2(root, c)


@_bow.defjvp
def _bow_jvp(primals, tangents):
    """Singular terms of sine and angle cancel; zero variance counts as a kink."""
    c, v1, v2 = primals
    dc, dv1, dv2 = tangents
    root, safe1, safe2 = _sine(c, v1, v2), _or_inf(v1), _or_inf(v2)
    change = root / (2 * safe1) * dv1 + root / (2 * safe2) * dv2
    return _bow(c, v1, v2), change - _angle(c, v1, v2) * dc


def _or_inf(a):
    """``a``, or infinity where it is zero, for divisions."""
    return jnp.where(a > 0, a, jnp.inf)
