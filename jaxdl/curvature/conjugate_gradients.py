"""Conjugate gradients that notice negative curvature, within a trust region."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxdl.curvature import lanczos
from jaxdl.curvature.operators import LinearOperator, not_in_space
from jaxdl.types import Array, Params, Scalar


class Step(NamedTuple):
    """A step that lowers the quadratic model, and why it is not longer."""

    x: Params
    residual_norm: Array  # () |b - A x|, from a product done at the end
    converged: Array  # () bool, residual_norm <= tol |b|
    negative_curvature: Array  # () bool, the last direction does not curve upward
    at_boundary: Array  # () bool, |x| is the radius
    direction: Params  # the last search direction
    iterations: Array  # () int32, of one product each


def conjugate_gradient(
    operator: LinearOperator,
    b: Params,
    *,
    radius: Scalar = jnp.inf,
    tol: Scalar | None = None,
    max_iterations: int | None = None,
) -> Step:
    """Minimize ``<x, A x> / 2 - <b, x>`` over ``|x| <= radius`` approximately.

    Conjugate gradients from x = 0, with Steihaug's two exits. Where an iterate would
    leave the ball, x is the point on the way where it leaves it. Where a search
    direction d has ``<d, A d> <= 0``, A is not positive definite, and x follows d to
    the boundary; without one (infinite radius) the model has no minimum, and x stays
    at the last iterate: ``direction`` is then the way down. For a positive definite A
    and no boundary it solves ``A x = b``. The model goes down at every iteration.

    Args:
        operator: A, of size p, such as a Hessian; with b minus the gradient, x is a
            Newton step.
        b: A tree of the space.
        radius: ``> 0``; may be traced.
        tol: Relative tolerance, ``>= 0``; may be traced. None for ``eps ** (2 / 3)``.
        max_iterations: ``>= 1``. None for 5 p.

    Returns:
        The step, and what is known of it; NaN for a b that is not finite.
        ``<d, A d>`` counts as not positive below ``eps |d| |A d|``, where its sign is
        that of rounding.

    Raises:
        ValueError: If ``b`` is not in the space, or a number lies outside its domain.

    References:
        Steihaug (1983), The conjugate gradient method and trust regions in large scale
        optimization, SIAM Journal on Numerical Analysis 20(3), 626-637. Nocedal, Wright
        (2006), Numerical Optimization, algorithm 7.2.

    Examples:
        >>> from jaxdl.curvature import from_matrix
        >>> saddle = from_matrix(jnp.diag(jnp.array([2.0, -1.0])))
        >>> step = conjugate_gradient(saddle, jnp.array([1.0, 2.0]), radius=3.0)
        >>> print(step.negative_curvature, f"{jnp.linalg.norm(step.x):.3f}")
        True 3.000
    """
    if message := not_in_space(operator, b=b):
        raise ValueError(message)
    if isinstance(radius, float | int) and not radius > 0:
        raise ValueError(f"radius must be > 0, got {radius}")
    if isinstance(tol, float | int) and not tol >= 0:
        raise ValueError(f"tol must be >= 0, got {tol}")
    if max_iterations is not None and max_iterations < 1:
        raise ValueError(f"max_iterations must be >= 1, got {max_iterations}")
    eps = float(jnp.finfo(operator.dtype).eps)
    tol = jnp.asarray(eps ** (2 / 3) if tol is None else tol, operator.dtype)
    limit = 5 * operator.size if max_iterations is None else max_iterations
    return _solve(operator, b, jnp.asarray(radius, operator.dtype), tol, limit)


class _State(NamedTuple):
    """An iterate and the next direction."""

    x: Array  # (p,)
    residual: Array  # (p,) by recurrence
    direction: Array  # (p,)
    negative: Array  # () bool
    outside: Array  # () bool
    iterations: Array  # () int32


@jax.jit
def _solve(operator, b, radius, tol, max_iterations):
    """Iterate, then measure the residual."""
    flat = operator.ravel(b)
    size = lanczos.norm(flat)
    eps = jnp.finfo(flat.dtype).eps

    def more(state):
        # Half of it: the recurrence is not the residual itself.
        unfinished = lanczos.norm(state.residual) > tol * size / 2
        inside = ~state.negative & ~state.outside
        return unfinished & inside & (state.iterations < max_iterations)

    def step(state):
        d = state.direction
        image = operator.flat_matvec(d)
        curvature = jnp.sum(d * image)
        rounding = eps * lanczos.norm(d) * lanczos.norm(image)
        negative = curvature <= rounding
        square = jnp.sum(jnp.square(state.residual))
        length = square / jnp.where(negative, 1, curvature)
        x = state.x + length * d
        outside = ~negative & (lanczos.norm(x) >= radius)
        bounded = jnp.isfinite(radius)
        x = jnp.where(negative, state.x, x)
        edge = _to_the_boundary(state.x, d, radius)
        x = jnp.where((negative | outside) & bounded, edge, x)

        residual = state.residual - length * image
        conjugate = residual + jnp.sum(jnp.square(residual)) / square * d
        left = negative | outside
        return _State(
            x=x,
            residual=jnp.where(left, state.residual, residual),
            direction=jnp.where(left, d, conjugate),
            negative=negative,
            outside=left & bounded,
            iterations=state.iterations + 1,
        )

    no = jnp.zeros((), bool)
    zeros = jnp.zeros_like(flat)
    start = _State(zeros, flat, flat, no, no, jnp.zeros((), jnp.int32))
    state = jax.lax.while_loop(more, step, start)
    x = jnp.where(jnp.isfinite(size), state.x, jnp.nan)
    residual_norm = lanczos.norm(flat - operator.flat_matvec(x))
    return Step(
        x=operator.unravel(x),
        residual_norm=residual_norm,
        converged=residual_norm <= tol * size,
        negative_curvature=state.negative,
        at_boundary=state.outside,
        direction=operator.unravel(state.direction),
        iterations=state.iterations,
    )


def _to_the_boundary(x, d, radius):
    """``x + t d`` with ``t >= 0`` and length ``radius``."""
    a, b = jnp.sum(d * d), jnp.sum(x * d)
    c = (lanczos.norm(x) - radius) * (lanczos.norm(x) + radius)
    # b >= 0 along the iterates, so this form of the root loses no digits.
    t = -c / (b + jnp.sqrt(b * b - a * c))
    return x + t * d
