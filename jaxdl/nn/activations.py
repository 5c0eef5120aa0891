"""Activation functions, elementwise, and their names.

Those of ``jax.nn`` are used as they are: their derivatives are stable, and
``relu'(0) = 0``.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxdl.types import Array

Activation = Callable[[Array], Array]


def identity(x: Array) -> Array:
    """``x``: makes a network linear in its inputs."""
    return x


def threshold(x: Array) -> Array:
    """1 where ``x > 0``, else 0; its derivative is zero wherever it exists."""
    return (x > 0).astype(jnp.result_type(x))


ACTIVATIONS: dict[str, Activation] = {
    "relu": jax.nn.relu,
    "leaky_relu": jax.nn.leaky_relu,
    "softplus": jax.nn.softplus,
    "gelu": jax.nn.gelu,
    "tanh": jnp.tanh,
    "sigmoid": jax.nn.sigmoid,
    "erf": jax.scipy.special.erf,
    "sine": jnp.sin,
    "threshold": threshold,
    "identity": identity,
}


def activation(name: str) -> Activation:
    """The activation function of that name.

    Args:
        name: A key of `ACTIVATIONS`.

    Returns:
        An elementwise function.

    Raises:
        ValueError: If there is none of that name.

    Examples:
        >>> print(activation("relu")(jnp.array([-1.0, 2.0])))
        [0. 2.]
    """
    if name not in ACTIVATIONS:
        raise ValueError(f"activation must be one of {[*ACTIVATIONS]}, got {name!r}")
    return ACTIVATIONS[name]
