"""The natural gradient: steepest descent in the distance between distributions."""

from collections.abc import Callable
from typing import Any

from jaxdl.curvature import LinearOperator, fisher_vp
from jaxdl.curvature.gauss_newton import Apply
from jaxdl.optim.base import GradientTransformation, chain
from jaxdl.optim.inverse_curvature import scale_by_inverse_curvature
from jaxdl.optim.learning_rate import scale_by_learning_rate
from jaxdl.types import Array, Params, Scalar, Schedule


def natural_gradient(
    apply: Apply,
    log_partition: str | Callable[[Any], Array],
    learning_rate: Scalar | Schedule = 1.0,
    damping: Scalar = 0.0,
    *,
    tol: Scalar | None = None,
    max_iterations: int | None = None,
    chunk_size: int | None = None,
) -> GradientTransformation:
    """Natural gradient descent, ``theta - learning_rate (F + damping)^-1 g``.

    F is the Fisher information of `jaxdl.curvature.fisher_vp` on the inputs of the
    extra argument ``batch``. Without damping a short step does not depend on the
    parameterization: to first order in the rate it changes the outputs alike in any.
    With the matching cross-entropy as the loss it is `gauss_newton`, and with outputs
    linear in the parameters `newton`.

    Args:
        apply: ``apply(params, x) -> z``, the natural parameters for one example.
        log_partition: The family: "categorical", "bernoulli", "normal", or a function
            of one example's z, as in `jaxdl.curvature.fisher_vp`.
        learning_rate: A constant ``>= 0``, or a schedule.
        damping: ``>= 0``, in the units of the eigenvalues; it makes the step depend on
            the parameterization.
        tol: Of the solve, as in `scale_by_inverse_curvature`.
        max_iterations: Of the solve, likewise.
        chunk_size: As in `jaxdl.curvature.fisher_vp`.

    Returns:
        An optimizer that needs the parameters and a ``batch`` ``(x, y)``, of which y
        is not looked at, or ``operator``.

    References:
        Amari (1998), Natural gradient works efficiently in learning, Neural
        Computation 10(2), 251-276. Martens (2020), New insights and perspectives on
        the natural gradient method. https://arxiv.org/abs/1412.1193

    Examples:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> def apply(theta, x):
        ...     return theta * x
        >>> batch = (jnp.array([1.0, -1.0]), jnp.array([1.0, 0.0]))
        >>> theta, gradient = jnp.array(2.0), -jax.nn.sigmoid(-jnp.array(2.0))
        >>> optimizer = natural_gradient(apply, "bernoulli", 0.1)
        >>> state = optimizer.init(theta)
        >>> updates, _ = optimizer.update(gradient, state, theta, batch=batch)
        >>> print(f"{updates:.4f} {0.1 * (1 + jnp.exp(-2.0)):.4f}")  # .1 / sigmoid(2)
        0.1135 0.1135
    """

    def curvature(params: Params, batch: Any) -> LinearOperator:
        inputs, _ = batch
        return fisher_vp(apply, log_partition, params, inputs, chunk_size=chunk_size)

    return chain(
        scale_by_inverse_curvature(
            curvature,
            damping,
            solver="cg",
            tol=tol,
            max_iterations=max_iterations,
        ),
        scale_by_learning_rate(learning_rate),
    )
