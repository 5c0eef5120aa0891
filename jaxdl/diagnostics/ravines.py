"""Is descent caught in a ravine: steep across, flat along?"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdl import tree
from jaxdl.curvature import LinearOperator, eigenpairs
from jaxdl.types import Array, Key, Params, Scalar


class Ravine(NamedTuple):
    """Where a gradient points, against the steepest directions of a Hessian."""

    sharpness: Array  # () largest eigenvalue, lambda
    gradient_curvature: Array  # () <g, H g> / |g|^2
    steepness: Array  # () their ratio, at most 1
    top_shares: Array  # (k,) share of |g|^2 along each of the top k eigenvectors
    top_share: Array  # () their sum, in [0, 1]
    chance: Array  # () k / p, the share of a random direction
    converged: Array  # () bool, whether all k eigenvectors are


class Path(NamedTuple):
    """How a trajectory of T points bends."""

    cosines: Array  # (T - 2,) between successive updates, in [-1, 1]
    lengths: Array  # (T - 1,) |w_{t+1} - w_t|
    directness: Array  # () |w_T - w_1| over the length of the path, in [0, 1]
    zigzag: Array  # () fraction of updates that point back, cosine < 0


class SecantCurvature(NamedTuple):
    """The curvature that a trajectory of T points has met."""

    values: Array  # (T - 1,) <dg, dw> / |dw|^2 of each update
    steepest: Array  # () the largest of them
    flattest: Array  # () the smallest positive one; NaN if there is none
    ratio: Array  # () of the two, >= 1: a lower bound on kappa if H is constant, > 0


def ravine(
    gradient: Params,
    operator: LinearOperator,
    k: int = 1,
    *,
    key: Key,
    tol: Scalar | None = None,
) -> Ravine:
    """How much of a gradient lies along the steepest k directions of a Hessian H.

    ``share_i = <v_i, g>^2 / |g|^2`` with v_i the eigenvector of the i-th largest
    eigenvalue, to be compared with 1 / p. In a ravine g points across, not along:
    ``top_share`` near 1, and the curvature along g, ``<g, H g> / |g|^2``, near the
    largest. Where g has come to lie in flat directions both are near 0.

    Args:
        gradient: g, a tree of the space of the operator, not zero.
        operator: H, of size p, such as `jaxdl.curvature.hvp`.
        k: How many directions, ``1..p``.
        key: PRNG key, for the starting vectors of `jaxdl.curvature.eigenpairs`.
        tol: As in `jaxdl.curvature.eigenpairs`.

    Returns:
        Shares and curvatures; NaN where g is zero. The shares of equal eigenvalues are
        determined only in sum.

    Raises:
        ValueError: If ``gradient`` is not in the space, or ``k`` not in its domain.

    References:
        Gur-Ari, Roberts, Dyer (2018), Gradient descent happens in a tiny subspace.
        https://arxiv.org/abs/1812.04754

    Examples:
        >>> from jaxdl.curvature import from_matrix
        >>> operator = from_matrix(jnp.diag(jnp.array([100.0, 1.0])))
        >>> found = ravine(jnp.array([3.0, 1.0]), operator, key=jax.random.key(0))
        >>> print(f"{found.top_share:.3f} {found.steepness:.3f}")
        0.900 0.901
    """
    if not isinstance(k, int) or not 1 <= k <= operator.size:
        raise ValueError(f"k must be an integer in 1..{operator.size}, got {k}")
    square = tree.dot(gradient, gradient)
    along = operator.quadratic_form(gradient) / square
    top = eigenpairs(operator, k, "largest", tol, key=key)
    shares = jax.vmap(tree.dot, (0, None))(top.vectors, gradient) ** 2 / square
    return Ravine(
        sharpness=top.values[0],
        gradient_curvature=along,
        steepness=along / top.values[0],
        top_shares=shares,
        top_share=jnp.sum(shares),
        chance=jnp.asarray(k / operator.size, shares.dtype),
        converged=jnp.all(top.converged),
    )


def path(trajectory: Params) -> Path:
    """How straight a trajectory of parameters is.

    With updates ``u_t = w_{t+1} - w_t``: ``cos_t = <u_t, u_{t+1}> / |u_t| |u_{t+1}|``,
    and ``directness = |w_T - w_1| / sum |u_t|``. Gradient descent with a step between
    1 / lambda and 2 / lambda steps across the ravine and back: cosines near -1. Below
    1 / lambda, on a quadratic, they are positive; noise of mini-batches alone, at a
    minimum, gives -1/2 to 0.

    Args:
        trajectory: Pytree of ``(T, ...)`` arrays, T ``>= 3`` points along a run.

    Returns:
        Cosines, lengths and their summaries; a cosine with an update of length 0 is
        NaN, and such do not count in ``zigzag``.

    Raises:
        ValueError: If the leaves do not have one length T ``>= 3``.

    Examples:
        >>> found = path(jnp.array([[0.0, 0.0], [1.0, 0.0], [0.0, 0.0], [0.0, 2.0]]))
        >>> print(found.cosines, found.directness, found.zigzag)
        [-1.  0.] 0.5 0.5
    """
    if message := _not_points(3, trajectory=trajectory):
        raise ValueError(message)
    updates = jax.tree.map(lambda w: w[1:] - w[:-1], trajectory)
    lengths = jax.vmap(tree.norm)(updates)
    dots = jax.vmap(tree.dot)(*_successive(updates))
    cosines = dots / (lengths[1:] * lengths[:-1])
    ends = jax.tree.map(lambda w: w[-1] - w[0], trajectory)
    counted = jnp.sum(~jnp.isnan(cosines))
    return Path(
        cosines=jnp.clip(cosines, -1, 1),
        lengths=lengths,
        directness=tree.norm(ends) / jnp.sum(lengths),
        zigzag=jnp.sum(cosines < 0) / counted.astype(cosines.dtype),
    )


def secant_curvature(trajectory: Params, gradients: Params) -> SecantCurvature:
    """The curvature along each update, from gradients alone.

    ``c_t = <g_{t+1} - g_t, w_{t+1} - w_t> / |w_{t+1} - w_t|^2`` is the mean of the
    curvature along the segment: on a quadratic between the extreme eigenvalues. The
    gradients must be those of one function: of the full batch, or of one fixed batch.

    Args:
        trajectory: Pytree of ``(T, ...)`` arrays, T ``>= 2`` points along a run.
        gradients: The gradient at each of them, a tree like it.

    Returns:
        Curvatures and their ratio; NaN for an update of length 0, which counts nowhere
        else.

    Raises:
        ValueError: If the two trees do not match, or do not have one length T ``>= 2``.

    Examples:
        >>> w = jnp.array([[1.0, 1.0], [0.0, 1.0], [0.0, 0.0]])
        >>> found = secant_curvature(w, w * jnp.array([[8.0, 2.0]]))
        >>> print(found.values, found.ratio)
        [8. 2.] 4.0
    """
    if message := _not_points(2, trajectory=trajectory, gradients=gradients):
        raise ValueError(message)
    shapes = [jax.tree.map(jnp.shape, each) for each in (trajectory, gradients)]
    if shapes[0] != shapes[1]:
        raise ValueError(f"gradients must have shapes {shapes[0]}, got {shapes[1]}")
    moves, changes = (
        jax.tree.map(lambda w: w[1:] - w[:-1], each) for each in (trajectory, gradients)
    )
    values = jax.vmap(tree.dot)(changes, moves) / jax.vmap(tree.dot)(moves, moves)
    steepest = jnp.nanmax(values)
    flattest = jnp.nanmin(jnp.where(values > 0, values, jnp.nan))
    return SecantCurvature(values, steepest, flattest, steepest / flattest)


def _successive(updates: Any) -> tuple[Any, Any]:
    """Each update but the last, and the one after it."""
    return (
        jax.tree.map(lambda u: u[:-1], updates),
        jax.tree.map(lambda u: u[1:], updates),
    )


def _not_points(at_least, **trees):
    """What to say of trees that are no trajectory."""
    for name, points in trees.items():
        lengths = {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves(points)}
        if len(lengths) != 1 or () in lengths or min(lengths)[0] < at_least:
            return (
                f"{name} must hold arrays with the same number of points, at least "
                f"{at_least}, along their first axis; got lengths {sorted(lengths)}"
            )
    return ""
