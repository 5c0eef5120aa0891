"""How alike two kernels are, or a kernel and a target.

Computed in float64 whatever the kernels' dtype, derivatives included.
"""

import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxdl.ntk.kernels import known_not_finite, not_a_kernel, rounding
from jaxdl.ntk.spectra import not_a_target
from jaxdl.theory.precision import float64, formula, in_float64
from jaxdl.types import Array


@in_float64
def kernel_target_alignment(kernel: ArrayLike, y: ArrayLike) -> Array:
    """The cosine between a kernel and the ideal kernel of a target, ``y y^T``.

    ``<K, y y^T>_F / (|K|_F |y y^T|_F)``, and ``|y y^T|_F = |y|^2`` for one target.
    Nothing is centred: for that, take `centered_kernel_alignment` of K and ``y y^T``.

    Args:
        kernel: ``(n, n)`` symmetric.
        y: ``(n,)``, or ``(n, c)`` for c targets such as one-hot labels.

    Returns:
        ``()`` float64, in [0, 1] for a positive semi-definite kernel; NaN for a kernel
        or target of zeros.

    Raises:
        ValueError: If ``kernel`` is not real and square, or ``y`` does not fit; or the
            kernel is not symmetric or one not finite, where the values are known.

    References:
        Cristianini, Shawe-Taylor, Elisseeff, Kandola (2001), On kernel-target
        alignment, Advances in Neural Information Processing Systems 14.

    Examples:
        >>> y = jnp.array([1.0, -1.0])
        >>> print(f"{kernel_target_alignment(jnp.eye(2), y):.6f}")  # 2 / (sqrt(2) 2)
        0.707107
    """
    if message := not_a_kernel(kernel=kernel) or not_a_target(kernel, y):
        raise ValueError(message)
    kernel, y = float64(kernel, y)
    return _kernel_target_alignment(kernel, y.reshape(len(y), -1))


@in_float64
def centered_kernel_alignment(k1: ArrayLike, k2: ArrayLike) -> Array:
    """The cosine between two kernels after centring in feature space.

    ``<H K1 H, H K2 H>_F / (|H K1 H|_F |H K2 H|_F)`` with ``H = I - 1 1^T / n``: the
    centred alignment of Cortes et al., which is the CKA that Kornblith et al. compare
    representations with. It does not change when a kernel is multiplied by a positive
    number or a constant is added to all its entries.

    Args:
        k1: ``(n, n)`` symmetric.
        k2: ``(n, n)`` symmetric.

    Returns:
        ``()`` float64, in [0, 1] for positive semi-definite kernels. NaN if one is
        zero after centring, up to the rounding of its dtype: it then says nothing.

    Raises:
        ValueError: If the kernels are not real and square of one size; or not symmetric
            or not finite, where the values are known.

    References:
        Cortes, Mohri, Rostamizadeh (2012), Algorithms for learning kernels based on
        centered alignment. https://arxiv.org/abs/1203.0550 Kornblith, Norouzi, Lee,
        Hinton (2019), Similarity of neural network representations revisited.
        https://arxiv.org/abs/1905.00414

    Examples:
        >>> kernel = jnp.array([[2.0, 1.0], [1.0, 3.0]])
        >>> print(f"{centered_kernel_alignment(kernel, 5 * kernel + 7):.6f}")
        1.000000
    """
    if message := not_a_kernel(k1=k1, k2=k2):
        raise ValueError(message)
    if jnp.shape(k1) != jnp.shape(k2):
        raise ValueError(
            f"k1 and k2 must have the same shape, got {jnp.shape(k1)}, {jnp.shape(k2)}"
        )
    limits = 8 * rounding(k1), 8 * rounding(k2)
    return _centered_kernel_alignment(*float64(k1, k2, *limits))


@in_float64
def relative_change(k0: ArrayLike, k1: ArrayLike) -> Array:
    """How far a kernel has moved, ``|K1 - K0|_F / |K0|_F``.

    Near zero while training is lazy; about 1 once the kernel is another.

    Args:
        k0: The kernel to start from: any real array, such as ``(n, n)``, or ``(n1, n2,
            k, k)`` between two sets of examples.
        k1: The kernel later, of the same shape.

    Returns:
        ``()`` float64, ``>= 0``; NaN if k0 is zero.

    Raises:
        ValueError: If the shapes differ or one is complex or empty; or one not finite,
            where the values are known.

    Examples:
        >>> float(relative_change(jnp.eye(3), 1.5 * jnp.eye(3)))
        0.5
    """
    shapes = jnp.shape(k0), jnp.shape(k1)
    if shapes[0] != shapes[1] or 0 in shapes[0]:
        raise ValueError(
            f"k0 and k1 must have the same shape and entries, got {shapes[0]}, "
            f"{shapes[1]}"
        )
    for name, kernel in (("k0", k0), ("k1", k1)):
        if jnp.issubdtype(jnp.result_type(kernel), jnp.complexfloating):
            raise ValueError(f"{name} must be real, got {jnp.result_type(kernel)}")
        if known_not_finite(kernel):
            raise ValueError(f"{name} must be finite, got entries that are not")
    return _relative_change(*float64(k0, k1))


@formula
def _kernel_target_alignment(kernel: Array, y: Array) -> Array:
    scale = _norm(kernel) * _norm(y.T @ y)
    return jnp.sum(y * (kernel @ y)) / jnp.where(scale > 0, scale, jnp.nan)


@formula
def _centered_kernel_alignment(
    k1: Array, k2: Array, limit_1: Array, limit_2: Array
) -> Array:
    c1, c2 = _centered(k1), _centered(k2)
    n1, n2 = _norm(c1), _norm(c2)
    something = (n1 > limit_1 * _norm(k1)) & (n2 > limit_2 * _norm(k2))
    return jnp.sum(c1 * c2) / jnp.where(something, n1 * n2, jnp.nan)


@formula
def _relative_change(k0: Array, k1: Array) -> Array:
    start = _norm(k0)
    return _norm(k1 - k0) / jnp.where(start > 0, start, jnp.nan)


def _centered(kernel):
    """``H K H``."""
    rows = kernel - jnp.mean(kernel, axis=0, keepdims=True)
    return rows - jnp.mean(rows, axis=1, keepdims=True)


def _norm(a):
    """Frobenius norm, with derivative zero at zero."""
    square = jnp.sum(jnp.square(a))
    return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1.0)), 0.0)
