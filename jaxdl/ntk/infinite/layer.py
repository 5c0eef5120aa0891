"""What a layer is: a network of finite width, and its kernels at infinite width."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax

from jaxdl.ntk.infinite.kernels import (
    Kernels,
    begin,
    folded,
    pixel_axes,
    same_pixels,
    unfolded,
)
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
            or ``kernel(kernels) -> Kernels`` of those of the layers before.
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
    """

    transform: Callable[[Branches, bool], Branches]
    needs_pixel_pairs: Callable[[bool], bool]

    def __call__(self, x1: Any, x2: Any = None) -> Any:
        """Kernels of two batches, or of what the layers before hand on.

        Raises:
            ValueError: If ``x1`` are kernels and ``x2`` is not None.
        """
        if _are_kernels(x1):
            if x2 is not None:
                raise ValueError("x2 must be None where x1 are Kernels")
            x1 = _map(folded, x1)
            out = step(self, x1, any(pixel_axes(k) == 4 for k in _leaves(x1)))
        else:
            needed = self.needs_pixel_pairs(False)
            out = step(self, begin(x1, x2, pixel_pairs=needed), False)
        return _map(unfolded, out)


def step(kernel: Callable[..., Any], kernels: Branches, pixel_pairs: bool) -> Branches:
    """One layer's kernels, with covariances of different pixels only while needed."""
    if not isinstance(kernel, KernelFunction):
        return _map(folded, kernel(_map(unfolded, kernels)))
    if not kernel.needs_pixel_pairs(pixel_pairs):
        kernels = _map(same_pixels, kernels)
    out = kernel.transform(kernels, pixel_pairs)
    return out if pixel_pairs else _map(same_pixels, out)


def needs_pixel_pairs(kernel: Callable[..., Any], after: bool) -> bool:
    """Whether a layer needs the covariances of different pixels."""
    if isinstance(kernel, KernelFunction):
        return kernel.needs_pixel_pairs(after)
    return after


def without_parameters(
    function: Callable[[Array], Any],
    transform: Callable[[Kernels], Branches],
    check: Callable[[tuple[int, ...]], object] = lambda _: None,
    needs: Callable[[bool], bool] = lambda after: after,
) -> Layer:
    """A layer that draws nothing."""

    def init(key, input_shape, dtype=float):
        del key, dtype
        check(tuple(input_shape))
        return ()

    def apply(params, x, *, key=None):
        del params, key
        check(x.shape)
        return function(x)

    return Layer(init, apply, KernelFunction(lambda k, _: transform(k), needs))


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


def _leaves(kernels):
    return jax.tree.leaves(kernels, is_leaf=lambda k: isinstance(k, Kernels))


def _map(function, kernels):
    if isinstance(kernels, Kernels):
        return function(kernels)
    return tuple(_map(function, k) for k in kernels)
