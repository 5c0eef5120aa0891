"""Equations that only look at a parameter in another way."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxdl import jaxpr
from jaxdl.ntk.tape import View, Weight, then, value_of


def looked_at(equation: Any, values: list[Any]) -> Sequence[Any] | None:
    """The outputs where an equation only rearranges or scales a weight, or None."""
    name, params = equation.primitive.name, equation.params
    if name == "stop_gradient":
        return jaxpr.bind(equation, [value.value for value in values])
    if name in {"mul", "div", "neg"}:
        return _scaled(equation, values)
    if name == "split":
        cuts = np.cumsum([int(size) for size in params["sizes"]])[:-1]
        weight, axis = values[0], params["axis"]
        parts = jaxpr.bind(equation, [weight.value])
        return [
            replace(
                weight,
                value=part,
                view=then(weight.view, lambda e, i=i: np.split(e, cuts, axis)[i]),
            )
            for i, part in enumerate(parts)
        ]
    if name == "unstack":
        weight, axis = values[0], params["axis"]
        return [
            replace(
                weight,
                value=part,
                view=then(weight.view, lambda e, i=i: np.take(e, i, axis)),
            )
            for i, part in enumerate(jaxpr.bind(equation, [weight.value]))
        ]
    view = _view(name, equation)
    if view is None:
        return None
    weight = values[0]
    (value,) = jaxpr.bind(equation, [weight.value])
    return [replace(weight, value=value, view=then(weight.view, view))]


def _view(name, equation) -> View | None:
    """What an equation of one weight does to the entries, if it only moves them."""
    params, shape = equation.params, equation.outvars[0].aval.shape
    before = equation.invars[0].aval
    if name in {"convert_element_type", "reduce_precision", "copy"}:
        real = jnp.issubdtype(equation.outvars[0].aval.dtype, jnp.floating)
        return (lambda entries: entries) if real else None
    if name == "reshape" and params.get("dimensions") is None:
        return lambda entries: entries.reshape(shape)
    if name in {"squeeze", "expand_dims"} or (
        name == "broadcast_in_dim"
        and len(equation.invars) == 1
        and before.size == equation.outvars[0].aval.size
    ):
        return lambda entries: entries.reshape(shape)
    if name == "transpose":
        return lambda entries: entries.transpose(params["permutation"])
    if name == "rev":
        return lambda entries: np.flip(entries, params["dimensions"])
    if name == "slice":
        start, limit = params["start_indices"], params["limit_indices"]
        strides = params["strides"] or (1,) * len(start)
        cut = tuple(map(slice, start, limit, strides))
        return lambda entries: entries[cut]
    return None


def _scaled(equation, values):
    """A weight times, or divided by, a number; or None."""
    name = equation.primitive.name
    weights = [value for value in values if isinstance(value, Weight)]
    if name == "div" and not isinstance(values[0], Weight):
        return None
    others = [value for value in values if not isinstance(value, Weight)]
    if len(weights) != 1 or any(jnp.ndim(other) > 0 for other in others):
        return None
    (weight,), other = weights, (others[0] if others else -1.0)
    if weight.value.ndim == 0 and others:
        return None
    (value,) = jaxpr.bind(equation, [value_of(value) for value in values])
    factor = 1 / jnp.asarray(other) if name == "div" else jnp.asarray(other)
    if weight.scale is not None:
        factor = factor * weight.scale
    return [replace(weight, value=value, scale=factor)]
