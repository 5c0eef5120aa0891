"""Losses along lines and planes through the parameters."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdl import curvature, tree
from jaxdl.types import Array, Key, Params, Scalar


class Trajectory(NamedTuple):
    """A trajectory in the plane of its two largest principal components."""

    directions: tuple[Params, Params]  # orthonormal
    coordinates: Array  # (t, 2) of each point, from the center
    explained: Array  # (2,) shares of the total variance


def slice_1d(
    loss: Callable[[Params], Array],
    params: Params,
    direction: Params,
    steps: Array,
    *,
    batch_size: int | None = None,
) -> Array:
    """Losses along a line, ``loss(params + s d)``, as one program.

    Args:
        loss: ``loss(params) -> ()``; or any array, such as loss and error stacked.
        params: The center.
        direction: Tree d like ``params``; see `filter_normalize`.
        steps: ``(a,)`` s.
        batch_size: How many points at a time, ``>= 1``; None for one after the other,
            which takes the least memory.

    Returns:
        ``(a,)``, or ``(a, ...)`` of what the loss returns.

    Raises:
        ValueError: If the direction has other shapes than the parameters, the steps are
            no vector, or the batch size is not positive.

    Examples:
        >>> def loss(x):
        ...     return jnp.sum(x**2)
        >>> steps = jnp.array([-1.0, 0.0, 2.0])
        >>> print(slice_1d(loss, jnp.ones(2), jnp.array([1.0, 0.0]), steps))
        [ 1.  2. 10.]
    """
    message = _misfit(params, batch_size, direction=direction) or _no_vector(
        steps=steps
    )
    if message:
        raise ValueError(message)

    def at(step):
        return loss(tree.add_scaled(params, step, direction))

    return jax.lax.map(at, jnp.asarray(steps), batch_size=batch_size)


def slice_2d(
    loss: Callable[[Params], Array],
    params: Params,
    directions: tuple[Params, Params],
    steps: Array,
    other_steps: Array,
    *,
    batch_size: int | None = None,
) -> Array:
    """Losses on a plane, ``loss(params + s d + t e)``, as one program.

    Args:
        loss: As in `slice_1d`.
        params: The center.
        directions: Trees d and e like ``params``.
        steps: ``(a,)`` s.
        other_steps: ``(b,)`` t.
        batch_size: As in `slice_1d`.

    Returns:
        ``(a, b)``, or ``(a, b, ...)`` of what the loss returns.

    Raises:
        ValueError: If a direction has other shapes than the parameters, the steps are
            no vectors, or the batch size is not positive.
    """
    first, second = directions
    message = _misfit(params, batch_size, first=first, second=second) or _no_vector(
        steps=steps, other_steps=other_steps
    )
    if message:
        raise ValueError(message)
    a, b = len(steps), len(other_steps)
    s, t = jnp.meshgrid(jnp.asarray(steps), jnp.asarray(other_steps), indexing="ij")

    def at(pair):
        moved = tree.add_scaled(params, pair[0], first)
        return loss(tree.add_scaled(moved, pair[1], second))

    values = jax.lax.map(at, (s.ravel(), t.ravel()), batch_size=batch_size)
    return values.reshape(a, b, *values.shape[1:])


def filter_normalize(
    direction: Params, params: Params, *, keep_vectors: bool = False
) -> Params:
    """Give each filter of a direction the norm of that filter of the parameters.

    ``d_j |theta_j| / |d_j|`` for the weights into each unit j, the last axis of an
    array of two or more axes. It makes pictures comparable that positive scales of ReLU
    units would change, as of networks trained with and without weight decay.

    Args:
        direction: Tree like ``params``.
        params: Trained parameters.
        keep_vectors: Whether arrays of fewer than two axes, such as biases and the
            scales of batch normalization, are scaled as one filter each. Else they are
            zero, so that the slice does not move them.

    Returns:
        A tree like ``params``; zero where the direction's filter is zero.

    Raises:
        ValueError: If the direction has other shapes than the parameters.

    References:
        Li, Xu, Taylor, Studer, Goldstein (2018), Visualizing the loss landscape of
        neural nets, section 4. https://arxiv.org/abs/1712.09913

    Examples:
        >>> params = {"w": jnp.array([[3.0, 0.0], [4.0, 2.0]]), "b": jnp.ones(2)}
        >>> direction = {"w": jnp.array([[7.0, 0.0], [0.0, -1.0]]), "b": jnp.ones(2)}
        >>> print(filter_normalize(direction, params)["w"])
        [[ 5.  0.]
         [ 0. -2.]]
    """
    if message := _misfit(params, None, direction=direction):
        raise ValueError(message)

    def scaled(d, theta):
        d, theta = jnp.asarray(d), jnp.asarray(theta)
        if d.ndim < 2 and not keep_vectors:
            return jnp.zeros_like(theta)
        axes = tuple(range(d.ndim - 1)) if d.ndim >= 2 else None
        size, wanted = (
            jnp.sqrt(jnp.sum(a**2, axis=axes, keepdims=True)) for a in (d, theta)
        )
        ratio = jnp.where(size > 0, wanted / jnp.where(size > 0, size, 1), 0)
        return (d * ratio).astype(theta.dtype)

    return jax.tree.map(scaled, direction, params)


def random_direction(key: Key, params: Params, *, keep_vectors: bool = False) -> Params:
    """A Gaussian direction, filter by filter of the parameters' size.

    Args:
        key: PRNG key.
        params: Trained parameters.
        keep_vectors: As in `filter_normalize`.

    Returns:
        A tree like ``params``.
    """
    drawn = tree.random_like(key, params)
    return filter_normalize(drawn, params, keep_vectors=keep_vectors)


def eigenvector_directions(
    loss: Callable[[Params], Array], params: Params, *, key: Key
) -> tuple[tuple[Params, Params], Array]:
    """The eigenvectors of the largest and the smallest eigenvalue of the Hessian.

    Along them the loss is ``L + lambda s^2 / 2`` for small s, at a critical point.

    Args:
        loss: ``loss(params) -> ()``, twice differentiable.
        params: The center.
        key: PRNG key, of the first Lanczos vectors.

    Returns:
        Two trees of norm 1 for `slice_2d`, and their eigenvalues ``(2,)``. Compare
        `jaxdl.curvature.eigenpairs`, which also says how sure they are.
    """
    operator = curvature.hvp(_WithBatch(loss), params, None)
    keys = jax.random.split(key)
    pairs = [
        curvature.eigenpairs(operator, 1, which, key=k)
        for which, k in zip(("largest", "smallest"), keys, strict=True)
    ]
    first, last = (jax.tree.map(lambda leaf: leaf[0], pair.vectors) for pair in pairs)
    return (first, last), jnp.concatenate([pair.values for pair in pairs])


def trajectory_directions(
    trajectory: Params, center: Params | None = None
) -> Trajectory:
    """The plane that holds most of a trajectory: its principal components.

    Principal components of the differences from the center. Most of the variance of a
    random walk in many dimensions lies in two of them as well, so a curve in this plane
    is no evidence of a low dimension.

    Args:
        trajectory: Tree with a leading axis of t points.
        center: Tree like one of them, such as the last; None for the mean.

    Returns:
        Directions for `slice_2d`, and where the points lie.

    Raises:
        ValueError: If there are fewer than two points, or the center has other shapes.

    References:
        Li, Xu, Taylor, Studer, Goldstein (2018), section 7. Antognini, Sohl-Dickstein
        (2018), PCA of high dimensional random walks with comparison to neural network
        training. https://arxiv.org/abs/1806.08805
    """
    lengths = {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves(trajectory)}
    if len(lengths) != 1 or min(lengths) < (2,):
        raise ValueError(
            "trajectory must have one leading axis of two or more points, got "
            f"{lengths}"
        )
    if center is None:
        center = jax.tree.map(lambda leaf: jnp.mean(leaf, axis=0), trajectory)
    one = jax.tree.map(lambda leaf: leaf[0], trajectory)
    if message := _misfit(one, None, center=center):
        raise ValueError(message)
    middle, unravel = tree.ravel(center)
    rows = jax.vmap(lambda point: tree.ravel(point)[0])(trajectory) - middle[None]
    scores, sizes, axes = jnp.linalg.svd(rows, full_matrices=False)
    if axes.shape[0] < 2:
        raise ValueError(f"trajectory must have two or more parameters, got {one!r}")
    total = jnp.sum(sizes**2)
    shares = sizes[:2] ** 2 / jnp.where(total > 0, total, 1)
    return Trajectory(
        (unravel(axes[0]), unravel(axes[1])), scores[:, :2] * sizes[None, :2], shares
    )


@dataclass(frozen=True)
class _WithBatch:
    """A loss of parameters and a batch that is not there; equal for equal losses."""

    loss: Callable[[Params], Array]

    def __call__(self, params: Params, batch: None) -> Array:
        del batch
        return self.loss(params)


def _misfit(params: Any, batch_size: Scalar | None, **trees: Any) -> str:
    """What is wrong with directions, or an empty string."""
    if batch_size is not None and batch_size < 1:
        return f"batch_size must be >= 1, got {batch_size}"
    wanted = jax.tree.map(jnp.shape, params)
    for name, direction in trees.items():
        if (got := jax.tree.map(jnp.shape, direction)) != wanted:
            return f"{name} must have the shapes of params, {wanted}, got {got}"
    return ""


def _no_vector(**steps: Any) -> str:
    """Which steps are no vector, or an empty string."""
    for name, values in steps.items():
        if jnp.ndim(values) != 1:
            return f"{name} must be a vector, got shape {jnp.shape(values)}"
    return ""
