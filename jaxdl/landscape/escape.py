"""How fast descent leaves a saddle."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxdl import tree
from jaxdl.landscape.tied import growth_rate
from jaxdl.optim import GradientTransformation, apply_updates
from jaxdl.types import Array, Params, Scalar


class Escape(NamedTuple):
    """Training that starts beside a critical point."""

    params: Params  # at the end
    distances: Array  # (steps + 1,) from the critical point
    losses: Array  # (steps + 1,)
    steps: Array  # () int32, updates until the distance exceeds the radius; -1: never
    growth: Array  # () factor a step, fitted between the limits


def escape_growth(
    learning_rate: Scalar, curvature: Scalar, momentum: Scalar = 0.0
) -> Array:
    """The factor by which a distance along an eigenvector grows in each step.

    Near a critical point with eigenvalue -l, gradient descent multiplies the distance
    by ``1 + eta l``, the heavy ball in the long run by the larger root of ``z^2 - (1 +
    beta + eta l) z + beta``. Adam divides by its own running means and follows no such
    law.

    Args:
        learning_rate: eta, ``> 0``.
        curvature: The most negative eigenvalue -l, ``< 0``; numbers ``>= 0`` give
            factors that do not exceed 1, as far as the roots are real (NaN if not).
        momentum: beta, in ``[0, 1)``; 0 for gradient descent.

    Returns:
        ``()``, or of the shape that the arguments broadcast to.

    Raises:
        ValueError: If a Python number lies outside its domain.

    Examples:
        >>> print(f"{escape_growth(0.1, -0.4):.4f} {escape_growth(0.1, -0.4, 0.9):.4f}")
        1.0400 1.1722
    """
    if isinstance(learning_rate, float | int) and not learning_rate > 0:
        raise ValueError(f"learning_rate must be > 0, got {learning_rate}")
    if isinstance(momentum, float | int) and not 0 <= momentum < 1:
        raise ValueError(f"momentum must be in [0, 1), got {momentum}")
    pull = -jnp.asarray(learning_rate) * curvature
    half = (1 + momentum + pull) / 2
    return half + jnp.sqrt(half**2 - momentum)


def escape_time(noise: Scalar, growth: Scalar, radius: Scalar = 1.0) -> Array:
    """Steps until a distance has grown from a noise to a radius.

    ``ln(radius / noise) / ln(growth)``: the noise may be a million times smaller, and
    the saddle is left but a few times later.

    Args:
        noise: Distance at the start along the escaping direction, ``> 0``.
        growth: Factor a step, ``> 1``; infinite time at 1.
        radius: Distance at the end, ``> 0``.

    Returns:
        ``()``, or of the shape that the arguments broadcast to; not rounded.

    Raises:
        ValueError: If a Python number lies outside its domain.

    Examples:
        >>> print(f"{escape_time(1e-6, 1.04):.1f} {escape_time(1e-12, 1.04):.1f}")
        352.3 704.5
    """
    for name, number in (("noise", noise), ("radius", radius), ("growth", growth)):
        if isinstance(number, float | int) and not number > 0:
            raise ValueError(f"{name} must be > 0, got {number}")
    return jnp.log(radius / jnp.asarray(noise)) / jnp.log(growth)


def measure_escape(
    loss: Callable[[Params], Array],
    saddle: Params,
    direction: Params,
    optimizer: GradientTransformation,
    steps: int,
    *,
    noise: Scalar = 1e-6,
    radius: Scalar = 1.0,
    fit: tuple[float, float] = (10.0, 0.01),
) -> Escape:
    """Train from beside a critical point, and measure how its distance grows.

    Args:
        loss: ``loss(params) -> ()``.
        saddle: Parameters of the critical point.
        direction: Tree like them, to start along, such as an eigenvector of a negative
            eigenvalue; only its direction counts. ``vmap`` for many.
        optimizer: Of `jaxdl.optim` or optax.
        steps: Number of updates, ``>= 1``.
        noise: Distance of the start, ``> 0``; far above rounding, which is about 1e-8
            of the parameters in float32.
        radius: Distance at which the saddle has been left, ``> 0``.
        fit: The growth is fitted where the distance exceeds the first number times
            ``noise``, when slower roots have died out, and is below the second times
            ``radius``, where the quadratic form still rules.

    Returns:
        What happened.

    Raises:
        ValueError: If ``steps`` is not a positive integer, or a Python number lies
            outside its domain.

    Examples:
        >>> from jaxdl.optim import sgd
        >>> def loss(x):
        ...     return (x[0] ** 2 - x[1] ** 2) / 2 + x[1] ** 4 / 4
        >>> escape = measure_escape(
        ...     loss, jnp.zeros(2), jnp.array([0.0, 1.0]), sgd(0.04), 500, radius=0.5
        ... )
        >>> print(f"{escape.growth:.4f}", escape.steps)
        1.0400 339
    """
    if not isinstance(steps, int) or steps < 1:
        raise ValueError(f"steps must be an integer >= 1, got {steps!r}")
    for name, number in (("noise", noise), ("radius", radius)):
        if isinstance(number, float | int) and not number > 0:
            raise ValueError(f"{name} must be > 0, got {number}")
    start = tree.add_scaled(saddle, noise / tree.norm(direction), direction)

    def step(carry, _):
        params, state = carry
        value, gradient = jax.value_and_grad(loss)(params)
        distance = tree.norm(tree.subtract(params, saddle))
        updates, state = optimizer.update(gradient, state, params)
        return (apply_updates(params, updates), state), (distance, value)

    (end, _), (distances, losses) = jax.lax.scan(
        step, (start, optimizer.init(start)), length=steps
    )
    distances = jnp.append(distances, tree.norm(tree.subtract(end, saddle)))
    left = distances > radius
    first = jnp.where(jnp.any(left), jnp.argmax(left), -1).astype(jnp.int32)
    early = jnp.cumsum(left) == 0  # a return to the saddle is another story
    growth = growth_rate(
        jnp.where(early, distances, 0), low=fit[0] * noise, high=fit[1] * radius
    )
    return Escape(end, distances, jnp.append(losses, loss(end)), first, growth)
