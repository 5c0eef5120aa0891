"""Random weights whose variance is set by the number of inputs and outputs.

An initializer is ``(key, shape, fan_in, fan_out, dtype) -> array``. The fans are
arguments of their own, and may be traced: a layer padded to a larger shape is
scaled by its true width.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxdl.types import Array, Key, Scalar

Initializer = Callable[[Key, tuple[int, ...], Scalar, Scalar, Any], Array]


def variance_scaling(gain: float, fan: str, distribution: str) -> Initializer:
    """Zero-mean weights with variance ``gain / fan``.

    Args:
        gain: Variance times fan, ``>= 0``.
        fan: ``"in"``, ``"out"`` or ``"average"``, the mean of both.
        distribution: ``"normal"``, or ``"uniform"`` on ``sqrt(3 gain / fan) [-1, 1]``.

    Returns:
        An initializer.

    Raises:
        ValueError: If an argument is not one of those.
    """
    if gain < 0:
        raise ValueError(f"gain must be >= 0, got {gain}")
    if fan not in ("in", "out", "average"):
        raise ValueError(f"fan must be 'in', 'out' or 'average', got {fan!r}")
    if distribution not in ("normal", "uniform"):
        raise ValueError(
            f"distribution must be 'normal' or 'uniform', got {distribution!r}"
        )

    def initialize(key, shape, fan_in, fan_out, dtype=float):
        fans = {"in": fan_in, "out": fan_out, "average": (fan_in + fan_out) / 2}
        deviation = jnp.sqrt(gain / jnp.asarray(fans[fan], dtype))
        if distribution == "normal":
            draws = jax.random.normal(key, shape, dtype)
        else:
            draws = jax.random.uniform(key, shape, dtype, -1.0, 1.0) * jnp.sqrt(3.0)
        return (deviation * draws).astype(draws.dtype)

    return initialize


he_normal = variance_scaling(2.0, "in", "normal")
"""Variance ``2 / fan_in``: keeps the mean square of ReLU activations constant.

He et al. (2015), Delving deep into rectifiers, https://arxiv.org/abs/1502.01852.
"""

he_uniform = variance_scaling(2.0, "in", "uniform")
"""As `he_normal`, uniform."""

lecun_normal = variance_scaling(1.0, "in", "normal")
"""Variance ``1 / fan_in``."""

lecun_uniform = variance_scaling(1.0, "in", "uniform")
"""As `lecun_normal`, uniform."""

xavier_normal = variance_scaling(1.0, "average", "normal")
"""Variance ``2 / (fan_in + fan_out)``. Glorot and Bengio (2010)."""

xavier_uniform = variance_scaling(1.0, "average", "uniform")
"""As `xavier_normal`, uniform on ``sqrt(6 / (fan_in + fan_out)) [-1, 1]``."""


def orthogonal(scale: float = 1.0) -> Initializer:
    """Uniformly random matrices with orthonormal rows or columns, times ``scale``.

    ``scale Q`` with Q of Haar's distribution: from the QR decomposition of a Gaussian
    matrix or, in a padded layer, its polar decomposition. Every singular value is
    ``scale``, so a stack of square linear layers keeps all lengths, not only in the
    mean as Gaussian weights do. A square one has variance ``scale^2 / fan_in``: take
    ``sqrt(2)`` with ReLU. In a padded layer the block of the true fans is orthogonal,
    and the rest is zero.

    Args:
        scale: Singular values, ``>= 0``. (It is a factor of the weights;
            ``gain`` in `variance_scaling` is one of their variance.)

    Returns:
        An initializer, of matrices only: it raises a ``ValueError`` for other shapes.

    Raises:
        ValueError: If ``scale`` is negative.

    References:
        Saxe, McClelland, Ganguli (2013), Exact solutions to the nonlinear dynamics of
        learning in deep linear neural networks. https://arxiv.org/abs/1312.6120

    Examples:
        >>> kernel = orthogonal()(jax.random.key(0), (3, 2), 3, 2)
        >>> print(abs(kernel.T @ kernel).round(4))
        [[1. 0.]
         [0. 1.]]
    """
    if scale < 0:
        raise ValueError(f"scale must be >= 0, got {scale}")

    def initialize(key, shape, fan_in, fan_out, dtype=float):
        if message := _not_a_matrix("orthogonal", shape):
            raise ValueError(message)
        draws = jax.random.normal(key, shape, dtype)
        wide = jnp.promote_types(draws.dtype, jnp.float32)  # LAPACK has no float16
        if isinstance(fan_in, int) and (fan_in, fan_out) == tuple(shape):
            return (scale * _haar(draws.astype(wide))).astype(draws.dtype)
        rows, columns = (jnp.arange(n) for n in shape)
        inside = (rows < fan_in)[:, None] & (columns < fan_out)[None, :]
        left, _, right = jnp.linalg.svd(
            jnp.where(inside, draws, 0).astype(wide), full_matrices=False
        )
        # Beyond the true rank the vectors are arbitrary.
        kept = jnp.arange(min(shape)) < jnp.minimum(fan_in, fan_out)
        left = jnp.where(kept[None, :], left, 0)
        factor = jnp.matmul(left, right, precision="highest")
        return (scale * factor).astype(draws.dtype)

    return initialize


def scaled_identity(scale: float = 1.0) -> Initializer:
    """``scale`` on the diagonal and zero elsewhere; nothing is drawn.

    A rectangular layer hands on the first inputs, and leaves out the others or fills
    up with zeros. Units that get the same inputs stay the same: see that data or later
    layers tell them apart.

    Args:
        scale: The diagonal.

    Returns:
        An initializer, of matrices only: it raises a ``ValueError`` for other shapes.

    References:
        Le, Jaitly, Hinton (2015), A simple way to initialize recurrent networks of
        rectified linear units. https://arxiv.org/abs/1504.00941

    Examples:
        >>> print(scaled_identity(2.0)(jax.random.key(0), (2, 3), 2, 3))
        [[2. 0. 0.]
         [0. 2. 0.]]
    """

    def initialize(key, shape, fan_in, fan_out, dtype=float):
        del key, fan_in, fan_out
        if message := _not_a_matrix("scaled_identity", shape):
            raise ValueError(message)
        return scale * jnp.eye(*shape, dtype=dtype)

    return initialize


def zeros(key, shape, fan_in, fan_out, dtype=float) -> Array:
    """Zeros: for biases. Weights that all start at zero never learn."""
    del key, fan_in, fan_out
    return jnp.zeros(shape, dtype)


def _haar(draws):
    """Orthonormal rows or columns from Gaussian entries."""
    tall = draws.shape[0] >= draws.shape[1]
    q, r = jnp.linalg.qr(draws if tall else draws.T)
    signs = jnp.where(jnp.diagonal(r) < 0, -1, 1)  # else they are LAPACK's choice
    q = q * signs[None, :].astype(q.dtype)
    return q if tall else q.T


def _not_a_matrix(name, shape):
    """What to say of a shape that has not rows and columns."""
    if len(shape) == 2 and 0 not in shape:
        return ""
    return f"{name} weights must be a matrix, got shape {shape}"
