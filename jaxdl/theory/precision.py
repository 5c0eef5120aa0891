"""Double precision inside, whatever precision JAX is set to outside."""

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from jaxdl.types import Array

P = ParamSpec("P")
R = TypeVar("R")


def in_float64(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function compute in float64 even where JAX is set to 32 bits.

    Args:
        function: Converts its arguments with `float64`.

    Returns:
        The same function, under ``jax.enable_x64``.
    """

    @wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        with jax.enable_x64(True):
            return function(*args, **kwargs)

    return wrapped


def float64(*values: Any) -> tuple[Array, ...]:
    """Each of ``values`` as a float64 array; to be called inside `in_float64`."""
    return tuple(jnp.asarray(value, jnp.float64) for value in values)


def formula(core: Callable[..., R]) -> Callable[..., R]:
    """Let a function be differentiated in float64 too.

    JAX differentiates what is under ``jit`` after the function has returned, in the
    precision set there, and some of its rules then fail on float64. So the rule
    given here enters float64 itself. It takes the derivatives with respect to all
    arguments that vary and leaves to JAX a sum of products, which is linear in the
    tangents and works in any mode. These derivatives are a formula again: any order
    works.

    Args:
        core: From float64 arrays to a pytree of float64 arrays with few entries. It
            must not close over traced values.

    Returns:
        The same function, for calls inside `in_float64`.
    """
    function = jax.custom_jvp(core)

    def rule(primals, tangents):
        varying = tuple(
            i for i, t in enumerate(tangents) if not isinstance(t, SymbolicZero)
        )
        with jax.enable_x64(True):
            values = function(*primals)
            slopes = formula(jax.jacrev(core, varying))(*primals)

            def change(value, slope):
                parts = [
                    jnp.sum(
                        s * jnp.broadcast_to(tangents[i], s.shape),
                        axis=tuple(range(value.ndim, s.ndim)),
                    )
                    for i, s in zip(varying, slope, strict=True)
                ]
                return sum(parts[1:], start=parts[0])

            return values, jax.tree.map(change, values, slopes)

    function.defjvp(rule, symbolic_zeros=True)
    return function
