"""Orthonormal bases grown one product at a time: the Lanczos process.

The rows of a basis Q are orthogonalized in full, twice, so that no eigenvalue appears
more often than it is there.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdl.types import Array

Matvec = Callable[[Array], Array]
"""From ``(p,)`` to ``(p,)``, symmetric."""


_BLOCK = 4
"""Rows to orthogonalize against at a time."""


class Basis(NamedTuple):
    """Orthonormal rows Q and the projection Q A Q^T on them.

    The first ``filled`` rows have been multiplied by A. If the coupling is not zero the
    next row is where A leads from them; all others are zero.
    """

    rows: Array  # (m + 1, p)
    projected: Array  # (m, m), zero outside the filled rows
    filled: Array  # () int32
    coupling: Array  # () norm of what A leads from the filled rows to the next
    scale: Array  # () the largest |A q| so far; not finite if A is not


def begin(p: int, m: int, dtype: Any) -> Basis:
    """A basis for up to m rows, of which none is filled.

    Args:
        p: Length of a row.
        m: How many rows, ``1..p``.
        dtype: Of the rows.

    Returns:
        The basis.
    """
    zero = jnp.zeros((), dtype)
    rows, projected = jnp.zeros((m + 1, p), dtype), jnp.zeros((m, m), dtype)
    return Basis(rows, projected, jnp.zeros((), jnp.int32), zero, zero)


def extend(matvec: Matvec, basis: Basis, fresh: Callable[[Array], Array]) -> Basis:
    """Fill one more row.

    Where only rounding is left of the product, the filled rows span an invariant space,
    and the coupling becomes zero.

    Args:
        matvec: Multiplies by A.
        basis: With fewer than m rows filled.
        fresh: From the number of filled rows to ``(p,)``, such as a random vector: the
            next row is its part outside the filled ones, if the coupling is zero.

    Returns:
        The basis with one more row filled.
    """
    j = basis.filled

    def start_anew():
        _, outside = orthogonalize(basis.rows, normalize(fresh(j)))
        row = normalize(outside)
        return row, jnp.zeros_like(row)

    def go_on():
        return basis.rows[j], basis.rows[jnp.maximum(j - 1, 0)]

    row, before = jax.lax.cond(basis.coupling == 0, start_anew, go_on)
    rows = basis.rows.at[j].set(row)
    image = matvec(row)
    # Between restarts all components but those along the last two rows are rounding:
    # so these go first, and one pass over all is enough if it takes little more away.
    along = jnp.sum(row * image)
    rest = image - along * row - basis.coupling * before
    size = norm(rest)
    coefficients, rest = _pass_over(rows, rest, j + 1)
    more, rest = _pass_over(rows, rest, jnp.where(norm(rest) < 0.7 * size, j + 1, 0))
    coefficients = (coefficients + more).at[j].add(along)
    coefficients = coefficients.at[jnp.maximum(j - 1, 0)].add(basis.coupling)[:-1]
    projected = basis.projected.at[j].set(coefficients).at[:, j].set(coefficients)
    scale = jnp.maximum(basis.scale, norm(image))
    length = norm(rest)
    closed = length <= 16 * jnp.finfo(rest.dtype).eps * scale
    following = jnp.where(closed, 0, rest / jnp.where(closed, 1, length))
    coupling = jnp.where(closed, 0, length)
    rows = rows.at[j + 1].set(following)
    return Basis(rows, projected, j + 1, coupling, scale)


def krylov(matvec: Matvec, start: Array, m: int) -> Basis:
    """The space of ``start``, A ``start``, A^2 ``start``, ... up to m dimensions.

    Args:
        matvec: Multiplies by A.
        start: ``(p,)``.
        m: The most rows, ``1..p``; fewer are filled if the space is invariant.

    Returns:
        The basis.
    """

    def more(basis):
        return (basis.filled < m) & ((basis.filled == 0) | (basis.coupling > 0))

    def step(basis):
        return extend(matvec, basis, lambda _: start)

    return jax.lax.while_loop(more, step, begin(start.size, m, start.dtype))


def quadrature(basis: Basis) -> tuple[Array, Array]:
    """Eigenvalues and eigenvectors of the projection, for functions of A.

    With q the first row, ``<q, f(A) q>`` is about ``sum(s[0]^2 f(nodes))``, exactly for
    polynomials f of degree below twice the filled rows.

    Args:
        basis: From `krylov`.

    Returns:
        ``(m,)`` nodes and ``(m, m)`` eigenvectors s as columns. Where rows are not
        filled the nodes are those of the others, or their mean, with weight zero.

    References:
        Golub, Meurant (2010), Matrices, Moments and Quadrature with Applications,
        chapter 6.
    """
    m = basis.projected.shape[0]
    unused = jnp.diag(jnp.arange(m) >= basis.filled)
    inside = basis.projected[0, 0]  # a mean of eigenvalues, so f is defined there
    return jnp.linalg.eigh(jnp.where(unused, inside, basis.projected))


def orthogonalize(rows: Array, vector: Array) -> tuple[Array, Array]:
    """Take the components along some rows off a vector, twice.

    Args:
        rows: ``(m, p)``, orthonormal or zero.
        vector: ``(p,)``.

    Returns:
        ``(m,)`` components, and the rest, ``(p,)``.
    """
    first = multiply(rows, vector)
    vector = vector - multiply(first, rows)
    second = multiply(rows, vector)
    return first + second, vector - multiply(second, rows)


def _pass_over(rows, vector, filled):
    """Take the components along the filled rows off, a block of rows at a time.

    A block is read once from memory and used twice. The last may overlap the one before
    it, or hold rows that are zero: neither changes the result.
    """
    size = min(_BLOCK, len(rows))

    def take_off(number, carry):
        coefficients, vector = carry
        start = jnp.minimum(number * size, len(rows) - size)
        block = jax.lax.dynamic_slice_in_dim(rows, start, size)
        part = multiply(block, vector)
        together = part + jax.lax.dynamic_slice_in_dim(coefficients, start, size)
        coefficients = jax.lax.dynamic_update_slice_in_dim(
            coefficients, together, start, 0
        )
        return coefficients, vector - multiply(part, block)

    nothing = jnp.zeros(len(rows), vector.dtype)
    blocks = (filled + size - 1) // size
    return jax.lax.fori_loop(0, blocks, take_off, (nothing, vector))


def normalize(vector: Array) -> Array:
    """A vector at length 1; zero stays zero."""
    length = norm(vector)
    return vector / jnp.where(length > 0, length, 1)


def norm(vector: Array) -> Array:
    """Euclidean length, ``()``."""
    return jnp.sqrt(jnp.sum(jnp.square(vector)))


def multiply(a: Array, b: Array) -> Array:
    """Matrix product, in full precision on accelerators too."""
    return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)
