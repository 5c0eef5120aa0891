"""Saddle-free Newton: divide by the modulus of the curvature."""

from functools import partial

import jax
import jax.numpy as jnp

from jaxdl.curvature import hvp, lanczos
from jaxdl.curvature.hessians import Loss
from jaxdl.optim.base import GradientTransformation, chain, zero_step
from jaxdl.optim.domains import not_a_count, outside
from jaxdl.optim.inverse_curvature import (
    Curvature,
    SolveState,
    operator_at,
)
from jaxdl.optim.learning_rate import scale_by_learning_rate
from jaxdl.types import Scalar, Schedule


def saddle_free_newton(
    loss: Loss,
    learning_rate: Scalar | Schedule = 1.0,
    damping: Scalar = 0.0,
    *,
    depth: int = 50,
    chunk_size: int | None = None,
) -> GradientTransformation:
    """Saddle-free Newton, ``theta - learning_rate (|H| + damping)^-1 g``.

    Newton's step with its sign turned round along directions of negative curvature,
    which therefore repel: at a saddle it is as fast as Newton's, and leaves.

    Args:
        loss: ``loss(params, batch) -> ()``, that of which the gradient is given.
        learning_rate: A constant ``>= 0``, or a schedule.
        damping: ``>= 0``, in the units of the eigenvalues; it bounds the step along
            directions that hardly curve.
        depth: As in `scale_by_inverse_modulus`.
        chunk_size: As in `jaxdl.curvature.hvp`.

    Returns:
        An optimizer that needs the parameters and ``batch``, or ``operator``.

    References:
        Dauphin, Pascanu, Gulcehre, Cho, Ganguli, Bengio (2014), Identifying and
        attacking the saddle point problem in high-dimensional non-convex optimization,
        algorithm 1. https://arxiv.org/abs/1406.2572

    Examples:
        >>> def loss(theta, batch):
        ...     return theta[0] ** 2 - theta[1] ** 2
        >>> optimizer, theta = saddle_free_newton(loss), jnp.array([1.0, 0.1])
        >>> state = optimizer.init(theta)
        >>> for _ in range(4):
        ...     gradient = jax.grad(loss)(theta, None)
        ...     updates, state = optimizer.update(gradient, state, theta, batch=None)
        ...     theta = theta + updates
        >>> print(jnp.abs(theta).round(3))  # the saddle is at 0
        [0.  1.6]
    """
    return chain(
        scale_by_inverse_modulus(
            partial(hvp, loss, chunk_size=chunk_size), damping, depth=depth
        ),
        scale_by_learning_rate(learning_rate),
    )


def scale_by_inverse_modulus(
    curvature: Curvature, damping: Scalar = 0.0, *, depth: int = 50
) -> GradientTransformation:
    """Multiply the gradient by ``(|A| + damping)^-1`` for a curvature matrix A.

    With ``A = sum l v v^T``, ``|A| = sum |l| v v^T``. A is projected on the Krylov
    space g, A g, A^2 g, ... of the gradient g, of up to ``depth`` dimensions, which
    contains the gradient but not all of A: the step is exact once the space is
    invariant, as it is when ``depth`` is the number of parameters. The state's
    ``converged`` says whether it was. Where the curvature is exactly 0 and so is the
    damping, the step is 0.

    Args:
        curvature: ``curvature(params, batch) -> A``, as in
            `scale_by_inverse_curvature`.
        damping: ``>= 0``, in the units of the eigenvalues.
        depth: Products with A in an update, ``>= 1``; takes ``depth`` times the memory
            of the parameters.

    Returns:
        A transformation that needs float32 or float64 parameters, and gradients of
        their dtypes. NaN and infinite gradients give NaN.

    Raises:
        ValueError: If a Python number lies outside its domain.

    References:
        Dauphin, Pascanu, Gulcehre, Cho, Ganguli, Bengio (2014), Identifying and
        attacking the saddle point problem in high-dimensional non-convex optimization,
        section 6 and algorithm 1. https://arxiv.org/abs/1406.2572
    """
    if problem := outside("[0, inf)", damping=damping) or not_a_count(1, depth=depth):
        raise ValueError(problem)

    def init(params):
        del params
        return SolveState(zero_step(), jnp.array(True), jnp.array(False))

    def update(updates, state, params=None, *, operator=None, **extra):
        del state
        operator = operator_at(curvature, operator, updates, params, extra)
        rows = min(depth, operator.size)
        return _solve(rows, operator, updates, damping)

    return GradientTransformation(init, update)


@jax.jit(static_argnums=0)
def _solve(depth, operator, updates, damping):
    """Divide in the eigenbasis of the projection."""
    flat = operator.ravel(updates)
    basis = lanczos.krylov(operator.flat_matvec, flat, depth)
    nodes, rotation = lanczos.quadrature(basis)
    modulus = jnp.abs(nodes) + jnp.asarray(damping, flat.dtype)
    inverse = jnp.where(modulus > 0, 1 / jnp.where(modulus > 0, modulus, 1), 0)
    image = lanczos.multiply(
        lanczos.multiply(rotation, rotation[0] * inverse), basis.rows[:depth]
    )
    rounding = 16 * jnp.finfo(flat.dtype).eps * jnp.max(jnp.abs(nodes))
    length = lanczos.norm(flat)
    invariant = (basis.coupling == 0) | (basis.filled == operator.size)
    exact = invariant & jnp.isfinite(length)
    negative = jnp.any(nodes < -rounding)
    return operator.unravel(length * image), SolveState(basis.filled, exact, negative)
