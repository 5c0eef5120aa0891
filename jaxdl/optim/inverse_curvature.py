"""Multiply the gradient by the inverse of a curvature matrix, without the matrix.

What a second-order method needs comes in two ways. Functions, such as the loss, are
given when it is made: they stay the same and are what programs are compiled for. The
batch comes with each update, as the extra argument ``batch``, for the matrix must be
that of the examples the gradient was taken on. ``chain``, ``masked``,
`inject_hyperparams` and the other wrappers hand extra arguments on. A ready matrix may
be given as the extra argument ``operator`` instead.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from jaxdl.curvature import LinearOperator, conjugate_gradient, damp, minres
from jaxdl.curvature.operators import not_in_space
from jaxdl.optim.base import GradientTransformation, zero_step
from jaxdl.optim.domains import not_a_count, outside
from jaxdl.types import Array, Params, Scalar

Curvature = Callable[[Params, Any], LinearOperator]
"""``curvature(params, batch) -> operator`` on trees like the parameters."""

Solver = Literal["minres", "cg"]
_SOLVERS = ("minres", "cg")


class SolveState(NamedTuple):
    """What became of the last solve."""

    iterations: Array  # () int32, of one product with the matrix each
    converged: Array  # () bool, the solution is as accurate as it was asked to be
    negative_curvature: Array  # () bool, met on the way; MINRES does not look for it


def scale_by_inverse_curvature(
    curvature: Curvature,
    damping: Scalar = 0.0,
    *,
    solver: Solver = "minres",
    radius: Scalar | None = None,
    tol: Scalar | None = None,
    max_iterations: int | None = None,
) -> GradientTransformation:
    """Solve ``(A + damping) u = g`` for the gradient g and a curvature matrix A.

    Undamped with A the Hessian, ``theta - u`` is where the quadratic model of the loss
    is stationary; with much damping u is ``g / damping``.

    "minres" solves for A of any signature. "cg" is for descent: conjugate gradients
    that stop where they meet a direction of negative curvature. With a radius the step
    then follows it to the boundary; without, it is what was reached before, or g itself
    if that is the first direction. Either way ``<g, u> >= 0``.

    The update takes ``batch``, which the curvature is taken on, or ``operator``, a
    ready A, as extra arguments. Where `masked` hides leaves the loss cannot be
    computed, so it takes an ``operator`` on the tree with the holes, as
    `jaxdl.curvature.restrict` makes from that of all leaves.

    Args:
        curvature: ``curvature(params, batch) -> A``, such as
            ``functools.partial(jaxdl.curvature.hvp, loss)``. Define it and the loss
            once, not at each step: eager calls compile for each function object.
        damping: Added to the eigenvalues, in their units, ``>= 0``.
        solver: "minres", or "cg" for a step downhill.
        radius: Bound on ``|u|`` for "cg", ``> 0``; None for no bound.
        tol: Relative tolerance of the residual, ``>= 0``; None for ``eps ** (2 / 3)``.
        max_iterations: Products in a solve, ``>= 1``; None for 5 times the number of
            parameters.

    Returns:
        A transformation that needs float32 or float64 parameters, and gradients of
        their dtypes. NaN and infinite gradients give NaN.

    Raises:
        ValueError: If a Python number lies outside its domain, the solver is unknown,
            or MINRES is given a radius.

    References:
        Nocedal, Wright (2006), Numerical Optimization, algorithms 7.1 and 7.2 ("cg"
        without and with a radius).

    Examples:
        >>> from jaxdl.curvature import from_matrix
        >>> def curvature(theta, batch):
        ...     return from_matrix(jnp.diag(batch))
        >>> transform, theta = scale_by_inverse_curvature(curvature), jnp.zeros(2)
        >>> state = transform.init(theta)
        >>> scales = jnp.array([2.0, -4.0])
        >>> updates, _ = transform.update(jnp.ones(2), state, theta, batch=scales)
        >>> print(updates.round(3))
        [ 0.5  -0.25]
    """
    if (
        problem := outside("[0, inf)", damping=damping, tol=tol)
        or outside("(0, inf]", radius=radius)
        or (
            max_iterations is not None and not_a_count(1, max_iterations=max_iterations)
        )
    ):
        raise ValueError(problem)
    if solver not in _SOLVERS:
        raise ValueError(f"solver must be 'minres' or 'cg', got {solver!r}")
    if solver == "minres" and radius is not None:
        raise ValueError(f"radius needs solver='cg', got {radius} with 'minres'")

    def init(params):
        del params
        return SolveState(zero_step(), jnp.array(True), jnp.array(False))

    def update(updates, state, params=None, *, operator=None, **extra):
        del state
        operator = operator_at(curvature, operator, updates, params, extra)
        damped = damp(operator, damping)
        settings = {"tol": tol, "max_iterations": max_iterations}
        if solver == "minres":
            solution = minres(damped, updates, **settings)
            direction, negative = solution.x, jnp.array(False)
        else:
            bound = jnp.inf if radius is None else radius
            solution = conjugate_gradient(damped, updates, radius=bound, **settings)
            negative = solution.negative_curvature
            stuck = negative & (solution.iterations == 1) & ~solution.at_boundary
            direction = jax.tree.map(
                lambda g, x: jnp.where(stuck, g, x), updates, solution.x
            )
        finite = all_finite(updates)
        direction = jax.tree.map(lambda x: jnp.where(finite, x, jnp.nan), direction)
        converged = solution.converged & finite
        return direction, SolveState(solution.iterations, converged, negative)

    return GradientTransformation(init, update)


def operator_at(
    curvature: Curvature,
    operator: LinearOperator | None,
    updates: Params,
    params: Params | None,
    extra: dict[str, Any],
) -> LinearOperator:
    """The curvature matrix that an update is to work with.

    Args:
        curvature: Makes it from the parameters and ``extra["batch"]``.
        operator: It, if the caller of update has one.
        updates: What it is to multiply.
        params: The parameters; None if update got none.
        extra: The other extra arguments of the update.

    Returns:
        An operator on trees like ``updates``.

    Raises:
        ValueError: If there is nothing to make it from, or it acts on other trees.
    """
    if operator is None:
        if params is None or "batch" not in extra:
            raise ValueError(
                "a second-order method needs the parameters and batch=..., or "
                "operator=..., but update got "
                f"{'no ' if params is None else ''}parameters and {sorted(extra)}"
            )
        if holes := sum(map(_is_hole, jax.tree.leaves(params, is_leaf=_is_hole))):
            raise ValueError(
                "a second-order method inside masked needs operator=..., on the tree "
                f"with its holes; got batch=... and parameters with {holes} holes"
            )
        operator = curvature(params, extra["batch"])
    if message := not_in_space(operator, updates=updates):
        raise ValueError(message)
    return operator


def all_finite(updates: Params) -> Array:
    """Whether there is no NaN or infinity among the updates, ``()`` bool.

    Solvers that stop at a small residual may find nothing to do for these.
    """
    leaves = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(updates)]
    return jnp.all(jnp.array(leaves))


def _is_hole(node: Any) -> bool:
    """Whether `masked`, ours or that of optax, took a leaf from here."""
    return type(node).__name__ == "MaskedNode"
