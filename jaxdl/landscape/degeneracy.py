"""Which directions without curvature a continuous symmetry explains."""

import jax.numpy as jnp

from jaxdl.types import Array


def explained_directions(vectors: Array, null: Array, tangents: Array) -> Array:
    """The dimensions of a null space that tangents of a symmetry span.

    With the tangents made orthonormal, those count whose projection on the null space
    keeps 0.9 of their length: the cosines of the angles between the two spaces are 1 or
    0, but for what the distance to the critical point makes of them.

    Args:
        vectors: ``(p, p)``, orthonormal eigenvectors of the Hessian, as columns.
        null: ``(p,)`` bool, which of them count as null.
        tangents: ``(t, p)``, `scale_tangents` and the like as rows; not all need be
            independent, or other than zero.

    Returns:
        ``()`` int32.

    Raises:
        ValueError: If the shapes do not fit.

    Examples:
        >>> null = jnp.array([True, False, True])
        >>> tangents = jnp.array([[0.0, 0.0, 2.0], [0.0, 0.0, 1.0]])
        >>> print(explained_directions(jnp.eye(3), null, tangents))
        1
    """
    p = vectors.shape[0]
    if vectors.shape != (p, p) or null.shape != (p,) or tangents.shape[1:] != (p,):
        raise ValueError(
            "expected vectors (p, p), null (p,), tangents (t, p); got "
            f"{vectors.shape}, {null.shape}, {tangents.shape}"
        )
    if not tangents.shape[0]:
        return jnp.zeros((), jnp.int32)
    _, lengths, basis = jnp.linalg.svd(tangents, full_matrices=False)
    independent = lengths > 1e-6 * lengths[0]
    basis = jnp.where(independent[:, None], basis, 0)
    kept = jnp.where(null[None], basis @ vectors, 0)
    cosines = jnp.linalg.svd(kept, compute_uv=False)
    return jnp.sum(cosines > 0.9, dtype=jnp.int32)
