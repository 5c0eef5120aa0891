"""Hyperparameters in the state of an optimizer, where they can be seen and changed."""

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.optim.base import (
    GradientTransformation,
    count_up,
    with_extra_args,
    zero_step,
)
from jaxdl.types import Array


class InjectHyperparamsState(NamedTuple):
    """Hyperparameters, beside the state of what they are for."""

    step: Array  # () int32, updates done so far
    hyperparams: dict[str, Array]  # as of the last update, or of init
    inner_state: Any


def inject_hyperparams(
    factory: Callable[..., GradientTransformation],
    static_args: str | Iterable[str] = (),
    hyperparam_dtype: Any = None,
) -> Callable[..., GradientTransformation]:
    """Keep the numbers a transformation is made from in its state.

    Numbers and arrays of numbers are kept in ``state.hyperparams`` and used from
    there, so that a number in the state can be changed between updates. A function is
    a schedule: at each update it is called with the count of updates before, and its
    value is kept for the reader. Booleans, None and all else are static.

    Args:
        factory: Makes a transformation, such as `adam`.
        static_args: Names of arguments that stay as they are.
        hyperparam_dtype: Of the hyperparameters that are Python floats or schedules;
            where None the widest of the parameters, but at least float32, since
            bfloat16 rounds 0.999 to 1.

    Returns:
        A function with the signature of ``factory``, except that schedules may stand
        for numbers.

    Raises:
        ValueError: If ``static_args`` has a name that ``factory`` does not.

    Examples:
        >>> from jaxdl import optim
        >>> optimizer = inject_hyperparams(optim.momentum)(0.1, decay=0.9)
        >>> state = optimizer.init(jnp.zeros(()))
        >>> print(sorted(state.hyperparams))
        ['decay', 'learning_rate']
        >>> state.hyperparams["learning_rate"] = jnp.array(0.5)
        >>> print(optimizer.update(jnp.array(1.0), state)[0])
        -0.5
    """
    static = {static_args} if isinstance(static_args, str) else set(static_args)
    signature = inspect.signature(factory)
    if unknown := static - set(signature.parameters):
        raise ValueError(
            f"static_args must be among {sorted(signature.parameters)}, "
            f"got {sorted(unknown)}"
        )

    @functools.wraps(factory)
    def make(*args: Any, **kwargs: Any) -> GradientTransformation:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        fixed, numbers, schedules = {}, {}, {}
        for name, value in bound.arguments.items():
            if name in static or isinstance(value, bool):
                fixed[name] = value
            elif callable(value):
                schedules[name] = value
            elif isinstance(value, float | int | np.ndarray | jax.Array):
                numbers[name] = value
            else:
                fixed[name] = value
        # Arrays are not checked, so let the factory see the Python numbers once.
        first = {name: f(zero_step()) for name, f in schedules.items()}
        factory(**fixed, **numbers, **first)

        def init(params):
            dtype = hyperparam_dtype or _widest(params)
            step = zero_step()
            scheduled = {name: f(step) for name, f in schedules.items()}
            hyperparams = {
                name: _as_array(value, dtype)
                for name, value in (numbers | scheduled).items()
            }
            inner = factory(**fixed, **hyperparams)
            return InjectHyperparamsState(step, hyperparams, inner.init(params))

        def update(updates, state, params=None, **extra):
            hyperparams = dict(state.hyperparams)
            for name, schedule in schedules.items():
                dtype = jnp.result_type(hyperparams[name])
                hyperparams[name] = jnp.asarray(schedule(state.step), dtype)
            inner = with_extra_args(factory(**fixed, **hyperparams))
            updates, inner_state = inner.update(
                updates, state.inner_state, params, **extra
            )
            return updates, InjectHyperparamsState(
                count_up(state.step), hyperparams, inner_state
            )

        return GradientTransformation(init, update)

    return make


def _widest(tree: Any) -> Any:
    """The dtype that all leaves and float32 promote to, made real."""
    dtypes = {jnp.result_type(leaf) for leaf in jax.tree.leaves(tree)}
    return jnp.finfo(jnp.result_type(jnp.float32, *dtypes)).dtype


def _as_array(value: Any, dtype: Any) -> Array:
    """Python floats and what is weakly typed in ``dtype``; all else as it is."""
    array = jnp.asarray(value)
    is_float = jnp.issubdtype(array.dtype, jnp.floating)
    return jnp.asarray(value, dtype) if is_float and array.weak_type else array
