"""Layer normalization and dropout."""

from dataclasses import replace

import jax
import jax.numpy as jnp
from jax import lax

from jaxdl.ntk.infinite.kernels import (
    Kernels,
    gaussians,
    is_number,
    own_mask,
    own_variances,
    pixel_axes,
    same_pixel,
)
from jaxdl.ntk.infinite.layer import KernelFunction, Layer, without_parameters
from jaxdl.types import Array, Scalar


def layer_norm(*, eps: Scalar = 1e-12) -> Layer:
    """Mean zero and variance one over the channels, at each pixel of an image.

    In the limit of many channels, which are independent Gaussian, their mean is zero
    and their variance not random::

        y = (x - mean(x)) / sqrt(var(x) + eps)
        nngp' = nngp / sqrt((v1 + eps)(v2 + eps))      ntk' the same of ntk

    Args:
        eps: Added to variances, ``>= 0``.

    Returns:
        A layer without parameters. Its ``kernel`` raises a ``ValueError`` if its
        inputs are not Gaussian.

    Raises:
        ValueError: If ``eps < 0``.

    References:
        Ba, Kiros, Hinton (2016), Layer normalization.
        https://arxiv.org/abs/1607.06450
    """
    if is_number(eps) and not eps >= 0:
        raise ValueError(f"eps must be at least 0, got {eps}")

    def function(x: Array) -> Array:
        centered = x - jnp.mean(x, -1, keepdims=True)
        variance = jnp.mean(centered * centered, -1, keepdims=True)
        return (centered * lax.rsqrt(variance + eps)).astype(x.dtype)

    def transform(kernels: Kernels) -> Kernels:
        if not kernels.gaussian:
            raise ValueError(
                "layer_norm needs Gaussian inputs for its kernel: put dense or conv "
                "right before it"
            )
        pixels = pixel_axes(kernels)
        nngp, v1, v2 = gaussians(kernels)

        def normalized(k, v1, v2):
            if k is None:
                return None
            return (k / jnp.sqrt((v1 + eps) * (v2 + eps))).astype(k.dtype)

        def own(k):
            if k is None:
                return None
            v = own_variances(k, pixels)
            if pixels == 4:
                return normalized(
                    k, jnp.expand_dims(v, (-3, -1)), jnp.expand_dims(v, (-4, -2))
                )
            return normalized(k, v, v)

        return replace(
            kernels,
            nngp=normalized(nngp, v1, v2),
            ntk=normalized(kernels.ntk, v1, v2),
            own1=own(kernels.own1),
            own2=own(kernels.own2),
        )

    return without_parameters(function, transform)


def dropout(rate: Scalar) -> Layer:
    """Keep each unit with probability ``rate``, and divide what is kept by it.

    The kernels are those at the start of training with dropout: each example has a
    mask of its own, for each unit and pixel, also where both batches hold the same
    example. So both kernels of an example with itself, at one pixel, are divided by
    ``rate``, and all others stay. In a kernel of two batches no example counts as
    itself; only the variances ``own1`` and ``own2``, which go into the activations
    that follow, grow.

    Args:
        rate: Probability to keep, in (0, 1].

    Returns:
        A layer without parameters; nothing is dropped by ``apply`` without a key.

    Raises:
        ValueError: If ``rate`` is not in (0, 1].

    References:
        Schoenholz, Gilmer, Ganguli, Sohl-Dickstein (2017), Deep information
        propagation, section 5.1. https://arxiv.org/abs/1611.01232

    Examples:
        >>> print(dropout(0.5).kernel(jnp.ones((2, 3))).nngp)
        [[2. 1.]
         [1. 2.]]
    """
    if is_number(rate) and not 0 < rate <= 1:
        raise ValueError(f"rate must be in (0, 1], got {rate}")

    def init(key, input_shape, dtype=float):
        del key, input_shape, dtype
        return ()

    def apply(params, x, *, key=None):
        del params
        if key is None:
            return x
        kept = jax.random.bernoulli(key, rate, x.shape)
        return jnp.where(kept, x / rate, 0).astype(x.dtype)

    def transform(kernels, pixel_pairs):
        del pixel_pairs
        pixels = pixel_axes(kernels)

        def grown(k, mask):
            if k is None:
                return None
            return jnp.where(mask, k / rate, k).astype(k.dtype)

        mask = own_mask(kernels)
        everywhere = jnp.ones((1,) * (1 + pixels), bool)
        if pixels == 4:
            everywhere = same_pixel(5, kernels.nngp.shape[-4:])
        return replace(
            kernels,
            nngp=grown(kernels.nngp, mask),
            ntk=grown(kernels.ntk, mask),
            own1=grown(kernels.own1, everywhere),
            own2=grown(kernels.own2, everywhere),
            gaussian=False,
        )

    return Layer(init, apply, KernelFunction(transform, lambda after: after))
