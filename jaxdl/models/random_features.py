"""Random-feature regression: a two-layer network whose first layer stays as drawn.

Fit the second layer with `jaxdl.models.linear`. Rahimi and Recht (2007), Random
features for large-scale kernel machines.
"""

from typing import Any

import jax
import jax.numpy as jnp

from jaxdl.nn import Activation, Dense, dense, dense_init, variance_scaling
from jaxdl.types import Array, Key


def init(
    key: Key, d: int, p: int, *, bias_scale: float = 0.0, dtype: Any = float
) -> Dense:
    """Draw the feature directions.

    Args:
        key: PRNG key.
        d: Number of inputs.
        p: Number of features.
        bias_scale: Standard deviation of the biases; 0 leaves them out.
        dtype: Of the parameters.

    Returns:
        Kernel ``(d, p)`` with independent normal entries of variance ``1 / d``, so
        that an input of mean square 1 gives pre-activations of variance 1, and
        biases.

    Raises:
        ValueError: If a size is not a positive integer or ``bias_scale < 0``.
    """
    if bias_scale < 0:
        raise ValueError(f"bias_scale must be >= 0, got {bias_scale}")
    kernel_key, bias_key = jax.random.split(key)
    layer = dense_init(
        kernel_key,
        d,
        p,
        initializer=variance_scaling(1.0, "in", "normal"),
        use_bias=bias_scale > 0,
        dtype=dtype,
    )
    if bias_scale > 0:
        bias = bias_scale * jax.random.normal(bias_key, (p,), dtype)
        layer = layer._replace(bias=bias)
    return layer


def apply(params: Dense, x: Array, *, activation: Activation = jax.nn.relu) -> Array:
    """Features of one example, ``activation(x W + b)``.

    Args:
        params: From `init`.
        x: ``(d,)``.
        activation: Elementwise function.

    Returns:
        ``(p,)``.
    """
    return activation(dense(params, x))


def mask(features: Array, width: Array) -> Array:
    """Set the features beyond the first ``width`` to zero.

    Zero columns change neither a minimum-norm nor a ridge fit, so problems of many
    widths fit into one compiled program.

    Args:
        features: ``(..., p)``.
        width: ``()`` integer, ``0 <= width <= p``; may be traced.

    Returns:
        ``(..., p)``.
    """
    inside = jnp.arange(features.shape[-1]) < width
    return jnp.where(
        inside.reshape((1,) * (features.ndim - 1) + inside.shape), features, 0
    )
