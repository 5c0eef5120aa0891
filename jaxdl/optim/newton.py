"""Newton's method, matrix-free."""

from functools import partial

from jaxdl.curvature import hvp
from jaxdl.curvature.hessians import Loss
from jaxdl.optim.base import GradientTransformation, chain
from jaxdl.optim.inverse_curvature import Solver, scale_by_inverse_curvature
from jaxdl.optim.learning_rate import scale_by_learning_rate
from jaxdl.types import Scalar, Schedule


def newton(
    loss: Loss,
    learning_rate: Scalar | Schedule = 1.0,
    damping: Scalar = 0.0,
    *,
    solver: Solver = "minres",
    radius: Scalar | None = None,
    tol: Scalar | None = None,
    max_iterations: int | None = None,
    chunk_size: int | None = None,
) -> GradientTransformation:
    """Damped Newton, ``theta - learning_rate (H + damping)^-1 g``.

    H is the Hessian of ``loss`` on the extra argument ``batch`` of the update.
    Undamped and with rate 1 it solves a quadratic in one step, in any coordinates. It
    goes to the nearest critical point of the model, of whatever kind: saddles attract
    it. With ``solver="cg"`` it goes downhill instead, as `scale_by_inverse_curvature`
    says; so does `saddle_free_newton`.

    Args:
        loss: ``loss(params, batch) -> ()``, that of which the gradient is given.
        learning_rate: A constant ``>= 0``, or a schedule.
        damping: ``>= 0``, in the units of the eigenvalues; `adapt_damping` finds it.
        solver: "minres" for any signature, or "cg" for a step downhill.
        radius: Bound on the length of the step at rate 1, for "cg"; None for none.
        tol: Of the solve, as in `scale_by_inverse_curvature`.
        max_iterations: Of the solve, likewise.
        chunk_size: As in `jaxdl.curvature.hvp`.

    Returns:
        An optimizer that needs the parameters and ``batch``, or ``operator``.

    References:
        Nocedal, Wright (2006), Numerical Optimization, chapters 3 and 7.

    Examples:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> def loss(theta, scales):
        ...     return jnp.sum(scales * (theta - 3.0) ** 2)
        >>> optimizer = newton(loss)
        >>> theta, scales = jnp.array([0.0, 9.0]), jnp.array([1.0, 100.0])
        >>> gradient, state = jax.grad(loss)(theta, scales), optimizer.init(theta)
        >>> updates, _ = optimizer.update(gradient, state, theta, batch=scales)
        >>> print([f"{x:.3f}" for x in theta + updates])
        ['3.000', '3.000']
    """
    return chain(
        scale_by_inverse_curvature(
            partial(hvp, loss, chunk_size=chunk_size),
            damping,
            solver=solver,
            radius=radius,
            tol=tol,
            max_iterations=max_iterations,
        ),
        scale_by_learning_rate(learning_rate),
    )
