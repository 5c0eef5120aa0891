"""The distribution of eigenvalues, by stochastic Lanczos quadrature."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxdl.curvature import lanczos
from jaxdl.curvature.operators import LinearOperator
from jaxdl.types import Array, Key, Scalar


class SpectralDensity(NamedTuple):
    """Where the eigenvalues lie, as points with weights and as a smooth curve."""

    nodes: Array  # (probes, depth) Ritz values, ascending for each probe
    weights: Array  # (probes, depth), >= 0, sum 1 over all
    grid: Array  # (g,)
    density: Array  # (g,) the nodes broadened by a Gaussian, per unit of eigenvalue
    standard_error: Array  # (g,) of the density, between probes; NaN for one probe
    width: Array  # () standard deviation of the Gaussian


def spectral_density(
    operator: LinearOperator,
    probes: int,
    depth: int,
    key: Key,
    *,
    grid: Array | int = 512,
    width: Scalar | None = None,
) -> SpectralDensity:
    """The density of eigenvalues, estimated from Lanczos runs with random starts.

    For z uniform on the unit sphere ``E <z, f(A) z> = tr f(A) / p``, and a Lanczos run
    from z replaces ``<z, f(A) z>`` by a sum over ``depth`` nodes, exact for polynomials
    f of degree below ``2 depth``. Averages of the nodes are thus unbiased up to that
    degree, and features of the curve narrower than the spacing of the nodes are not
    resolved. A single eigenvalue has weight 1 / p, on which no probe is accurate: get
    outliers from `eigenpairs`.

    Args:
        operator: A, of size p.
        probes: Runs, ``>= 1``, one after the other; the standard error takes two.
        depth: Products a run, ``>= 1``; at most p are of use. Takes ``depth p`` numbers
            of memory.
        key: PRNG key.
        grid: ``(g,)`` eigenvalues at which to give the curve; or g ``>= 2``, for equal
            steps over all nodes and five widths beyond.
        width: Standard deviation of the Gaussian, ``> 0``, in the units of the
            eigenvalues. None for 1 % of the range of the nodes (of the largest node in
            magnitude if they are all equal; 0.01 if they are zero).

    Returns:
        Nodes, weights, and the curve with its error.

    Raises:
        ValueError: If an argument lies outside its domain.

    References:
        Lin, Saad, Yang (2016), Approximating spectral densities of large matrices,
        https://arxiv.org/abs/1308.5467. Ghorbani, Krishnan, Xiao (2019), An
        investigation into neural net optimization via Hessian eigenvalue density,
        https://arxiv.org/abs/1901.10159.

    Examples:
        >>> from jaxdl.curvature import from_matrix
        >>> operator = from_matrix(jnp.diag(jnp.array([1.0, 1.0, 5.0, 5.0])))
        >>> found = spectral_density(operator, 1000, 2, jax.random.key(0))
        >>> print(f"{jnp.sum(found.weights * (found.nodes > 3)):.1f}")  # half of them
        0.5
    """
    for name, count, smallest in (("probes", probes, 1), ("depth", depth, 1)):
        if not isinstance(count, int) or count < smallest:
            raise ValueError(f"{name} must be an integer >= {smallest}, got {count}")
    if isinstance(grid, int) and grid < 2:
        raise ValueError(f"grid must have at least 2 points, got {grid}")
    if not isinstance(grid, int) and jnp.ndim(grid) != 1:
        raise ValueError(f"grid must be (g,) or an integer, got shape {grid.shape}")
    if isinstance(width, float | int) and not width > 0:
        raise ValueError(f"width must be > 0, got {width}")
    depth = min(depth, operator.size)
    if isinstance(grid, int):
        return _density(operator, probes, depth, grid, key, None, width)
    return _density(operator, probes, depth, None, key, grid, width)


@jax.jit(static_argnums=(1, 2, 3))
def _density(operator, probes, depth, points, key, grid, width):
    """Run all probes, broaden their nodes, and compare the curves."""

    def run(key):
        z = jax.random.normal(key, (operator.size,), operator.dtype)
        basis = lanczos.krylov(operator.flat_matvec, z, depth)
        nodes, rotation = lanczos.quadrature(basis)
        weights = jnp.square(rotation[0])
        return nodes, weights / jnp.sum(weights)

    nodes, weights = jax.lax.map(run, jax.random.split(key, probes))
    width = jnp.asarray(_default_width(nodes) if width is None else width, nodes.dtype)
    if points is not None:
        lowest, highest = jnp.min(nodes) - 5 * width, jnp.max(nodes) + 5 * width
        grid = jnp.linspace(lowest, highest, points)
    grid = jnp.asarray(grid, nodes.dtype)
    curves = jax.lax.map(
        lambda run: _broadened(grid, run[0], run[1], width), (nodes, weights)
    )
    spread = jnp.std(curves, axis=0, ddof=1) if probes > 1 else jnp.nan * curves[0]
    return SpectralDensity(
        nodes=nodes,
        weights=weights / probes,
        grid=grid,
        density=jnp.mean(curves, axis=0),
        standard_error=spread / probes**0.5,
        width=width,
    )


def _default_width(nodes):
    """A small part of the range, or of the nodes if they are all the same."""
    lowest, highest = jnp.min(nodes), jnp.max(nodes)
    size = jnp.maximum(jnp.abs(lowest), jnp.abs(highest))
    same = highest - lowest <= 64 * jnp.finfo(nodes.dtype).eps * size
    return 0.01 * jnp.where(same, jnp.where(size > 0, size, 1), highest - lowest)


def _broadened(grid, nodes, weights, width):
    """A sum of Gaussians."""
    distances = (grid[:, None] - nodes[None]) / width
    heights = jnp.exp(-jnp.square(distances) / 2) / (width * (2 * jnp.pi) ** 0.5)
    return lanczos.multiply(heights, weights)
