"""The covariances that layers hand on: between examples, and within one example.

Layers see one of three arrangements of pairs of examples:

- ``"all"``: axes ``(n1, n2)``, two batches;
- ``"matched"``: axis ``(n,)``, example i of one batch with example i of the other;
- ``"folded"``: axes ``((n + 1) // 2, n + 1)``, one batch, each pair once: see
  `jaxdl.ntk.infinite.folding`.

After these come the axes of pixels: none; ``(height, width)``, the same pixel of both
images; or ``(height, height, width, width)``, each pixel of the first image with each
of the second.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp

from jaxdl.ntk.infinite.folding import (
    diagonal_of,
    fold,
    folded_pairs,
    iota,
    on_diagonal,
    unfold,
)
from jaxdl.types import Array


@dataclass(eq=False)
class Variances:
    """Of one computation, layer by layer, in the order in which layers ask for them.

    Attributes:
        kept: ``(n, ...)`` variances of examples, for `given` of a later computation.
        given: Variances of the first and of the second example of each pair; None if
            they are to be found, and kept.
        same: ``(n,)`` whether a pair is an example with itself; None if none is.
    """

    kept: list[Array] = field(default_factory=list)
    given: Iterator[tuple[Array, Array]] | None = None
    same: Array | None = None


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Kernels:
    """Covariance and tangent kernel of one layer's outputs; unpacks like a pair.

    With outputs f and parameters theta, per channel and in the limit of many::

        nngp[i, j] = E f(x1_i) f(x2_j)      ntk[i, j] = E df(x1_i)/dtheta . df(x2_j)/dtheta

    The other fields are what the layers that follow need. ``Kernels(nngp, ntk)`` alone
    are taken for those of one batch, flat and Gaussian.

    Attributes:
        nngp: ``(n1, n2)``; for images ``(n1, n2, h, w)``, the same pixel of both, or
            ``(n1, n2, h, h, w, w)``, any two pixels.
        ntk: Same shape.
        own1: The first batch's examples with themselves: ``nngp`` with one ``n1`` axis.
        own2: The same of the second batch; None if there is one batch only.
        shape: Of one example of finite width, channels last; None if not known.
        gaussian: Whether the channels are independent Gaussian: then an activation
            may follow.
        independent: Whether mean zero and independent of what else comes from each
            `fan_out` this layer lies behind, the first of them first.
        pairs: Which examples go together: "all", "matched" or "folded".
        variances: Where those of earlier layers are kept; inside of a computation only.
    """  # noqa: E501

    nngp: Array
    ntk: Array
    own1: Array | None = None
    own2: Array | None = None
    shape: tuple[int, ...] | None = field(default=None, metadata={"static": True})
    gaussian: bool = field(default=True, metadata={"static": True})
    independent: tuple[bool, ...] = field(default=(False,), metadata={"static": True})
    pairs: str = field(default="all", metadata={"static": True})
    variances: Variances | None = field(default=None, metadata={"static": True})

    def __iter__(self) -> Iterator[Array]:
        """So that ``nngp, ntk = kernels``."""
        return iter((self.nngp, self.ntk))


def inputs(x1: Any, x2: Any = None, *, pixel_pairs: bool = False) -> Kernels:
    """The kernels of the data themselves: ``nngp = x1 . x2 / channels``, no tangents.

    For a network put together by hand, layer by layer; ``kernel(x1, x2)`` of a layer
    begins with it.

    Args:
        x1: ``(n1, d)`` vectors or ``(n1, h, w, c)`` images.
        x2: ``(n2, ...)`` of the same shape, or None for ``x1`` again.
        pixel_pairs: Whether to keep the covariances of different pixels, as pooling
            needs them.

    Returns:
        Kernels in the dtype of the inputs; integers become the default float. A
        ``ValueError`` is raised if the shapes are none of these, or differ.

    Examples:
        >>> print(inputs(jnp.array([[1.0, 2.0], [0.0, 4.0]])).nngp)
        [[2.5 4. ]
         [4.  8. ]]
    """
    return unfolded(begin(x1, x2, pixel_pairs=pixel_pairs))


def begin(
    x1: Any, x2: Any = None, *, pixel_pairs: bool = False, matched: bool = False
) -> Kernels:
    """`inputs`, folded if there is one batch, or matched if asked for."""
    x1, x2 = batches(x1, x2, matched=matched)
    image = x1.ndim == 4
    pixels = ("hw", "ij", "hiwj") if pixel_pairs else ("hw", "hw", "hw")
    first, second, out = pixels if image else ("", "", "")

    def products(x, y, a, b, ab):
        formula = f"{a}{first}c,{b}{second}c->{ab}{out}"
        return jnp.einsum(formula, x, y, precision="highest") / x1.shape[-1]

    own1 = None if x2 is None and not matched else products(x1, x1, "n", "n", "n")
    own2 = None if x2 is None else products(x2, x2, "n", "n", "n")
    if matched:
        nngp = own1 if x2 is None else products(x1, x2, "n", "n", "n")
        pairs = "matched"
    elif x2 is None:
        if image and pixel_pairs:
            nngp = products(*folded_pairs(x1), "nm", "nm", "nm")
        else:
            nngp = fold(products(x1, x1, "n", "m", "nm"))
        pairs = "folded"
    else:
        nngp, pairs = products(x1, x2, "n", "m", "nm"), "all"
    return data_kernels(nngp, x1.shape[1:], pairs, own1=own1, own2=own2)


def batches(x1: Any, x2: Any, *, matched: bool) -> tuple[Array, Array | None]:
    """Both batches, checked, in one dtype.

    Raises:
        ValueError: If the shapes do not fit.
    """
    x1 = _batch("x1", x1)
    if x2 is not None:
        x2 = _batch("x2", x2)
        if x1.shape[1:] != x2.shape[1:]:
            raise ValueError(
                f"x1 and x2 must hold examples of one shape, got {x1.shape}, {x2.shape}"
            )
        if matched and len(x1) != len(x2):
            raise ValueError(
                "x1 and x2 must have as many examples for their diagonal, "
                f"got {len(x1)}, {len(x2)}"
            )
        dtype = jnp.result_type(x1, x2)
        x1, x2 = x1.astype(dtype), x2.astype(dtype)
    return x1, x2


def data_kernels(nngp: Any, shape: tuple[int, ...], pairs: str, **rest) -> Kernels:
    """Kernels before the first layer: ``ntk`` is None, for zero."""
    nothing: Any = None
    return Kernels(
        nngp,
        nothing,
        shape=shape,
        gaussian=False,
        pairs=pairs,
        **rest,
    )


def pixel_axes(kernels: Kernels) -> int:
    """How many axes of pixels there are: 0, 2 or 4."""
    return kernels.nngp.ndim - (1 if kernels.pairs == "matched" else 2)


def each(kernels: Kernels, function, **changes) -> Kernels:
    """The same linear map of all covariances."""
    parts = {name: getattr(kernels, name) for name in ("nngp", "ntk", "own1", "own2")}
    mapped = {k: None if a is None else function(a) for k, a in parts.items()}
    return replace(kernels, **mapped, **changes)


def same_pixels(kernels: Kernels) -> Kernels:
    """Without the covariances of different pixels."""
    return each(kernels, _same_pixels) if pixel_axes(kernels) == 4 else kernels


def gaussians(kernels: Kernels) -> tuple[Array, Array, Array]:
    """Covariances, and variances of both sides of each, which broadcast with them."""
    pixels, covariances = pixel_axes(kernels), kernels.nngp
    memory = kernels.variances
    if memory is not None and memory.given is not None:
        v1, v2 = next(memory.given)
    elif kernels.pairs == "folded":
        own = own_variances(diagonal_of(covariances), pixels)
        v1, v2 = folded_pairs(own)
    else:
        assert kernels.own1 is not None
        v1 = v2 = own_variances(kernels.own1, pixels)
        if memory is not None:
            memory.kept.append(v1)
        if kernels.own2 is not None:
            v2 = own_variances(kernels.own2, pixels)
        if kernels.pairs == "all":
            v1, v2 = v1[:, None], v2[None]
    if pixels == 4:
        v1 = jnp.expand_dims(v1, (-3, -1))
        v2 = jnp.expand_dims(v2, (-4, -2))
    if memory is not None and memory.same is not None:
        covariances = jnp.where(own_mask(kernels), v1, covariances)
    return covariances, v1, v2


def own_variances(own: Array, pixels: int) -> Array:
    """``(n, ...)`` variances, from an example's covariances with itself."""
    return _same_pixels(own) if pixels == 4 else own


def own_mask(kernels: Kernels) -> Array:
    """Where ``nngp`` is of an example with itself, at one pixel; to be broadcast."""
    pixels, shape = pixel_axes(kernels), kernels.nngp.shape
    memory = kernels.variances
    if kernels.pairs == "folded":
        mask = on_diagonal(shape[:2])
    elif memory is not None and memory.given is not None:
        mask = jnp.zeros((1,), bool) if memory.same is None else memory.same
    else:
        alone = kernels.pairs == "matched" and kernels.own2 is None
        mask = jnp.full((1,) * (len(shape) - pixels), alone)
    mask = jnp.expand_dims(mask, tuple(range(mask.ndim, mask.ndim + pixels)))
    return mask & same_pixel(mask.ndim, shape[-4:]) if pixels == 4 else mask


def same_pixel(rank: int, shape: tuple[int, ...]) -> Array:
    """``(..., h, h, w, w)``: True where both pixels are one."""
    shape = (*(1,) * (rank - 4), *shape)
    h, h2, w, w2 = (iota(shape, rank - i) for i in (4, 3, 2, 1))
    return (h == h2) & (w == w2)


def folded(kernels: Kernels) -> Kernels:
    """Each pair once, if there is one batch with all pairs.

    Raises:
        ValueError: If it has not as many rows as columns.
    """
    if kernels.pairs != "all" or kernels.own2 is not None:
        return kernels
    nngp, ntk = kernels
    if jnp.ndim(nngp) < 2 or nngp.shape[0] != nngp.shape[1] or nngp.shape != ntk.shape:
        raise ValueError(
            "nngp and ntk must be (n, n, ...) where own2 is None, "
            f"got {jnp.shape(nngp)}, {jnp.shape(ntk)}"
        )
    return replace(kernels, nngp=fold(nngp), ntk=fold(ntk), own1=None, pairs="folded")


def unfolded(kernels: Kernels) -> Kernels:
    """The public arrangement of `folded` kernels; others as they are."""
    if kernels.ntk is None:
        kernels = replace(kernels, ntk=jnp.zeros_like(kernels.nngp))
    if kernels.pairs != "folded":
        return kernels
    pixels = pixel_axes(kernels)
    return replace(
        kernels,
        nngp=unfold(kernels.nngp, pixels),
        ntk=unfold(kernels.ntk, pixels),
        own1=diagonal_of(kernels.nngp),
        pairs="all",
    )


def is_number(value: Any) -> bool:
    """Whether ``value`` is a Python number, which may be checked."""
    return isinstance(value, float | int)


def _batch(name, x):
    x = jnp.asarray(x)
    if x.ndim not in (2, 4) or math.prod(x.shape) == 0:
        raise ValueError(
            f"{name} must be (n, d) vectors or (n, height, width, channels) images, "
            f"got shape {x.shape}"
        )
    if jnp.issubdtype(x.dtype, jnp.complexfloating):
        raise ValueError(f"{name} must be real, got {x.dtype}")
    return x if jnp.issubdtype(x.dtype, jnp.floating) else x.astype(float)


def _same_pixels(array):
    array = jnp.diagonal(array, axis1=-4, axis2=-3)  # (..., w, w, h)
    return jnp.diagonal(array, axis1=-3, axis2=-2)
