"""The fully connected layer."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from jaxdl.nn.initializers import Initializer, he_normal
from jaxdl.types import Array, Key, Scalar


class Dense(NamedTuple):
    """Parameters of a fully connected layer."""

    kernel: Array  # (fan_in, fan_out)
    bias: Array | None  # (fan_out,), or None for a layer without one


def dense_init(
    key: Key,
    fan_in: int,
    fan_out: int,
    *,
    initializer: Initializer = he_normal,
    use_bias: bool = True,
    true_fan_in: Scalar | None = None,
    true_fan_out: Scalar | None = None,
    dtype: Any = float,
) -> Dense:
    """Draw a layer: random kernel, zero bias.

    Args:
        key: PRNG key.
        fan_in: Number of inputs, ``>= 1``.
        fan_out: Number of outputs, ``>= 1``.
        initializer: Draws the kernel.
        use_bias: Whether the layer has a bias.
        true_fan_in: What scales the kernel, if the layer is padded; may be traced.
        true_fan_out: The same for the outputs.
        dtype: Of the parameters; ``float`` is the precision JAX is set to.

    Returns:
        The layer's parameters.

    Raises:
        ValueError: If a size is not a positive integer.
    """
    for name, fan in (("fan_in", fan_in), ("fan_out", fan_out)):
        if not isinstance(fan, int) or fan < 1:
            raise ValueError(f"{name} must be a positive integer, got {fan!r}")
    kernel = initializer(
        key,
        (fan_in, fan_out),
        fan_in if true_fan_in is None else true_fan_in,
        fan_out if true_fan_out is None else true_fan_out,
        dtype,
    )
    return Dense(kernel, jnp.zeros(fan_out, dtype) if use_bias else None)


def dense(params: Dense, x: Array) -> Array:
    """Apply the layer to one example, ``y = x W + b``.

    Args:
        params: From `dense_init`.
        x: ``(fan_in,)``.

    Returns:
        ``(fan_out,)``.

    Raises:
        ValueError: If ``x`` is not a vector of that length.
    """
    fan_in = params.kernel.shape[0]
    if jnp.shape(x) != (fan_in,):
        raise ValueError(
            f"x must be one example of shape ({fan_in},), got {jnp.shape(x)}; "
            "vmap over a batch"
        )
    y = x @ params.kernel
    return y if params.bias is None else y + params.bias
