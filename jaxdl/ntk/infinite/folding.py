"""One batch with itself: each pair of examples once, in half of the matrix.

Row a of ``((n + 1) // 2, n + 1)`` holds row a of the upper triangle from column a + 1
on and, before that, row n - 1 - a of the upper triangle from right to left. In a matrix
of odd size the middle row is there twice.
"""

import jax.numpy as jnp
from jax import lax

from jaxdl.types import Array


def fold(full: Array) -> Array:
    """From ``(n, n, ...)``; what is below the diagonal is not looked at."""
    n = full.shape[0]
    half = (n + 1) // 2
    none = ((0, 0),) * (full.ndim - 2)
    top = jnp.pad(full[:half], ((0, 0), (1, 0), *none))
    bottom = jnp.pad(full[n - half :][::-1, ::-1], ((0, 0), (0, 1), *none))
    return jnp.where(_upper(top.shape, full.ndim), top, bottom)


def unfold(half: Array, pixels: int) -> Array:
    """To ``(n, n, ...)``, symmetric also under exchange of four axes of pixels."""
    n = half.shape[1] - 1
    odd = n % 2
    bottom = half[::-1, :n][odd:, ::-1]
    upper = jnp.concatenate([half[:, 1:], bottom])
    lower = upper.swapaxes(0, 1)
    if pixels == 4:
        lower = lower.swapaxes(-4, -3).swapaxes(-2, -1)
    above = iota((n, n), 0) <= iota((n, n), 1)
    return jnp.where(jnp.expand_dims(above, tuple(range(2, half.ndim))), upper, lower)


def diagonal_of(half: Array) -> Array:
    """``(n, ...)``: each example with itself."""
    n = half.shape[1] - 1

    def along(array):
        return jnp.moveaxis(jnp.diagonal(array), -1, 0)

    return jnp.concatenate([along(half[:, 1:]), along(half)[::-1][n % 2 :]])


def folded_pairs(v: Array) -> tuple[Array, Array]:
    """Both sides of each folded pair, from ``(n, ...)``."""
    n = len(v)
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


def _upper(half, rank):
    """Where `folded` rows hold row a, not row n - 1 - a, of the upper triangle."""
    shape = (half[0], half[1])
    mask = iota(shape, 1) > iota(shape, 0)
    return jnp.expand_dims(mask, tuple(range(2, rank)))


def on_diagonal(half: tuple[int, ...]) -> Array:
    """``half``: True for an example with itself."""
    row, column = iota(half, 0), iota(half, 1)
    return (column == row) | (column == row + 1)


def iota(shape: tuple[int, ...], axis: int) -> Array:
    """The index along one axis."""
    return lax.broadcasted_iota(jnp.int32, shape, axis)
