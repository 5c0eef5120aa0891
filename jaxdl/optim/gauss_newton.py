"""Gauss-Newton, and its damping after Levenberg and Marquardt."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jaxdl.curvature import ggn_vp
from jaxdl.curvature.gauss_newton import Apply
from jaxdl.optim.adaptive_damping import adapt_damping
from jaxdl.optim.base import GradientTransformation, chain
from jaxdl.optim.inverse_curvature import scale_by_inverse_curvature
from jaxdl.optim.learning_rate import scale_by_learning_rate
from jaxdl.types import Array, Scalar, Schedule


def gauss_newton(
    apply: Apply,
    loss_of_outputs: Callable[[Any, Any], Array],
    learning_rate: Scalar | Schedule = 1.0,
    damping: Scalar = 0.0,
    *,
    tol: Scalar | None = None,
    max_iterations: int | None = None,
    chunk_size: int | None = None,
) -> GradientTransformation:
    """Gauss-Newton, ``theta - learning_rate (G + damping)^-1 g``.

    G is the generalized Gauss-Newton matrix of `jaxdl.curvature.ggn_vp` on the extra
    argument ``batch`` of the update: the Hessian with the model linearized. The step
    goes downhill if the loss is convex in the outputs. Linear least squares takes one
    step. At a constant damping this is Levenberg's step; `levenberg_marquardt` adapts
    the damping.

    Args:
        apply: ``apply(params, x) -> outputs`` for one example.
        loss_of_outputs: ``loss_of_outputs(outputs, y) -> ()`` for one example, convex
            in the outputs. The gradient is that of its mean over the batch, to which
            others may be added.
        learning_rate: A constant ``>= 0``, or a schedule.
        damping: ``>= 0``, in the units of the eigenvalues. Without it, directions that
            the outputs do not depend on are left alone only up to rounding.
        tol: Of the solve, as in `scale_by_inverse_curvature`.
        max_iterations: Of the solve, likewise.
        chunk_size: As in `jaxdl.curvature.ggn_vp`.

    Returns:
        An optimizer that needs the parameters and a ``batch`` ``(x, y)``, or
        ``operator``.

    References:
        Schraudolph (2002), Fast curvature matrix-vector products for second-order
        gradient descent, Neural Computation 14(7), 1723-1738.

    Examples:
        >>> from jaxdl.losses import squared_error
        >>> def apply(theta, x):
        ...     return jnp.dot(theta, x)
        >>> x = jnp.array([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0]])
        >>> y = x @ jnp.array([5.0, -2.0])
        >>> theta = jnp.zeros(2)
        >>> optimizer, gradient = gauss_newton(apply, squared_error), -x.T @ y / 3
        >>> state = optimizer.init(theta)
        >>> updates, _ = optimizer.update(gradient, state, theta, batch=(x, y))
        >>> print((theta + updates).round(3))
        [ 5. -2.]
    """
    return chain(
        scale_by_inverse_curvature(
            partial(ggn_vp, apply, loss_of_outputs, chunk_size=chunk_size),
            damping,
            solver="cg",
            tol=tol,
            max_iterations=max_iterations,
        ),
        scale_by_learning_rate(learning_rate),
    )


def levenberg_marquardt(
    apply: Apply,
    loss_of_outputs: Callable[[Any, Any], Array],
    damping: Scalar = 1.0,
    *,
    increase: Scalar = 2.0,
    decrease: Scalar = 1 / 3,
    min_damping: Scalar = 1e-12,
    max_damping: Scalar = 1e12,
    tol: Scalar | None = None,
    max_iterations: int | None = None,
    chunk_size: int | None = None,
) -> GradientTransformation:
    """Gauss-Newton that adapts its damping and takes no step that raises the loss.

    The step is that of `gauss_newton` at rate 1, the rule that of `adapt_damping`: the
    loss on the same batch decides. Little damping makes Gauss-Newton, much of it short
    steps of gradient descent. Marquardt's scaling by the diagonal is not done.

    Args:
        apply: ``apply(params, x) -> outputs`` for one example.
        loss_of_outputs: ``loss_of_outputs(outputs, y) -> ()`` for one example, convex
            in the outputs.
        damping: That of the first update, ``>= 0``, in the units of the eigenvalues.
        increase: As in `adapt_damping`.
        decrease: As in `adapt_damping`.
        min_damping: As in `adapt_damping`.
        max_damping: As in `adapt_damping`.
        tol: Of the solve, as in `scale_by_inverse_curvature`.
        max_iterations: Of the solve, likewise.
        chunk_size: As in `jaxdl.curvature.ggn_vp`.

    Returns:
        An optimizer, to be put last in a chain, that needs the parameters and a
        ``batch`` ``(x, y)``.

    References:
        Levenberg (1944), A method for the solution of certain non-linear problems in
        least squares, Quarterly of Applied Mathematics 2(2), 164-168. Marquardt
        (1963), An algorithm for least-squares estimation of nonlinear parameters,
        Journal of SIAM 11(2), 431-441.

    Examples:
        >>> from jaxdl.losses import squared_error
        >>> def apply(theta, x):
        ...     return jnp.exp(theta * x)
        >>> x = jnp.linspace(0.0, 1.0, 5)
        >>> batch = (x, jnp.exp(2.0 * x))
        >>> def loss(theta):
        ...     return jnp.mean(jax.vmap(squared_error)(jnp.exp(theta * x), batch[1]))
        >>> optimizer, theta = levenberg_marquardt(apply, squared_error), jnp.array(0.0)
        >>> state = optimizer.init(theta)
        >>> for _ in range(10):
        ...     gradient = jax.grad(loss)(theta)
        ...     updates, state = optimizer.update(gradient, state, theta, batch=batch)
        ...     theta = theta + updates
        >>> print(f"{theta:.3f} {state.accepted} {state.damping < 0.1}")
        2.000 True True
    """

    def mean_loss(params, batch):
        x, y = batch
        outputs = jax.vmap(apply, (None, 0))(params, x)
        return jnp.mean(jax.vmap(loss_of_outputs)(outputs, y))

    def at(damping):
        return gauss_newton(
            apply,
            loss_of_outputs,
            damping=damping,
            tol=tol,
            max_iterations=max_iterations,
        )

    return adapt_damping(
        at,
        partial(ggn_vp, apply, loss_of_outputs, chunk_size=chunk_size),
        mean_loss,
        damping,
        increase=increase,
        decrease=decrease,
        min_damping=min_damping,
        max_damping=max_damping,
    )
