"""What a layer is: a network of finite width, and its kernels at infinite width."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.ntk.infinite.kernels import (
    Kernels,
    begin,
    folded,
    pixel_axes,
    same_pixels,
    unfolded,
)
from jaxdl.ntk.infinite.pairs import branches_of, map_branches, pair_by_pair
from jaxdl.types import Array, Params

Branches = Any
"""`Kernels`, or a tuple of them between `fan_out` and `fan_in_sum`."""


class Layer(NamedTuple):
    """A layer, or layers put together: ``init, apply, kernel = layer``.

    Attributes:
        init: ``init(key, input_shape, dtype=float) -> params``; the shape is that of
            one example.
        apply: ``apply(params, x, *, key=None) -> y`` of one example; without a key
            nothing is dropped.
        kernel: ``kernel(x1, x2=None) -> Kernels`` of two batches ``(n, ...)`` or one;
            or ``kernel(kernels) -> Kernels`` of those of the layers before. One made
            by hand gets the latter only; it should change them by
            ``dataclasses.replace``, and ``own1`` and ``own2`` may be None.
    """

    init: Callable[..., Params]
    apply: Callable[..., Any]
    kernel: Callable[..., Any]


@dataclass(frozen=True)
class KernelFunction:
    """The ``kernel`` of a `Layer`, with what `jaxdl.ntk.infinite.serial` asks it.

    Attributes:
        transform: ``transform(kernels, pixel_pairs) -> kernels``; the second argument
            says whether layers that follow need the covariances of different pixels.
        needs_pixel_pairs: From that to whether this layer needs them.
        flattens: Whether an image is flattened before anything else.
    """

    transform: Callable[[Branches, bool], Branches]
    needs_pixel_pairs: Callable[[bool], bool]
    flattens: bool = False

    def __call__(self, x1: Any, x2: Any = None) -> Any:
        """Kernels of two batches, or of what the layers before hand on.

        Raises:
            ValueError: If ``x1`` are kernels and ``x2`` is not None.
        """
        if _are_kernels(x1):
            if x2 is not None:
                raise ValueError("x2 must be None where x1 are Kernels")
            x1 = map_branches(folded, x1)
            out = step(self, x1, any(pixel_axes(k) == 4 for k in branches_of(x1)))
        else:
            out = from_data(self, x1, x2)
        return map_branches(unfolded, out)


def step(kernel: Callable[..., Any], kernels: Branches, pixel_pairs: bool) -> Branches:
    """One layer's kernels, with covariances of different pixels only while needed."""
    if not isinstance(kernel, KernelFunction):
        return map_branches(folded, kernel(map_branches(unfolded, kernels)))
    if not kernel.needs_pixel_pairs(pixel_pairs):
        kernels = map_branches(same_pixels, kernels)
    out = kernel.transform(kernels, pixel_pairs)
    return out if pixel_pairs else map_branches(same_pixels, out)


def from_data(
    kernel: KernelFunction, x1: Any, x2: Any, *, matched: bool = False
) -> Branches:
    """Kernels of two batches, or of one, folded if not matched."""
    pixel_pairs = kernel.needs_pixel_pairs(False)

    def network(kernels):
        return step(kernel, kernels, False)

    if kernel.flattens:
        x1, x2 = _flat(x1), _flat(x2)
    if np.ndim(x1) == 4:
        return pair_by_pair(network, x1, x2, matched=matched, pixel_pairs=pixel_pairs)
    return network(begin(x1, x2, matched=matched))


def needs_pixel_pairs(kernel: Callable[..., Any], after: bool) -> bool:
    """Whether a layer needs the covariances of different pixels."""
    if isinstance(kernel, KernelFunction):
        return kernel.needs_pixel_pairs(after)
    return after


def without_parameters(
    function: Callable[[Array], Any],
    transform: Callable[[Kernels], Branches],
    check: Callable[[tuple[int, ...]], object] | None = None,
    needs: Callable[[bool], bool] = lambda after: after,
    flattens: bool = False,
) -> Layer:
    """A layer that draws nothing."""

    def init(key, input_shape, dtype=float):
        del key, dtype
        if check is not None:
            check(tuple(input_shape))
        return ()

    def apply(params, x, *, key=None):
        del params, key
        if check is not None:
            check(x.shape)
        return function(x)

    return Layer(
        init, apply, KernelFunction(lambda k, _: transform(k), needs, flattens)
    )


def shapes_of(out: Any) -> Any:
    """The shapes in a tuple of arrays, or the shape of one."""
    if isinstance(out, tuple | list):
        return tuple(shapes_of(o) for o in out)
    return tuple(out.shape)


def structs_of(shapes: Any, dtype: Any) -> Any:
    """Arrays without values, of these shapes."""
    if all(isinstance(side, int) for side in shapes):
        return jax.ShapeDtypeStruct(tuple(shapes), jax.dtypes.canonicalize_dtype(dtype))
    return tuple(structs_of(shape, dtype) for shape in shapes)


def _are_kernels(x):
    if isinstance(x, tuple | list):
        return len(x) > 0 and all(_are_kernels(k) for k in x)
    return isinstance(x, Kernels)


def _flat(x):
    return jnp.reshape(x, (len(x), -1)) if x is not None and np.ndim(x) == 4 else x
