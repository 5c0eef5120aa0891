"""Kernels in double precision, whatever precision JAX is set to."""

import contextlib
from contextlib import AbstractContextManager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def chosen(dtype: Any) -> np.dtype[Any] | None:
    """A dtype that a kernel can be asked for.

    Args:
        dtype: What came; None for no wish.

    Returns:
        The dtype, or None.

    Raises:
        ValueError: If it is neither float32 nor float64.
    """
    if dtype is None:
        return None
    try:
        found = np.dtype(dtype)
    except TypeError:
        found = None
    if found is None or found not in (np.float32, np.float64):
        raise ValueError(f"dtype must be float32, float64 or None, got {dtype!r}")
    return found


def mode(dtype: np.dtype[Any] | None) -> AbstractContextManager[object]:
    """The mode of JAX in which arrays of a dtype can be made.

    Args:
        dtype: Of `chosen`.

    Returns:
        A context.
    """
    if dtype is not None and dtype == np.float64:  # None equals float64 in NumPy
        return jax.enable_x64(True)
    return contextlib.nullcontext()


def cast(tree: Any, dtype: np.dtype[Any] | None) -> Any:
    """Real numbers in a dtype; the rest, and all with None, as they are.

    Args:
        tree: Pytree of arrays.
        dtype: Of `chosen`.

    Returns:
        The same tree.
    """
    if dtype is None:
        return tree

    def converted(leaf):
        if not jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
            return leaf
        if isinstance(leaf, np.ndarray):
            return leaf.astype(dtype, copy=False)
        return jnp.asarray(leaf, dtype)

    return jax.tree.map(converted, tree)
