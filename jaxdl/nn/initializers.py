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


def zeros(key, shape, fan_in, fan_out, dtype=float) -> Array:
    """Zeros: for biases. Weights that all start at zero never learn."""
    del key, fan_in, fan_out
    return jnp.zeros(shape, dtype)
