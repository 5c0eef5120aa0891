"""Reverse-mode derivatives in float64, whatever precision JAX is set to."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import jax


def reverse_in_float64(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let ``jax.grad`` and ``jax.vjp`` of a function compute in float64 too.

    JAX transposes after a function has returned, in the precision set there, where
    its rules fail on float64. This rule enters float64 again, and computes the
    function once more. Forward mode is not available.

    Args:
        function: Of arrays and trees of them, for calls inside `in_float64`. It must
            not close over traced values.

    Returns:
        The same function.
    """
    ruled = jax.custom_vjp(function)

    def forward(*arguments):
        return function(*arguments), arguments

    def backward(arguments, cotangents):
        with jax.enable_x64(True):
            return jax.vjp(function, *arguments)[1](cotangents)

    ruled.defvjp(forward, backward)

    @wraps(function)
    def wrapped(*arguments):
        return ruled(*arguments)

    return wrapped
