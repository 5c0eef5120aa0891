"""A kernel in its eigenbasis, where linearized training is one number a mode.

Everything here computes in float64. What is wrong with a kernel (it is asymmetric,
indefinite, not finite) is said where its values are known, so not under ``jit``,
``vmap`` or ``grad``.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.ntk.reverse_mode import reverse_in_float64
from jaxdl.theory.precision import float64
from jaxdl.types import Array, Scalar

EPS64 = float(np.finfo(np.float64).eps)


class Modes(NamedTuple):
    """Eigenvalues and eigenvectors of a kernel; q = n, or n k for ``(n, n, k, k)``."""

    values: Array  # (q,) >= 0, ascending; 0 where null
    vectors: Array  # (q, q), a column a mode
    null: Array  # (q,) bool, no more than round-off
    leak: Array  # () share of a test kernel's row that is round-off in a null mode
    like: Array  # () zero, in the dtype of the kernel


def decompose(name: str, kernel: Any) -> Modes:
    """Eigenvalues and eigenvectors of a kernel, in float64.

    Eigenvalues are zero up to the round-off r, the largest of 8 eps and q eps64 of
    the largest eigenvalue, and the most negative one; eps is that of the kernel's
    dtype. By Cauchy and Schwarz, a row of a test kernel has a share of about
    sqrt(r / largest) in such modes.

    Args:
        name: Of the argument, for the errors.
        kernel: ``(n, n)`` or ``(n, n, k, k)``, its shape checked.

    Returns:
        The modes.

    Raises:
        ValueError: If the values are known and not finite, asymmetric by more than
            sqrt(eps) of the largest entry, or with an eigenvalue below
            -sqrt(eps) times the largest one.
    """
    check_finite(**{name: kernel})
    dtype = result_dtype(kernel)
    eps = float(jnp.finfo(dtype).eps)
    known = concrete(kernel)
    if known is not None:
        size = np.max(np.abs(known))
        axes = (1, 0) if known.ndim == 2 else (1, 0, 3, 2)
        gap = np.max(np.abs(known - known.transpose(axes)))
        if gap > eps**0.5 * size:
            raise ValueError(
                f"{name} must be symmetric, got entries up to {size:.3g} that differ "
                f"by up to {gap:.3g} from the transposed ones"
            )
    modes, lowest = _decompose(kernel)
    low, high = concrete(lowest), concrete(modes.values[-1])
    if low is not None and high is not None and low < -(eps**0.5) * high:
        raise ValueError(
            f"{name} must be positive semi-definite, got eigenvalues from {low:.3g} "
            f"to {high:.3g}; as round-off of {dtype} pass negative ones of "
            f"{eps**0.5:.1e} of the largest"
        )
    return modes


@reverse_in_float64
def _decompose(kernel):
    """The modes, and the lowest eigenvalue before those of round-off are zero."""
    dtype = result_dtype(kernel)
    (matrix,) = float64(flat(kernel))
    values, vectors = jnp.linalg.eigh(matrix)
    share = max(8 * float(jnp.finfo(dtype).eps), values.size * EPS64)
    round_off = jnp.maximum(share * values[-1], -values[0])
    null = values <= round_off
    leak = jnp.sqrt(round_off / jnp.where(values[-1] > 0, values[-1], 1.0))
    modes = Modes(
        jnp.where(null, 0.0, values),
        vectors,
        null,
        jax.lax.stop_gradient(leak),
        jnp.zeros((), dtype),
    )
    return modes, values[0]


def project_test(modes: Modes, kernel: Any) -> Array:
    """A kernel between test and training points, in the basis of the modes.

    In a null mode v of the training kernel, the test kernel vanishes too if both are
    parts of one positive semi-definite kernel. There, what may be round-off is zero;
    what is more is kept.

    Args:
        modes: Of the kernel between training points.
        kernel: ``(m, n)`` or ``(m, n, k, k)``.

    Returns:
        ``(m, q)``, or ``(m k, q)``.
    """
    (matrix,) = float64(flat(kernel))
    rows = matrix @ modes.vectors
    size = jnp.max(jnp.abs(rows), axis=1, keepdims=True)
    noise = modes.null[None] & (jnp.abs(rows) <= modes.leak * size)
    return jnp.where(noise, 0.0, rows)


def gain(modes: Modes, ridge: Scalar, time: Array) -> Array:
    """How far a mode has come, ``(1 - exp(-s t)) / s`` with s = eigenvalue + ridge.

    Args:
        modes: Of the kernel between training points.
        ridge: ``>= 0``.
        time: ``()`` or ``(t,)``, ``>= 0``; infinity too.

    Returns:
        ``(q,)`` or ``(t, q)``. It is t where s = 0, but 0 at infinity: null modes,
        which do not move, are left out of the limit.
    """
    values, time = jnp.broadcast_arrays(modes.values, time[..., None])
    rates = values + ridge
    positive = rates > 0
    rates = jnp.where(positive, rates, 1.0)
    endless, time = _split(time)
    come = jnp.where(endless, 1.0, -jnp.expm1(-rates * time))
    return jnp.where(positive, come / rates, time)


def left(modes: Modes, ridge: Scalar, time: Array) -> Array:
    """What is left of a mode's first error, ``1 - eigenvalue gain``, in all its digits.

    Args:
        modes: Of the kernel between training points.
        ridge: ``>= 0``.
        time: ``()`` or ``(t,)``, ``>= 0``; infinity too.

    Returns:
        ``(q,)`` or ``(t, q)``.
    """
    values, time = jnp.broadcast_arrays(modes.values, time[..., None])
    rates = values + ridge
    positive = rates > 0
    rates = jnp.where(positive, rates, 1.0)
    endless, time = _split(time)
    decay = jnp.where(endless, 0.0, jnp.exp(-rates * time))
    return jnp.where(positive, (ridge + values * decay) / rates, 1.0)


def scaled_time(learning_rate: Array, t: Array, n: int) -> Array:
    """``learning_rate t / n``, whose derivatives are zero where t is infinite.

    Args:
        learning_rate: ``()``.
        t: ``()`` or ``(t,)``, ``>= 0``; infinity too.
        n: Examples.

    Returns:
        In the shape of ``t``.
    """
    endless, t = _split(t)
    return jnp.where(endless, jnp.inf, learning_rate * t / n)


# Which times are infinite, and times with 0 there: derivatives of products with
# infinity would be NaN.
def _split(time):
    endless = jnp.isinf(time)
    return endless, jnp.where(endless, 0.0, time)


def flat(kernel: Any) -> Array:
    """``(m, n, k, k)`` as the matrix ``(m k, n k)``; a matrix as it is."""
    if jnp.ndim(kernel) == 2:
        return kernel
    m, n, k, _ = jnp.shape(kernel)
    return jnp.swapaxes(kernel, 1, 2).reshape(m * k, n * k)


def check_kernel(name: str, kernel: Any, shape: tuple[int | None, int | None]) -> None:
    """Check the shape and dtype of a kernel.

    Args:
        name: Of the argument.
        kernel: The kernel.
        shape: Its first two axes; None for any length.

    Raises:
        ValueError: If it is no real array ``(a, b)`` or ``(a, b, k, k)``.
    """
    got = jnp.shape(kernel)
    a, b = (length or "m" for length in shape)
    fits = (
        len(got) in {2, 4}
        and 0 not in got
        and all(w in {None, g} for w, g in zip(shape, got[:2], strict=True))
        and (len(got) == 2 or got[2] == got[3])
    )
    dtype = jnp.result_type(kernel)
    if not fits or jnp.issubdtype(dtype, jnp.complexfloating):
        raise ValueError(
            f"{name} must be a real array of shape ({a}, {b}) or ({a}, {b}, k, k), "
            f"got {dtype} {got}"
        )


def check_square(name: str, kernel: Any) -> int:
    """How many points a kernel has that is between the same points twice.

    Args:
        name: Of the argument, for the error of `check_kernel`.
        kernel: ``(n, n)`` or ``(n, n, k, k)``.

    Returns:
        n.
    """
    n = jnp.shape(kernel)[0] if jnp.ndim(kernel) else 0
    check_kernel(name, kernel, (n, n))
    return n


def check_finite(**values: Any) -> None:
    """Check the arrays whose values are known; None is none.

    Args:
        **values: Arrays by name.

    Raises:
        ValueError: If one is known and not finite.
    """
    for name, value in values.items():
        known = None if value is None else concrete(value)
        if known is not None and not np.all(np.isfinite(known)):
            raise ValueError(f"{name} must be finite, got {_first_bad(known)} in it")


def concrete(value: Any) -> np.ndarray | None:
    """The values of an array, or None where they are traced."""
    try:
        return np.asarray(value)
    except jax.errors.TracerArrayConversionError:
        return None


def number(value: Any) -> Any:
    """An array that is one number as a number of Python where its value is known."""
    known = None if isinstance(value, float | int) else concrete(value)
    return value if known is None or known.ndim else known.item()


def result_dtype(*values: Any) -> Any:
    """The widest floating dtype among the arrays given; None is none.

    NumPy's float64 counts, whatever JAX is set to.
    """
    return jnp.result_type(*(_floating(v) for v in values if v is not None))


def _floating(value):
    dtype = value.dtype if hasattr(value, "dtype") else np.asarray(value).dtype
    return dtype if jnp.issubdtype(dtype, jnp.floating) else jnp.dtype(jnp.float32)


def _first_bad(known):
    return known[~np.isfinite(known)].flat[0]
