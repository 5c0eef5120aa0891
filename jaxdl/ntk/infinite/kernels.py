"""The covariances that layers hand on: between examples, and within one example.

Layers see one of three arrangements of pairs of examples:

- ``"all"``: axes ``(n1, n2)``, two batches;
- ``"matched"``: axis ``(n,)``, example i of one batch with example i of the other;
- ``"folded"``: axes ``((n + 1) // 2, n + 1)``, one batch, each pair once. Row a holds
  row a of the upper triangle from column a + 1 on and, before that, row n - 1 - a of
  the upper triangle from right to left.

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
from jax import lax

from jaxdl.types import Array


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
        independent: Whether mean zero and independent of what other branches hand on.
        pairs: Which examples go together: "all", "matched" or "folded".
    """  # noqa: E501

    nngp: Array
    ntk: Array
    own1: Array | None = None
    own2: Array | None = None
    shape: tuple[int, ...] | None = field(default=None, metadata={"static": True})
    gaussian: bool = field(default=True, metadata={"static": True})
    independent: bool = field(default=False, metadata={"static": True})
    pairs: str = field(default="all", metadata={"static": True})

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
    """`inputs`, folded if there is one batch, or matched if asked for.

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
            nngp = products(*_folded_vectors(x1, len(x1)), "nm", "nm", "nm")
        else:
            nngp = _fold(products(x1, x1, "n", "m", "nm"))
        pairs = "folded"
    else:
        nngp, pairs = products(x1, x2, "n", "m", "nm"), "all"
    assert nngp is not None
    return Kernels(
        nngp, jnp.zeros_like(nngp), own1, own2, x1.shape[1:], False, False, pairs
    )


def pixel_axes(kernels: Kernels) -> int:
    """How many axes of pixels there are: 0, 2 or 4."""
    return kernels.nngp.ndim - (1 if kernels.pairs == "matched" else 2)


def each(kernels: Kernels, function, **changes) -> Kernels:
    """The same linear map of all covariances."""

    def of(array):
        return None if array is None else function(array)

    return replace(
        kernels,
        nngp=function(kernels.nngp),
        ntk=function(kernels.ntk),
        own1=of(kernels.own1),
        own2=of(kernels.own2),
        **changes,
    )


def same_pixels(kernels: Kernels) -> Kernels:
    """Without the covariances of different pixels."""
    return each(kernels, _same_pixels) if pixel_axes(kernels) == 4 else kernels


def variances(kernels: Kernels) -> tuple[Array, Array]:
    """Variances of both sides of each entry of ``nngp``, to be broadcast with it."""
    pixels = pixel_axes(kernels)
    if kernels.pairs == "folded":
        own = _diagonal(kernels.nngp)
        own = _same_pixels(own) if pixels == 4 else own
        v1, v2 = _folded_vectors(own, len(own))
    else:
        assert kernels.own1 is not None
        own2 = kernels.own1 if kernels.own2 is None else kernels.own2
        v1, v2 = own_variances(kernels.own1, pixels), own_variances(own2, pixels)
        if kernels.pairs == "all":
            v1, v2 = v1[:, None], v2[None]
    if pixels == 4:
        v1 = jnp.expand_dims(v1, (-3, -1))
        v2 = jnp.expand_dims(v2, (-4, -2))
    return v1, v2


def own_variances(own: Array, pixels: int) -> Array:
    """``(n, ...)`` variances, from an example's covariances with itself."""
    return _same_pixels(own) if pixels == 4 else own


def own_mask(kernels: Kernels) -> Array:
    """Where an entry of ``nngp`` is an example with itself; to be broadcast."""
    if kernels.pairs == "folded":
        shape = kernels.nngp.shape[:2]
        row, column = _iota(shape, 0), _iota(shape, 1)
        mask = (column == row) | (column == row + 1)
    else:
        alone = kernels.pairs == "matched" and kernels.own2 is None
        mask = jnp.full((1,) * (kernels.nngp.ndim - pixel_axes(kernels)), alone)
    return jnp.expand_dims(mask, tuple(range(-pixel_axes(kernels), 0)))


def folded(kernels: Kernels) -> Kernels:
    """Each pair once, if there is one batch with all pairs.

    Raises:
        ValueError: If it has not as many rows as columns.
    """
    if kernels.pairs != "all" or kernels.own2 is not None:
        return kernels
    nngp, ntk = kernels.nngp, kernels.ntk
    if jnp.ndim(nngp) < 2 or nngp.shape[0] != nngp.shape[1] or nngp.shape != ntk.shape:
        raise ValueError(
            "nngp and ntk must be (n, n, ...) where own2 is None, "
            f"got {jnp.shape(nngp)}, {jnp.shape(ntk)}"
        )
    return replace(kernels, nngp=_fold(nngp), ntk=_fold(ntk), own1=None, pairs="folded")


def unfolded(kernels: Kernels) -> Kernels:
    """The public arrangement of `folded` kernels; others as they are."""
    if kernels.pairs != "folded":
        return kernels
    pixels = pixel_axes(kernels)
    return replace(
        kernels,
        nngp=_unfold(kernels.nngp, pixels),
        ntk=_unfold(kernels.ntk, pixels),
        own1=_diagonal(kernels.nngp),
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


def _iota(shape, axis):
    return lax.broadcasted_iota(jnp.int32, shape, axis)


def _upper(half, rank):
    """Where `folded` rows hold row a, not row n - 1 - a, of the upper triangle."""
    shape = (half[0], half[1])
    mask = _iota(shape, 1) > _iota(shape, 0)
    return jnp.expand_dims(mask, tuple(range(2, rank)))


def _fold(full):
    n = full.shape[0]
    half = (n + 1) // 2
    none = ((0, 0),) * (full.ndim - 2)
    top = jnp.pad(full[:half], ((0, 0), (1, 0), *none))
    bottom = jnp.pad(full[n - half :][::-1, ::-1], ((0, 0), (0, 1), *none))
    return jnp.where(_upper(top.shape, full.ndim), top, bottom)


def _unfold(half, pixels):
    n = half.shape[1] - 1
    odd = n % 2
    bottom = half[::-1, :n][odd:, ::-1]
    upper = jnp.concatenate([half[:, 1:], bottom])
    lower = upper.swapaxes(0, 1)
    if pixels == 4:
        lower = lower.swapaxes(-4, -3).swapaxes(-2, -1)
    above = _iota((n, n), 0) <= _iota((n, n), 1)
    return jnp.where(jnp.expand_dims(above, tuple(range(2, half.ndim))), upper, lower)


def _diagonal(half):
    """``(n, ...)``: each example with itself."""
    n = half.shape[1] - 1

    def along(array):
        return jnp.moveaxis(jnp.diagonal(array), -1, 0)

    return jnp.concatenate([along(half[:, 1:]), along(half)[::-1][n % 2 :]])


def _folded_vectors(v, n):
    """Both sides of each pair, from ``(n, ...)``."""
    half = (n + 1) // 2
    none = ((0, 0),) * (v.ndim - 1)
    backwards = v[::-1]
    upper = _upper((half, n + 1), v.ndim + 1)
    first = jnp.where(upper, v[:half, None], backwards[:half, None])
    second = jnp.where(
        upper,
        jnp.pad(v, ((1, 0), *none))[None],
        jnp.pad(backwards, ((0, 1), *none))[None],
    )
    return first, second
