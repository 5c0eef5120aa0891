"""Convolutions of images, channels last."""

from collections.abc import Sequence
from dataclasses import replace

from jax import lax

from jaxdl.ntk.infinite.dense import (
    add_bias,
    affine,
    affine_problem,
    draw,
    scaled,
)
from jaxdl.ntk.infinite.kernels import pixel_axes
from jaxdl.ntk.infinite.layer import KernelFunction, Layer
from jaxdl.ntk.infinite.windows import (
    Windows,
    area,
    image_shape,
    mean_along,
    padded,
    pixel_groups,
    sides,
    slid,
    windows_problem,
)
from jaxdl.types import Scalar


def conv(
    channels: int,
    filter_shape: Sequence[int],
    *,
    strides: Sequence[int] = (1, 1),
    padding: str = "SAME",
    w_std: Scalar = 1.0,
    b_std: Scalar = 0.0,
    parameterization: str = "ntk",
) -> Layer:
    """A convolution of images ``(height, width, channels)``.

    With standard normal filters W, one a pair of channels, F places in a filter, and c
    channels before, at place p::

        y[p] = w_std / sqrt(F c) sum_d x[p + d] W[d] + b_std b
        nngp'[p, q] = w_std^2 / F sum_d nngp[p + d, q + d] + b_std^2
        ntk'[p, q] = nngp'[p, q] + w_std^2 / F sum_d ntk[p + d, q + d]

    The covariance of a place of one image with the same place of another comes from
    the same of the layer before, so that ``p = q`` is all there is unless pooling
    follows; see `jaxdl.ntk.infinite.serial`.

    Args:
        channels: Outputs of the network of finite width, 1 or more.
        filter_shape: ``(height, width)`` of a filter.
        strides: Pixels from one place to the next, down and right.
        padding: "SAME" pads with zeros; "CIRCULAR" takes pixels from the other side
            where "SAME" pads; "VALID" has filters inside of the image only. Zeros
            count as places: F stays the same.
        w_std: Scale of the weights, ``>= 0``.
        b_std: Scale of the biases, ``>= 0``; the number 0 means that there are none.
        parameterization: "ntk", or "standard", as in `jaxdl.ntk.infinite.dense` with
            ``d = F c``.

    Returns:
        A layer with parameters `jaxdl.ntk.infinite.Affine`. Its functions raise a
        ``ValueError`` if the inputs are no images or a "VALID" filter does not fit.

    Raises:
        ValueError: If a number is out of its domain, or a name unknown.

    References:
        Novak, Xiao, Lee, Bahri, Yang, Hron, Abolafia, Pennington, Sohl-Dickstein
        (2019), Bayesian deep convolutional networks with many channels are Gaussian
        processes. https://arxiv.org/abs/1810.05148
        Arora, Du, Hu, Li, Salakhutdinov, Wang (2019), On exact computation with an
        infinitely wide neural net. https://arxiv.org/abs/1904.11955

    Examples:
        >>> import jax.numpy as jnp
        >>> kernels = conv(8, (3, 3), w_std=3.0).kernel(jnp.ones((1, 2, 4, 1)))
        >>> print(kernels.nngp[0, 0].round(2))
        [[4. 6. 6. 4.]
         [4. 6. 6. 4.]]
    """
    windows = Windows(sides(filter_shape), sides(strides), padding)  # pyright: ignore[reportArgumentType]
    problem = affine_problem("channels", channels, w_std, b_std, parameterization)
    if message := problem or windows_problem("filter_shape", windows):
        raise ValueError(message)

    def init(key, input_shape, dtype=float):
        slid("conv", input_shape, windows)
        shape = (*windows.size, input_shape[-1], channels)
        return draw(key, shape, w_std, b_std, parameterization, dtype)

    def apply(params, x, *, key=None):
        del key
        slid("conv", x.shape, windows)
        weights, bias = scaled(params, w_std, b_std, parameterization)
        y = lax.conv_general_dilated(
            padded(x, ((0,), (1,)), windows)[None],
            weights,
            windows.strides,
            "VALID",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        return add_bias(y[0], bias)

    def transform(kernels, pixel_pairs):
        del pixel_pairs
        fan_in = area(windows.size) * image_shape("conv", kernels.shape)[2]
        height, width, _ = slid("conv", kernels.shape, windows)
        groups = pixel_groups(pixel_axes(kernels))
        kernels = affine(
            kernels,
            lambda k: mean_along(k, groups, windows),
            fan_in,
            w_std,
            b_std,
            parameterization,
        )
        return replace(kernels, shape=(height, width, channels))

    return Layer(init, apply, KernelFunction(transform, lambda after: after))
