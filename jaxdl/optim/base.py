"""What a gradient transformation is, how to chain them and apply what they give."""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdl.types import Array, Params


class GradientTransformation(NamedTuple):
    """A pair of pure functions, the protocol of optax.

    ``init(params) -> state`` and
    ``update(updates, state, params=None, **extra) -> (updates, state)``. The first
    updates are the gradient; the last are added to the parameters by
    `apply_updates`. An update whose signature has no ``**extra`` is not given any.
    """

    init: Callable[..., Any]
    update: Callable[..., tuple[Any, Any]]


class EmptyState(NamedTuple):
    """The state of a transformation that keeps none."""


def apply_updates(params: Params, updates: Params) -> Params:
    """Add updates to parameters, each leaf in the dtype of the parameter.

    The sum is formed in the dtype both promote to, then rounded.

    Args:
        params: Tree of arrays; None leaves stay None.
        updates: Tree as ``params``.

    Returns:
        The new parameters.

    Examples:
        >>> print(apply_updates({"w": jnp.array([1.0, 2.0])}, {"w": jnp.ones(2)}))
        {'w': Array([2., 3.], dtype=float32)}
    """

    def add(p, u):
        return None if p is None else as_dtype(p + u, jnp.result_type(p))

    return jax.tree.map(add, params, updates, is_leaf=lambda leaf: leaf is None)


def chain(*transforms: GradientTransformation) -> GradientTransformation:
    """Apply transformations one after the other.

    The state is the tuple of their states. Extra arguments go to each whose update
    takes any, so that a chain can always be given some.

    Args:
        *transforms: Transformations of `jaxdl.optim` or of optax.

    Returns:
        A transformation.

    Examples:
        >>> transform = chain(stateless(lambda g, _: 2 * g), identity())
        >>> updates, _ = transform.update(jnp.ones(2), transform.init(jnp.zeros(2)))
        >>> print(updates)
        [2. 2.]
    """
    parts = [with_extra_args(transform) for transform in transforms]

    def init(params):
        return tuple(part.init(params) for part in parts)

    def update(updates, state, params=None, **extra):
        if len(state) != len(parts):
            raise ValueError(
                f"expected the {len(parts)} states of init, got {len(state)}"
            )
        states = []
        for part, part_state in zip(parts, state, strict=True):
            updates, part_state = part.update(updates, part_state, params, **extra)
            states.append(part_state)
        return updates, tuple(states)

    return GradientTransformation(init, update)


def with_extra_args(transform: GradientTransformation) -> GradientTransformation:
    """The same transformation, whose update takes extra arguments and may ignore them.

    Args:
        transform: A transformation of `jaxdl.optim` or of optax.

    Returns:
        A transformation; ``transform`` itself where its update has ``**extra``.
    """
    parameters = inspect.signature(transform.update).parameters.values()
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters):
        return transform

    def update(updates, state, params=None, **extra):
        del extra
        return transform.update(updates, state, params)

    return GradientTransformation(transform.init, update)


def stateless(
    function: Callable[[Params, Params | None], Params],
) -> GradientTransformation:
    """Transform updates by a function that needs no state.

    Args:
        function: ``function(updates, params) -> updates`` on whole trees; ``params``
            is None where ``update`` was given none.

    Returns:
        A transformation.
    """

    def init(params):
        del params
        return EmptyState()

    def update(updates, state, params=None):
        return function(updates, params), state

    return GradientTransformation(init, update)


def identity() -> GradientTransformation:
    """Leave the updates as they are."""
    return stateless(lambda updates, _: updates)


def set_to_zero() -> GradientTransformation:
    """Replace the updates by zeros, which freezes the parameters."""
    return stateless(lambda updates, _: jax.tree.map(jnp.zeros_like, updates))


def count_up(step: Array) -> Array:
    """One more, in the same integer dtype; the largest number stays."""
    return jnp.minimum(step, jnp.iinfo(step.dtype).max - 1) + 1


def zero_step() -> Array:
    """The counter of updates before the first: ``()`` int32."""
    return jnp.zeros((), jnp.int32)


def keep_dtype(new: Array, gradient: Any) -> Array:
    """``new`` in the dtype of the gradient, unless that is of integers."""
    dtype = jnp.result_type(gradient)
    return as_dtype(new, dtype) if jnp.issubdtype(dtype, jnp.inexact) else new


def as_dtype(x: Any, dtype: Any) -> Array:
    """``x`` in a dtype; itself where it has that, which saves time outside ``jit``."""
    if isinstance(x, jax.Array) and x.dtype == dtype and not x.weak_type:
        return x
    return jnp.asarray(x).astype(dtype)


def cast_like(a: Any, b: Any) -> Any:
    """``a`` in the dtypes of ``b``, leaf by leaf, as branches and loops need it."""

    def cast(x, y):
        return as_dtype(x, jnp.result_type(y))

    return jax.tree.map(cast, a, b)
