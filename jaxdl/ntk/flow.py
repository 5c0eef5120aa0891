"""Gradient flow of a linearized network on any loss, by an ODE solver."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxdl.ntk.modes import (
    check_finite,
    check_square,
    concrete,
    decompose,
    number,
    project_test,
    result_dtype,
)
from jaxdl.ntk.mse_flow import check_times
from jaxdl.ntk.response import PREDICTION, check_arguments
from jaxdl.theory.domain import outside
from jaxdl.theory.precision import float64, in_float64
from jaxdl.types import Array, Scalar


@in_float64
def gradient_flow(
    loss: Callable[[Array, Array], Array],
    k_train_train: ArrayLike,
    y_train: ArrayLike,
    *,
    learning_rate: Scalar = 1.0,
    ridge: Scalar = 0.0,
    tolerance: float = 1e-6,
    max_steps: int = 100_000,
    solver: Any = None,
) -> Callable[..., PREDICTION]:
    """Outputs at any time of gradient flow on any loss, such as cross-entropy.

    For a model linear in its parameters, with the kernel K = J J^T, the flow
    ``d theta / dt = -learning_rate dL / d theta`` on::

        L = sum_i loss(f_i, y_i) / n + ridge |theta - theta_0|^2 / (2 n)

    is, in the coordinates w of theta - theta_0 along the right singular vectors of J,
    with K = V S V^T::

        dw/dt = -(learning_rate / n) (S^(1/2) V^T dloss/df + ridge w),    w(0) = 0
        f(t) = f_0 + V S^(1/2) w(t)        f*(t) = f*_0 + K* V S^(-1/2) w(t)

    solved in float64 with steps of adaptive length. With ``losses.squared_error`` it
    is `gradient_flow_mse`. Modes whose eigenvalue is zero up to round-off are left
    out. A solver that takes too many steps raises a run-time error; over long times
    the implicit ``diffrax.Kvaerno5()`` takes fewer steps, each with a linear solve of
    n k unknowns.

    Compiled once for a loss and shapes; inside ``jit``, ``vmap`` or ``grad`` it must
    run under ``jax.enable_x64(True)``. It needs diffrax (an ImportError tells):
    ``pip install "jaxdl-experiments[analysis]"``.

    Args:
        loss: Of ONE example, ``loss(f, y) -> ()`` with f ``(k,)``, differentiable.
        k_train_train: ``(n, n)`` kernel K of all k outputs, or ``(n, n, k, k)``;
            symmetric, positive semi-definite.
        y_train: ``(n, ...)`` targets or labels, one an example.
        learning_rate: ``> 0``, finite.
        ridge: ``>= 0``, finite.
        tolerance: Error allowed a step, relative and absolute in w, ``> 0``; the
            absolute one is divided by the root of K's largest eigenvalue, so that it
            holds of the outputs.
        max_steps: Of the solver, ``>= 1``.
        solver: Of diffrax; None: ``diffrax.Tsit5()``, explicit, of order five.

    Returns:
        ``predict(t, f_train_0=None, f_test_0=None, k_test_train=None)`` as in
        `gradient_flow_mse`, for finite times. Without f_train_0 (zeros), the number
        of outputs k comes from a full kernel or from targets ``(n, k)``.

    Raises:
        ValueError: If a shape does not fit, a number is out of its domain, or, where
            the values are known, a kernel is asymmetric, indefinite or not finite.
            ``predict`` raises it too, also for a time that is negative or not finite.

    References:
        Lee et al. (2019), Wide neural networks of any depth evolve as linear models
        under gradient descent, section 2.2. https://arxiv.org/abs/1902.06720

    Examples:
        >>> import numpy as np
        >>> from jaxdl import losses
        >>> kernel, labels = np.array([[2.0, 1.0], [1.0, 2.0]]), np.array([0, 1])
        >>> predict = gradient_flow(losses.cross_entropy, kernel, labels)
        >>> f_train, _ = predict([0.0, 10.0], np.zeros((2, 2)))
        >>> print(np.round(f_train[1], 3))
        [[ 1.089 -1.089]
         [-1.089  1.089]]
    """
    n = check_square("k_train_train", k_train_train)
    if jnp.ndim(y_train) == 0 or jnp.shape(y_train)[0] != n:
        raise ValueError(
            f"y_train must have {n} examples first, as k_train_train has, got shape "
            f"{jnp.shape(y_train)}"
        )
    message = outside(
        "(0, inf)", learning_rate=number(learning_rate), tolerance=tolerance
    ) or outside("[0, inf)", ridge=number(ridge))
    if message:
        raise ValueError(message)
    if not isinstance(max_steps, int) or max_steps < 1:
        raise ValueError(f"max_steps must be an integer >= 1, got {max_steps}")
    check_finite(y_train=y_train)
    diffrax = _diffrax()
    modes = decompose("k_train_train", k_train_train)
    roots = jnp.sqrt(modes.values)
    speed, penalty = float64(learning_rate, ridge)
    speed = speed / n
    targets = jnp.asarray(y_train)

    def predict(
        t: Any, f_train_0: Any = None, f_test_0: Any = None, k_test_train: Any = None
    ) -> PREDICTION:
        wide_outside = jax.config.jax_enable_x64
        with jax.enable_x64(True):
            return solve(t, f_train_0, f_test_0, k_test_train, wide_outside)

    def solve(t, f_train_0, f_test_0, k_test_train, wide_outside):
        t = jnp.asarray(t) if isinstance(t, list | tuple) else t
        check_times(t)
        known = concrete(t)
        if known is not None and not np.all(np.isfinite(known)):
            raise ValueError("t must be finite, got infinity: no limit in general")
        k = _outputs(k_train_train, targets, f_train_0)
        check_arguments(k_train_train, (n, k), f_train_0, f_test_0, k_test_train)
        columns = k if jnp.ndim(k_train_train) == 2 else 1
        f0, times = float64(
            jnp.zeros((n, k)) if f_train_0 is None else f_train_0, jnp.ravel(t)
        )
        if not wide_outside and concrete(times) is None:
            raise ValueError(
                "under jit, vmap or grad gradient_flow needs 64 bits outside too: "
                "put jax.enable_x64(True) around, got 32"
            )
        wide = jnp.broadcast_to(roots[:, None], (roots.size, columns))

        order = jnp.argsort(times)
        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(_velocity(loss)),
            diffrax.Tsit5() if solver is None else solver,
            0.0,
            times[order[-1]],
            None,
            jnp.zeros_like(wide),
            (speed, penalty, modes.vectors, wide, f0, targets),
            saveat=diffrax.SaveAt(ts=times[order]),
            stepsize_controller=diffrax.PIDController(
                rtol=tolerance, atol=tolerance / jnp.maximum(roots[-1], 1e-300)
            ),
            max_steps=max_steps,
        )
        weights = jnp.asarray(solution.ys)[jnp.argsort(order)]
        weights = weights.reshape(*jnp.shape(t), *wide.shape)
        dtype = result_dtype(modes.like, f_train_0, f_test_0, k_test_train)

        def outputs(first, rows):
            moved = jnp.einsum("rq,...qc->...rc", rows, weights)
            moved = moved.reshape(*jnp.shape(t), -1, k)
            return (jnp.broadcast_to(first, moved.shape) + moved).astype(dtype)

        f_train = outputs(
            f0, modes.vectors * jnp.broadcast_to(roots, (roots.size,) * 2)
        )
        if k_test_train is None:
            return f_train, None
        m = jnp.shape(k_test_train)[0]
        (first,) = float64(jnp.zeros((m, k)) if f_test_0 is None else f_test_0)
        inverse = jnp.where(modes.null, 0.0, 1 / jnp.where(modes.null, 1.0, roots))
        rows = project_test(modes, k_test_train)
        return f_train, outputs(first, rows * jnp.broadcast_to(inverse, rows.shape))

    return predict


@lru_cache(maxsize=32)  # the same function for the same loss: compiled once
def _velocity(loss):
    def velocity(_, w, arguments):
        speed, penalty, vectors, wide, f0, targets = arguments
        f = f0 + (vectors @ (wide * w)).reshape(f0.shape)
        slope = jax.vmap(jax.grad(loss))(f, targets).reshape(w.shape)
        return -speed * (wide * (vectors.T @ slope) + penalty * w)

    return velocity


# The number of outputs k, from what has it.
def _outputs(kernel, targets, f_train_0):
    if jnp.ndim(kernel) == 4:
        return kernel.shape[2]
    if f_train_0 is not None:
        if jnp.ndim(f_train_0) != 2:
            raise ValueError(
                f"f_train_0 must have shape (n, k), got {jnp.shape(f_train_0)}"
            )
        return jnp.shape(f_train_0)[1]
    if targets.ndim == 2:
        return targets.shape[1]
    raise ValueError(
        "f_train_0 (n, k) is needed to know k, where neither kernel nor targets tell, "
        "got None"
    )


def _diffrax():
    try:
        import diffrax  # pyright: ignore[reportMissingImports]  (optional)
    except ImportError as error:
        raise ImportError(
            "gradient_flow solves an ODE with diffrax, which is not installed; "
            'run: pip install "jaxdl-experiments[analysis]"'
        ) from error
    return diffrax
