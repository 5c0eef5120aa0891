"""The assignment problem, on the host and on the device."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.types import Array


def assign(scores: Any) -> np.ndarray:
    """The permutation p with the largest ``sum_i scores[i, p[i]]``, by SciPy.

    Args:
        scores: ``(m, m)``, on the host.

    Returns:
        ``(m,)`` integers.

    Raises:
        ValueError: If the scores are not a square matrix of finite numbers.

    Examples:
        >>> print(assign([[1.0, 3.0], [2.0, 3.5]]))
        [1 0]
    """
    from scipy.optimize import linear_sum_assignment

    scores = np.asarray(scores)
    if scores.ndim != 2 or scores.shape[0] != scores.shape[1]:
        raise ValueError(f"scores must be a square matrix, got shape {scores.shape}")
    if not np.all(np.isfinite(scores)):
        raise ValueError("scores must be finite, got NaN or infinity")
    return linear_sum_assignment(scores, maximize=True)[1]


def assign_on_device(scores: Array) -> Array:
    """The same by optax, under ``jit`` and ``vmap``.

    Args:
        scores: ``(m, m)``; finite, which is not checked.

    Returns:
        ``(m,)`` int32.
    """
    from optax.assignment import hungarian_algorithm

    costs = -jax.lax.stop_gradient(jnp.asarray(scores))
    rows, columns = hungarian_algorithm(costs)
    order = jnp.zeros(costs.shape[0], jnp.int32)
    return order.at[rows].set(columns.astype(jnp.int32))


def signed(even: Any, odd: Any) -> Any:
    """Scores of units whose signs are free: each pair has its better sign."""
    return even + abs(odd)
