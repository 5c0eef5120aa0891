"""Elementwise nonlinearities and their kernels."""

import math
from collections.abc import Callable
from dataclasses import replace

import jax
import jax.numpy as jnp

from jaxdl.ntk.infinite import duals
from jaxdl.ntk.infinite.kernels import (
    Kernels,
    gaussians,
    is_number,
    own_variances,
    pixel_axes,
)
from jaxdl.ntk.infinite.layer import Layer, without_parameters
from jaxdl.types import Array, Scalar


def relu() -> Layer:
    """``max(u, 0)``, with the arc-cosine kernels of degree 1 and 0.

    Returns:
        A layer without parameters. Its ``kernel`` raises a ``ValueError`` if its
        inputs are not Gaussian, as all of this file do: put `dense` or `conv` before.
        It is continued to zero variance by ``slope = 1 / 2``.

    References:
        Cho, Saul (2009), Kernel methods for deep learning, equations 3 to 6.

    Examples:
        >>> from jaxdl.ntk.infinite import dense, serial
        >>> print(serial(dense(9), relu()).kernel(jnp.eye(2)).nngp.round(4))
        [[0.25   0.0796]
         [0.0796 0.25  ]]
    """
    return _elementwise("relu", jax.nn.relu, duals.piecewise_linear(0.0, 1.0))


def leaky_relu(slope: Scalar) -> Layer:
    """``u`` above zero and ``slope u`` below, with arc-cosine kernels.

    Args:
        slope: Below zero; any number.

    Returns:
        A layer without parameters.

    Raises:
        ValueError: If the slope is not finite.
    """
    if message := _not_finite("slope", slope):
        raise ValueError(message)

    def function(u):
        return jnp.where(u > 0, u, slope * u).astype(u.dtype)

    return _elementwise("leaky_relu", function, duals.piecewise_linear(slope, 1.0))


def absolute() -> Layer:
    """``|u|``, with arc-cosine kernels.

    Returns:
        A layer without parameters.
    """
    return _elementwise("absolute", jnp.abs, duals.piecewise_linear(-1.0, 1.0))


def erf() -> Layer:
    """The error function ``erf(u)``, with the arcsine kernel.

    Returns:
        A layer without parameters.

    References:
        Williams (1997), Computing with infinite networks, equation 11.
    """
    return _elementwise("erf", jax.scipy.special.erf, duals.erf)


def gelu() -> Layer:
    """``u Phi(u)`` with the normal distribution function itself, not its tanh form.

    Returns:
        A layer without parameters.

    References:
        Tsuchida, Pearce, van der Heide, Roosta, Gallagher (2021), Avoiding kernel
        fixed points: computing with ELU and GELU infinite networks.
        https://arxiv.org/abs/2002.08517
    """

    def function(u):
        return jax.nn.gelu(u, approximate=False)

    return _elementwise("gelu", function, duals.gelu)


def sine() -> Layer:
    """``sin(u)``.

    Returns:
        A layer without parameters.
    """
    return _elementwise("sine", jnp.sin, duals.sine)


def rbf(gamma: Scalar) -> Layer:
    """``sqrt(2) sin(sqrt(2 gamma) u + pi / 4)``: random features of a Gaussian kernel.

    After a first layer ``dense(k, w_std=w)`` on inputs of dimension d the covariance
    is ``exp(-gamma w^2 |x - x'|^2 / d)``.

    Args:
        gamma: Inverse squared length in units of the inputs' variance, ``> 0``.

    Returns:
        A layer without parameters.

    Raises:
        ValueError: If ``gamma <= 0`` or not finite.

    References:
        Rahimi, Recht (2007), Random features for large-scale kernel machines.
    """
    if message := _not_finite("gamma", gamma):
        raise ValueError(message)
    if is_number(gamma) and gamma <= 0:
        raise ValueError(f"gamma must be in (0, inf), got {gamma}")

    def function(u):
        phase = jnp.sqrt(2.0 * gamma) * u + math.pi / 4
        return (math.sqrt(2) * jnp.sin(phase)).astype(u.dtype)

    return _elementwise("rbf", function, duals.rbf(gamma))


def _elementwise(
    name: str, function: Callable[[Array], Array], dual: duals.Dual
) -> Layer:
    """``nngp' = dual(nngp)`` and ``ntk' = ntk slope(nngp)``."""

    def transform(kernels: Kernels) -> Kernels:
        if not kernels.gaussian:
            raise ValueError(
                f"{name} needs Gaussian inputs for its kernel: put dense or conv "
                "right before it"
            )
        pixels = pixel_axes(kernels)
        nngp, slope = dual(*gaussians(kernels))

        def own(covariance):
            if covariance is None:
                return None
            v = own_variances(covariance, pixels)
            if pixels == 4:
                v1 = jnp.expand_dims(v, (-3, -1))
                return dual(covariance, v1, jnp.expand_dims(v, (-4, -2)))[0]
            return dual(v, v, v)[0]

        return replace(
            kernels,
            nngp=nngp,
            ntk=None if kernels.ntk is None else kernels.ntk * slope,
            own1=own(kernels.own1),
            own2=own(kernels.own2),
            gaussian=False,
            independent=(False,) * len(kernels.independent),
        )

    return without_parameters(function, transform)


def _not_finite(name, value):
    if is_number(value) and not math.isfinite(value):
        return f"{name} must be finite, got {value}"
    return ""
