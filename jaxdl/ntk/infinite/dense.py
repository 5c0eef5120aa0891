"""Fully connected layers."""

import math
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdl.ntk.infinite.kernels import Kernels, is_number
from jaxdl.ntk.infinite.layer import KernelFunction, Layer
from jaxdl.types import Array, Scalar

PARAMETERIZATIONS = ("ntk", "standard")


class Affine(NamedTuple):
    """Parameters of a dense layer or a convolution.

    Attributes:
        weights: ``(d, k)``, or ``(height, width, c, k)`` of a filter.
        bias: ``(k,)``; None without a bias.
    """

    weights: Array
    bias: Array | None


def dense(
    width: int,
    *,
    w_std: Scalar = 1.0,
    b_std: Scalar = 0.0,
    parameterization: str = "ntk",
) -> Layer:
    """A fully connected layer on the last axis.

    With all entries of W and b standard normal, "ntk" is::

        y = w_std / sqrt(d) x W + b_std b
        nngp' = w_std^2 nngp + b_std^2
        ntk' = nngp' + w_std^2 ntk

    and "standard" has the same outputs at the start, from entries of W with standard
    deviation ``w_std / sqrt(d)`` and of b with ``b_std``, but larger gradients::

        y = x W + b
        ntk' = d nngp + 1 + w_std^2 ntk         (without the 1 if there is no bias)

    Args:
        width: Outputs k of the network of finite width, 1 or more.
        w_std: Scale of the weights, ``>= 0``.
        b_std: Scale of the biases, ``>= 0``; the number 0 means that there are none.
        parameterization: "ntk" or "standard".

    Returns:
        A layer with parameters `Affine`. On images it acts at each pixel.

    Raises:
        ValueError: If a number is out of its domain, or the parameterization unknown.

    References:
        Jacot, Gabriel, Hongler (2018), Neural tangent kernel: convergence and
        generalization in neural networks. https://arxiv.org/abs/1806.07572

    Examples:
        >>> print(dense(4, w_std=2.0, b_std=1.0).kernel(jnp.eye(2)).ntk)
        [[3. 1.]
         [1. 3.]]
    """
    if message := affine_problem("width", width, w_std, b_std, parameterization):
        raise ValueError(message)

    def init(key, input_shape, dtype=float):
        if len(input_shape) < 1 or not isinstance(input_shape[-1], int):
            raise ValueError(f"dense expects one input (..., d), got {input_shape}")
        shape = (input_shape[-1], width)
        return draw(key, shape, w_std, b_std, parameterization, dtype)

    def apply(params, x, *, key=None):
        del key
        weights, bias = scaled(params, w_std, b_std, parameterization)
        return add_bias(x @ weights, bias)

    def transform(kernels, pixel_pairs):
        del pixel_pairs
        shape = kernels.shape
        kernels = replace(kernels, shape=(*(shape or (0,))[:-1], width))
        fan_in = shape[-1] if shape else None
        return affine(kernels, lambda k: k, fan_in, w_std, b_std, parameterization)

    return Layer(init, apply, KernelFunction(transform, lambda after: after))


def affine_problem(name, width, w_std, b_std, parameterization) -> str:
    """What is wrong with a layer's numbers; empty if nothing is."""
    if not isinstance(width, int) or width < 1:
        return f"{name} must be an integer of at least 1, got {width}"
    for which, std in (("w_std", w_std), ("b_std", b_std)):
        if is_number(std) and not 0 <= std < math.inf:
            return f"{which} must be in [0, inf), got {std}"
    if parameterization not in PARAMETERIZATIONS:
        return (
            f"parameterization must be one of {PARAMETERIZATIONS}, "
            f"got {parameterization!r}"
        )
    return ""


def has_bias(b_std: Scalar) -> bool:
    """A traced scale has a bias, whatever its value."""
    return not (is_number(b_std) and b_std == 0)


def draw(key, shape, w_std, b_std, parameterization, dtype) -> Affine:
    """Parameters of weights ``(..., fan_in, k)``."""
    weight_key, bias_key = jax.random.split(key)
    weights = jax.random.normal(weight_key, shape, dtype)
    bias = jax.random.normal(bias_key, shape[-1:], dtype) if has_bias(b_std) else None
    if parameterization == "standard":
        return _times(Affine(weights, bias), w_std, b_std)
    return Affine(weights, bias)


def scaled(params: Affine, w_std, b_std, parameterization) -> Affine:
    """The weights and biases that multiply and add to the inputs."""
    return _times(params, w_std, b_std) if parameterization == "ntk" else params


def add_bias(y: Array, bias: Array | None) -> Array:
    """``y + bias`` on the last axis."""
    return y if bias is None else y + jnp.broadcast_to(bias, y.shape)


def affine(
    kernels: Kernels, mean, fan_in, w_std, b_std, parameterization: str
) -> Kernels:
    """Kernels after weights and biases; ``mean`` averages over a filter.

    Raises:
        ValueError: If the standard parameterization does not know ``fan_in``.
    """
    bias = b_std**2 if has_bias(b_std) else 0

    def after(k):
        return None if k is None else _cast(w_std**2 * mean(k) + bias, k.dtype)

    nngp = after(kernels.nngp)
    if parameterization == "ntk":
        ntk = nngp
        if kernels.ntk is not None:
            ntk = nngp + w_std**2 * mean(kernels.ntk)
    elif fan_in is None:
        raise ValueError(
            "the standard parameterization needs the width of the layer before: "
            "begin with arrays, or give Kernels their shape"
        )
    else:
        ntk = fan_in * kernels.nngp
        if kernels.ntk is not None:
            ntk = ntk + w_std**2 * kernels.ntk
        ntk = mean(ntk) + int(has_bias(b_std))
    return replace(
        kernels,
        nngp=nngp,
        ntk=_cast(ntk, kernels.nngp.dtype),
        own1=after(kernels.own1),
        own2=after(kernels.own2),
        gaussian=True,
        independent=(True,) * len(kernels.independent),
    )


def _times(params: Affine, w_std, b_std) -> Affine:
    weights, bias = params
    fan_in = math.prod(weights.shape[:-1])
    weights = _cast(w_std / math.sqrt(fan_in) * weights, weights.dtype)
    if bias is not None:
        bias = _cast(b_std * bias, bias.dtype)
    return Affine(weights, bias)


def _cast(array: Any, dtype: Any) -> Array:
    return jnp.asarray(array).astype(dtype)
