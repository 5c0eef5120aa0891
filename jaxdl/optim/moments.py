"""Running moments of the gradient: how they start, move and are debiased."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxdl.optim.base import as_dtype
from jaxdl.types import Array, Params, Scalar


def first_moment(params: Params, dtype: Any = None, value: Scalar = 0.0) -> Params:
    """A moment in the shapes of the parameters, everywhere ``value``.

    Args:
        params: Tree of arrays.
        dtype: Of the moment; that of each parameter where None.
        value: What it starts at.

    Returns:
        A tree like ``params``.
    """
    return jax.tree.map(
        lambda p: jnp.full_like(p, value, dtype=dtype or jnp.result_type(p)), params
    )


def second_moment(params: Params, value: Scalar = 0.0) -> Params:
    """As `first_moment`, real also where a parameter is complex."""
    return jax.tree.map(
        lambda p: jnp.full_like(p, value, dtype=_real(jnp.result_type(p))), params
    )


def squared(x: Array) -> Array:
    """``|x|**2``, real also for complex ``x``."""
    return jnp.real(x * jnp.conj(x)) if jnp.iscomplexobj(x) else x * x


def ema(decay: Scalar, old: Array, new: Array) -> Array:
    """Exponential moving average, ``decay * old + (1 - decay) * new``, as ``old``."""
    return as_dtype(decay * old + (1 - decay) * new, old.dtype)


def debias(decay: Scalar, step: Array, moments: Params) -> Params:
    """Divide moving averages that started at zero by the weight they gathered.

    ``moment / (1 - decay**step)``, each leaf in its dtype or float32, whichever is
    wider. The weight is computed once: a power for each of many leaves takes long to
    compile.

    Args:
        decay: In ``[0, 1)``.
        step: ``()`` int32, updates of the average so far, ``>= 1``.
        moments: Tree of averages.

    Returns:
        A tree like ``moments``.
    """
    weight = 1 - decay ** step.astype(float)

    def divide(moment):
        wide = jnp.promote_types(_real(moment.dtype), jnp.float32)
        return moment / as_dtype(weight, wide)

    return jax.tree.map(divide, moments)


def _real(dtype: Any) -> Any:
    """The dtype of the real part."""
    return (
        jnp.finfo(dtype).dtype if jnp.issubdtype(dtype, jnp.complexfloating) else dtype
    )
