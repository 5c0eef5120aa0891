"""Kernel matrices: their layout, and what is wrong with one."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxdl.types import Array


def flatten_kernel(kernel: ArrayLike) -> Array:
    """A full kernel as one matrix, the outputs of an example side by side.

    Args:
        kernel: ``(n1, n2, k, k)``, as with ``outputs="full"``.

    Returns:
        ``(n1 k, n2 k)``, in the order of ``ravel`` of outputs ``(n, k)``.

    Raises:
        ValueError: If the shape is another.

    Examples:
        >>> kernel = jnp.arange(8.0).reshape(2, 1, 2, 2)
        >>> print(flatten_kernel(kernel))
        [[0. 1.]
         [2. 3.]
         [4. 5.]
         [6. 7.]]
    """
    shape = jnp.shape(kernel)
    if len(shape) != 4 or shape[2] != shape[3]:
        raise ValueError(f"kernel must have shape (n1, n2, k, k), got {shape}")
    n1, n2, k, _ = shape
    return jnp.transpose(jnp.asarray(kernel), (0, 2, 1, 3)).reshape(n1 * k, n2 * k)


def not_a_kernel(**kernels: Any) -> str:
    """What to say of an argument that is no symmetric kernel.

    Values are looked at where they are known. Asymmetry counts above the root of the
    precision, relative to the largest entry; less may be rounding.

    Args:
        **kernels: Arguments by name.

    Returns:
        A message on the first that is wrong; empty where none is.

    Examples:
        >>> not_a_kernel(kernel=jnp.ones((2, 3)))
        'kernel must be a real matrix (n, n), got float32 (2, 3)'
    """
    for name, kernel in kernels.items():
        shape, dtype = jnp.shape(kernel), jnp.result_type(kernel)
        wrong = f"{name} must be a real matrix (n, n), got {dtype} {shape}"
        if jnp.issubdtype(dtype, jnp.complexfloating):
            return wrong
        if len(shape) == 4:
            return f"{wrong}; flatten_kernel makes one of (n, n, k, k)"
        if len(shape) != 2 or shape[0] != shape[1] or not shape[0]:
            return wrong
        if known_not_finite(kernel):
            return f"{name} must be finite, got entries that are not"
        known = _known(kernel)
        if known is None:
            continue
        if known.dtype.kind in "biu":  # whose differences wrap around
            known = known.astype(float)
        largest = np.max(np.abs(known))
        asymmetry = np.max(np.abs(known - known.T))
        if asymmetry > rounding(kernel) ** 0.5 * largest:
            return (
                f"{name} must be symmetric, got entries that differ from the transpose "
                f"by up to {asymmetry:.3g}, the largest being {largest:.3g}"
            )
    return ""


def known_not_finite(values: ArrayLike) -> bool:
    """Whether values that are not traced hold a NaN or infinity."""
    known = _known(values)
    return known is not None and not np.all(np.isfinite(known))


def rounding(values: ArrayLike) -> float:
    """The spacing of numbers at 1 in the dtype of some values; float64 for integers."""
    dtype = jnp.result_type(values)
    floating = jnp.issubdtype(dtype, jnp.floating)
    return float(jnp.finfo(dtype if floating else jnp.float64).eps)


# The values, or None where they are traced. Nothing is computed with a tracer: under
# vmap it may hold float64 of NumPy where JAX is set to 32 bits, and call it float32.
def _known(values):
    try:
        return np.asarray(values)
    except jax.errors.TracerArrayConversionError:
        return None
