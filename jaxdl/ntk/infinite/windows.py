"""Windows that slide over images, and over pairs of pixels of two images."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax

from jaxdl.types import Array

PADDINGS = ("SAME", "VALID", "CIRCULAR")


class Windows(NamedTuple):
    """How windows lie on an image.

    Attributes:
        size: ``(height, width)`` of a window.
        strides: ``(down, right)``, between windows.
        padding: "SAME" pads with zeros, so that there is a window for each
            ``strides``-th pixel; "CIRCULAR" does so with pixels from the other side;
            "VALID" does not pad.
    """

    size: tuple[int, int]
    strides: tuple[int, int]
    padding: str


def sides(pair: Any) -> Any:
    """A sequence as a tuple; what is none as it is, for `windows_problem`."""
    return tuple(pair) if isinstance(pair, Sequence) else pair


def windows_problem(name: str, windows: Windows) -> str:
    """What is wrong with windows; empty if nothing is."""
    for which, pair in ((name, windows.size), ("strides", windows.strides)):
        if (
            not isinstance(pair, tuple)
            or len(pair) != 2
            or not all(isinstance(p, int) and p >= 1 for p in pair)
        ):
            return f"{which} must be two integers of at least 1, got {pair}"
    if windows.padding not in PADDINGS:
        return f"padding must be one of {PADDINGS}, got {windows.padding!r}"
    return ""


def slid(
    name: str, shape: tuple[int, ...] | None, windows: Windows
) -> tuple[int, int, int]:
    """Shape of one example after windows have slid over it.

    Raises:
        ValueError: If it is no image, or no window fits in.
    """
    height, width, channels = image_shape(name, shape)
    out = []
    for side, size, stride in zip((height, width), *windows[:2], strict=True):
        if windows.padding == "VALID" and size > side:
            raise ValueError(
                f"{name} windows {windows.size} must fit into images of "
                f"{height} x {width} pixels where padding is VALID"
            )
        out.append(
            (side - size) // stride + 1
            if windows.padding == "VALID"
            else -(-side // stride)
        )
    return (out[0], out[1], channels)


def image_shape(name: str, shape: tuple[int, ...] | None) -> tuple[int, int, int]:
    """The shape of one example.

    Raises:
        ValueError: If it is no image.
    """
    if shape is None or len(shape) != 3 or not all(isinstance(s, int) for s in shape):
        raise ValueError(
            f"{name} expects images (height, width, channels), got examples of shape "
            f"{'unknown' if shape is None else tuple(shape)}"
        )
    return (shape[0], shape[1], shape[2])


def padded(x: Array, axes: Sequence[Sequence[int]], windows: Windows) -> Array:
    """``x`` with the margin that the windows ask for.

    Args:
        x: Any array.
        axes: Those of the height, then those of the width; one each, or two of a pair.
        windows: Their size, strides and padding.

    Returns:
        An array; "VALID" windows fit into it.
    """
    if windows.padding == "VALID":
        return x
    margins = [(0, 0)] * x.ndim
    for group, size, stride in zip(axes, *windows[:2], strict=True):
        for axis in group:
            side = x.shape[axis]
            total = max((-(-side // stride) - 1) * stride + size - side, 0)
            margins[axis] = (total // 2, total - total // 2)
    return jnp.pad(x, margins, "wrap" if windows.padding == "CIRCULAR" else "constant")


def mean_along(x: Array, axes: Sequence[Sequence[int]], windows: Windows) -> Array:
    """Means over windows that slide along all axes of a group together.

    Of covariances of two pixels these are those of the same place in two windows, as
    in a convolution. Rows and columns are summed one after the other if that saves
    more than the pass over memory it costs.
    """
    (high, wide), (down, right) = windows.size, windows.strides
    x = padded(x, axes, windows)
    if high * wide > 9:
        x = _sum_along(x, ((axes[0], high, down),))
        x = _sum_along(x, ((axes[1], wide, right),))
    else:
        x = _sum_along(x, ((axes[0], high, down), (axes[1], wide, right)))
    return lax.optimization_barrier(x / (high * wide))


def mean_over(x: Array, axes: Sequence[Sequence[int]], windows: Windows) -> Array:
    """Means over windows that slide along each axis alone.

    Of covariances of two pixels these are those of any two places in two windows, as
    in pooling.
    """
    x = padded(x, axes, windows)
    for group, size, stride in zip(axes, *windows[:2], strict=True):
        for axis in group:
            x = _sum_along(x, (((axis,), size, stride),)) / size
    return x


def pixel_groups(pixels: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Axes of height and of width, from how many axes of pixels there are."""
    return ((-4, -3), (-2, -1)) if pixels == 4 else ((-2,), (-1,))


def _sum_along(x, groups):
    """Sum of slices of a padded array, one slice for each place in the window."""
    offsets = [()]
    for _, size, _ in groups:
        offsets = [(*before, d) for before in offsets for d in range(size)]
    total = None
    for places in offsets:
        part = x
        for (group, size, stride), d in zip(groups, places, strict=True):
            for axis in group:
                end = d + (x.shape[axis] - size) // stride * stride + 1
                part = lax.slice_in_dim(part, d, end, stride, axis % x.ndim)
        total = part if total is None else total + part
    assert total is not None
    return total


def area(size: Sequence[int]) -> int:
    """Places in a window."""
    return math.prod(size)
