"""From images to smaller images and to vectors."""

import math
from collections.abc import Sequence

import jax.numpy as jnp

from jaxdl.ntk.infinite.kernels import Kernels, each, pixel_axes
from jaxdl.ntk.infinite.layer import Layer, without_parameters
from jaxdl.ntk.infinite.windows import (
    Windows,
    image_shape,
    mean_over,
    pixel_groups,
    sides,
    slid,
    windows_problem,
)


def flatten() -> Layer:
    """An image as one vector; a vector as it is.

    The kernels are means over pixels, each with the same pixel of the other image, so
    that those of different pixels are not computed for it.

    Returns:
        A layer without parameters.

    Examples:
        >>> print(flatten().kernel(jnp.ones((1, 2, 2, 3))).nngp)
        [[1.]]
    """

    def transform(kernels: Kernels) -> Kernels:
        if pixel_axes(kernels) == 0:
            return kernels
        return each(
            kernels,
            lambda k: jnp.mean(k, (-2, -1)),
            shape=(math.prod(image_shape("flatten", kernels.shape)),),
            gaussian=False,
        )

    return without_parameters(
        jnp.ravel, transform, needs=lambda _: False, flattens=True
    )


def global_avg_pool() -> Layer:
    """The mean over the pixels of an image, a channel at a time.

    The kernels are means over all pairs of pixels, which the layers before must
    compute: see `jaxdl.ntk.infinite.serial`.

    Returns:
        A layer without parameters. Its functions raise a ``ValueError`` if the inputs
        are no images.
    """

    def transform(kernels: Kernels) -> Kernels:
        shape = _image_with_pairs("global_avg_pool", kernels)
        return each(kernels, lambda k: jnp.mean(k, (-4, -3, -2, -1)), shape=shape[2:])

    return without_parameters(
        lambda x: jnp.mean(x, (0, 1)),
        transform,
        check=lambda shape: image_shape("global_avg_pool", shape),
        needs=lambda _: True,
    )


def avg_pool(
    window: Sequence[int],
    *,
    strides: Sequence[int] | None = None,
    padding: str = "VALID",
) -> Layer:
    """Means over windows of an image, a channel at a time.

    Args:
        window: ``(height, width)``.
        strides: Pixels from one window to the next, down and right; None for windows
            side by side.
        padding: "VALID", "SAME" or "CIRCULAR", as in `jaxdl.ntk.infinite.conv`. The
            zeros of "SAME" count in the mean.

    Returns:
        A layer without parameters. Its functions raise a ``ValueError`` if the inputs
        are no images or a "VALID" window does not fit.

    Raises:
        ValueError: If a number is out of its domain, or the padding unknown.

    Examples:
        >>> x = jnp.arange(8.0).reshape(2, 4, 1)
        >>> print(avg_pool((2, 2)).apply((), x)[..., 0])
        [[2.5 4.5]]
    """
    size = sides(window)
    windows = Windows(size, size if strides is None else sides(strides), padding)  # pyright: ignore[reportArgumentType]
    if message := windows_problem("window", windows):
        raise ValueError(message)

    def transform(kernels: Kernels) -> Kernels:
        shape = slid("avg_pool", _image_with_pairs("avg_pool", kernels), windows)
        groups = pixel_groups(4)
        return each(kernels, lambda k: mean_over(k, groups, windows), shape=shape)

    return without_parameters(
        lambda x: mean_over(x, ((0,), (1,)), windows),
        transform,
        check=lambda shape: slid("avg_pool", shape, windows),
        needs=lambda _: True,
    )


def _image_with_pairs(name, kernels):
    shape = image_shape(name, kernels.shape)
    if pixel_axes(kernels) != 4:
        raise ValueError(
            f"{name} needs the covariances of different pixels: put all layers "
            "together with serial, or begin with inputs(x1, x2, pixel_pairs=True)"
        )
    return shape
