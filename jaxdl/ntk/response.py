"""From the gain of each mode to outputs: what flow and descent have in common."""

from typing import Any

import jax.numpy as jnp

from jaxdl.ntk.modes import (
    Modes,
    check_finite,
    check_kernel,
    project_test,
    result_dtype,
)
from jaxdl.theory.precision import float64
from jaxdl.types import Array

PREDICTION = tuple[Array, Array | None]
"""``f_train`` and, with a test kernel, ``f_test``; see `gradient_flow_mse`."""


def check_targets(kernel: Any, y: Any, n: int) -> int:
    """Check the targets against the kernel.

    Args:
        kernel: ``(n, n)`` or ``(n, n, k, k)``, already checked.
        y: The targets.
        n: Examples.

    Returns:
        k.

    Raises:
        ValueError: If they are no real array ``(n, k)``, or known and not finite.
    """
    got, dtype = jnp.shape(y), jnp.result_type(y)
    k = "k" if jnp.ndim(kernel) == 2 else jnp.shape(kernel)[2]
    fits = len(got) == 2 and got[0] == n and got[1] > 0 and k in {"k", got[-1]}
    if not fits or jnp.issubdtype(dtype, jnp.complexfloating):
        raise ValueError(
            f"y_train must be a real array of shape ({n}, {k}), as k_train_train "
            f"{jnp.shape(kernel)} asks, got {dtype} {got}"
        )
    check_finite(y_train=y)
    return got[1]


def check_arguments(
    kernel: Any, shape: tuple[int, int], f_train_0: Any, f_test_0: Any, test: Any
) -> None:
    """Check what a prediction is asked from.

    Args:
        kernel: ``k_train_train``.
        shape: ``(n, k)``.
        f_train_0: First training outputs, or None.
        f_test_0: First test outputs, or None.
        test: ``k_test_train``, or None.

    Raises:
        ValueError: If a shape does not fit, a value is known and not finite, or
            there are test outputs without a test kernel.
    """
    n, k = shape
    if f_train_0 is not None and jnp.shape(f_train_0) != (n, k):
        raise ValueError(
            f"f_train_0 must have shape ({n}, {k}), got {jnp.shape(f_train_0)}"
        )
    if test is None:
        if f_test_0 is not None:
            raise ValueError("f_test_0 is given, so k_test_train must be, got None")
    else:
        check_kernel("k_test_train", test, (None, n))
        m = jnp.shape(test)[0]
        want = (m, *jnp.shape(kernel)[1:])
        if jnp.shape(test) != want:
            raise ValueError(
                f"k_test_train must have shape {want}, as k_train_train "
                f"{jnp.shape(kernel)} asks, got {jnp.shape(test)}"
            )
        if f_test_0 is not None and jnp.shape(f_test_0) != (m, k):
            raise ValueError(
                f"f_test_0 must have shape ({m}, {k}), got {jnp.shape(f_test_0)}"
            )
    check_finite(f_train_0=f_train_0, f_test_0=f_test_0, k_test_train=test)


def respond(
    modes: Modes,
    gains: Array,
    y_train: Any,
    f_train_0: Any,
    f_test_0: Any,
    k_test_train: Any,
) -> PREDICTION:
    """Outputs where the mode with eigenvalue l has lost ``l gain`` of its error.

    Args:
        modes: Of the kernel between training points.
        gains: ``(q,)`` or ``(t, q)``, float64.
        y_train: ``(n, k)``.
        f_train_0: ``(n, k)``, or None for zeros.
        f_test_0: ``(m, k)``, or None for zeros.
        k_test_train: ``(m, n)`` or ``(m, n, k, k)``, or None.

    Returns:
        ``(n, k)`` and ``(m, k)`` or None, times first if gains has times, in the
        widest dtype given.
    """
    given = (y_train, f_train_0, f_test_0, k_test_train)
    dtype = result_dtype(modes.like, *given)
    (y,) = float64(y_train)
    n, k = y.shape
    (f0,) = float64(jnp.zeros_like(y) if f_train_0 is None else f_train_0)
    columns = k if modes.values.size == n else 1
    error = modes.vectors.T @ (f0 - y).reshape(-1, columns)  # (q, columns)

    def outputs(first, rows, gains):
        # (r, q) rows times the modes' changes; times first
        changes = gains[..., None] * jnp.broadcast_to(
            error, (*gains.shape, error.shape[-1])
        )
        moved = jnp.einsum("rq,...qc->...rc", rows, changes)
        points = rows.shape[0] * columns // k
        moved = moved.reshape(*gains.shape[:-1], points, k)
        return (jnp.broadcast_to(first, moved.shape) - moved).astype(dtype)

    f_train = outputs(f0, modes.vectors * modes.values[None], gains)
    if k_test_train is None:
        return f_train, None
    rows = project_test(modes, k_test_train)
    m = jnp.shape(k_test_train)[0]
    (first,) = float64(jnp.zeros((m, k)) if f_test_0 is None else f_test_0)
    return f_train, outputs(first, rows, gains)
