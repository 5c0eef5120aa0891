"""Where a parameter meets data: the equations whose gradient has a known structure.

A rule brings an equation ``y = op(h, W)``, linear in the weight W, to one form. With
W arranged as ``(groups, inputs, outputs)``, the gradient of a scalar s is::

    dW[g, c, f] = sum over rows r of  h[g, r, c] dy[g, r, f],      dy = ds/dy

A matrix product has a row for each vector that it is applied to, a convolution for
each position of its filter, a lookup for each token, whose ``h`` is one-hot and kept
as an index. So a kernel needs inner products of h's and of dy's, never dW itself.
"""

import itertools
import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxdl.types import Array


class Form(NamedTuple):
    """An equation in the form above; lengths are those of one example."""

    rule: str  # "matrix product", "convolution" or "lookup"
    groups: int
    rows: int
    inputs: int
    outputs: int
    factor: Callable[[Any], Any]  # data -> h, (groups, rows, inputs), or a `Hot`
    spread: Callable[[Array], Array]  # dy, (groups, rows, outputs) -> like y
    collect: Callable[[np.ndarray], np.ndarray]  # the reverse
    arrange: Callable[[np.ndarray], np.ndarray]  # like W -> (groups, inputs, outputs)
    perform: Callable[[Array, Array], Array] | None = None  # a better op(h, W)


class Hot(NamedTuple):
    """One-hot rows: where the one is, and a weight in its place."""

    position: Array  # (groups, rows) int32
    weight: Array  # (groups, rows)


def match(equation: Any, position: int) -> Form | None:
    """The form of an equation whose input number ``position`` is the weight.

    Args:
        equation: A jaxpr's equation with one output.
        position: Which input is the weight; the others are data.

    Returns:
        Its form, or None where there is no rule.
    """
    rule = _RULES.get(equation.primitive.name)
    return None if rule is None else rule(equation, position)


def _matrix_product(equation, position):
    (contracted, batch) = equation.params["dimension_numbers"]
    weight, data = (equation.invars[i].aval.shape for i in (position, 1 - position))
    weight_inner, data_inner = contracted[position], contracted[1 - position]
    weight_batch, data_batch = batch[position], batch[1 - position]
    weight_free = _rest(len(weight), weight_inner, weight_batch)
    data_free = _rest(len(data), data_inner, data_batch)

    groups = _size(weight, weight_batch)
    rows, outputs = _size(data, data_free), _size(weight, weight_free)
    inputs = _size(weight, weight_inner)
    # y has the batch axes first, then those of the left and of the right input.
    split = [
        *(weight[i] for i in weight_batch),
        *(data[i] for i in data_free),
        *(weight[i] for i in weight_free),
    ]
    order = list(range(len(split)))
    if position == 0:
        order = _swap(len(weight_batch), len(weight_free), len(data_free))

    def factor(h):
        h = jnp.transpose(h, (*data_batch, *data_free, *data_inner))
        return h.reshape(groups, rows, inputs)

    def arrange(w):
        w = w.transpose((*weight_batch, *weight_inner, *weight_free))
        return w.reshape(groups, inputs, outputs)

    return Form(
        "matrix product", groups, rows, inputs, outputs, factor,
        spread=lambda dy: dy.reshape(split).transpose(_inverse(order)),
        collect=lambda y: y.transpose(order).reshape(groups, rows, outputs),
        arrange=arrange,
    )  # fmt: skip


def _convolution(equation, position):
    params = equation.params
    if position != 1 or params["batch_group_count"] != 1:
        return None
    numbers = params["dimension_numbers"]
    kernel, y = equation.invars[1].aval.shape, equation.outvars[0].aval.shape
    kernel = [kernel[axis] for axis in numbers.rhs_spec]  # outputs, inputs, window
    y = [y[axis] for axis in numbers.out_spec]  # batch, outputs, positions
    groups = params["feature_group_count"]
    outputs = kernel[0] // groups
    inputs = math.prod(kernel[1:])
    rows = y[0] * math.prod(y[2:])

    def factor(h):
        lead = (numbers.lhs_spec[0], *numbers.lhs_spec[2:])
        h = jnp.transpose(h, (*lead, numbers.lhs_spec[1]))  # channels last
        patches = _patches(h, kernel[2:], y[2:], params)
        if groups == 1:
            return patches.reshape(1, rows, inputs)
        patches = patches.reshape(rows, math.prod(kernel[2:]), groups, kernel[1])
        return patches.transpose(2, 0, 1, 3).reshape(groups, rows, inputs)

    def spread(dy):
        dy = dy.reshape(groups, y[0], *y[2:], outputs)
        last = tuple(range(2, dy.ndim - 1))
        dy = dy.transpose((1, 0, dy.ndim - 1, *last)).reshape(y)
        return dy.transpose(_inverse(numbers.out_spec))

    def collect(dy):
        dy = dy.transpose(numbers.out_spec).reshape(y[0], groups, outputs, *y[2:])
        dy = dy.transpose((1, 0, *range(3, dy.ndim), 2))
        return dy.reshape(groups, rows, outputs)

    def arrange(w):
        w = w.transpose(numbers.rhs_spec).reshape(
            groups, outputs, kernel[1], math.prod(kernel[2:])
        )
        return w.transpose(0, 3, 2, 1).reshape(groups, inputs, outputs)

    return Form(
        "convolution", groups, rows, inputs, outputs, factor, spread, collect, arrange,
        perform=lambda h, w: _convolve(_Layout(params), h, w),
    )  # fmt: skip


class _Layout:
    """A convolution's parameters; alike only to itself, as a static argument."""

    def __init__(self, params):
        self.params = params


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _convolve(layout, h, w):
    """The convolution with channels last, which is fast inside loops as well.

    On a CPU, what is in a loop is not brought to that layout by the compiler, and is
    then much slower. So is the gradient with respect to h of such a convolution,
    unless the filter is stored with inputs and outputs exchanged: hence the rule.
    """
    return _channels_last(layout.params, h, w, swapped=False)


@_convolve.defjvp
def _convolve_jvp(layout, primals, tangents):
    (h, w), (dh, dw) = primals, tangents
    along_h = _channels_last(layout.params, dh, w, swapped=True)
    return _convolve(layout, h, w), along_h + _convolve(layout, h, dw)


def _channels_last(params, h, w, *, swapped):
    numbers = params["dimension_numbers"]
    n = len(numbers.lhs_spec) - 2
    batch_last = (0, *range(2, n + 2), 1)  # from (batch, channels, positions)
    inputs_outputs = (0, 1) if swapped else (1, 0)  # of (outputs, inputs, window)
    h = h.transpose([numbers.lhs_spec[i] for i in batch_last])
    w = w.transpose([numbers.rhs_spec[i] for i in (*range(2, n + 2), *inputs_outputs)])
    image = (0, n + 1, *range(1, n + 1))
    kernel = (n, n + 1) if swapped else (n + 1, n)
    y = lax.conv_general_dilated(
        h,
        w,
        dimension_numbers=lax.ConvDimensionNumbers(image, (*kernel, *range(n)), image),
        **{name: params[name] for name in _CONVOLUTION},
    )
    return y.transpose(_inverse([numbers.out_spec[i] for i in batch_last]))


_CONVOLUTION = (
    "window_strides",
    "padding",
    "lhs_dilation",
    "rhs_dilation",
    "feature_group_count",
    "precision",
    "preferred_element_type",
)


def _patches(h, window, positions, params):
    """What a filter sees: ``(batch, *positions, window, channels)``."""
    padding = [
        (low, high, dilation - 1)
        for (low, high), dilation in zip(
            params["padding"], params["lhs_dilation"], strict=True
        )
    ]
    h = lax.pad(h, jnp.zeros((), h.dtype), [(0, 0, 0), *padding, (0, 0, 0)])
    strides, dilation = params["window_strides"], params["rhs_dilation"]
    seen = []
    for entry in itertools.product(*map(range, window)):
        start = [i * d for i, d in zip(entry, dilation, strict=True)]
        limit = [
            first + (n - 1) * stride + 1
            for first, n, stride in zip(start, positions, strides, strict=True)
        ]
        last = h.shape[-1]
        seen.append(
            lax.slice(h, (0, *start, 0), (len(h), *limit, last), (1, *strides, 1))
        )
    return jnp.stack(seen, axis=-2)


def _gather(equation, position):
    """Rows of a table, by an index each: what ``table[tokens]`` becomes."""
    if position != 0:
        return None
    params, (table, indices) = equation.params, [v.aval.shape for v in equation.invars]
    numbers = params["dimension_numbers"]
    axes = tuple(numbers.collapsed_slice_dims)
    sliced = tuple(n for i, n in enumerate(table) if i not in axes)
    if (
        len(axes) != 1
        or tuple(numbers.start_index_map) != axes
        or tuple(numbers.operand_batching_dims)
        or tuple(params["slice_sizes"]) != _with_one(table, axes[0])
    ):
        return None
    mode = str(params["mode"])
    shape = equation.outvars[0].aval.shape
    lead = _rest(len(shape), numbers.offset_dims)
    order = _inverse((*lead, *numbers.offset_dims))
    batch = [shape[i] for i in lead]

    def factor(tokens):
        tokens = tokens.reshape(1, math.prod(indices[:-1]))
        inside = _inside(tokens, table[axes[0]])
        dropped = "FILL" in mode or "drop" in mode
        weight = (inside == tokens) | (not dropped)
        return Hot(inside.astype(jnp.int32), weight.astype(jnp.float32))

    return _lookup(table, axes[0], math.prod(batch), factor, lambda dy: jnp.transpose(
        dy.reshape(*batch, *sliced), order
    ))  # fmt: skip


def _dynamic_slice(equation, position):
    """One row of a table: what ``lax.dynamic_index_in_dim`` becomes."""
    if position != 0:
        return None
    table = equation.invars[0].aval.shape
    sizes = tuple(equation.params["slice_sizes"])
    cut = [axis for axis, n in enumerate(table) if sizes[axis] != n]
    if len(cut) != 1 or sizes[cut[0]] != 1:
        return None

    def factor(*starts):
        position = _inside(starts[cut[0]], table[cut[0]]).reshape(1, 1)
        return Hot(position.astype(jnp.int32), jnp.ones((1, 1), jnp.float32))

    return _lookup(table, cut[0], 1, factor, lambda dy: dy.reshape(sizes))


def _inside(index, n):
    """The nearest index of a row, in the same dtype, which may not hold n."""
    index = jnp.asarray(index)
    return jnp.clip(index, 0, min(n - 1, int(jnp.iinfo(index.dtype).max)))


def _lookup(table, axis, rows, factor, spread):
    n = table[axis]
    outputs = math.prod(table) // n
    return Form(
        "lookup", 1, rows, n, outputs, factor, spread,
        collect=lambda y: y,  # a lookup carries no bias
        arrange=lambda w: np.moveaxis(w, axis, 0).reshape(1, n, outputs),
    )  # fmt: skip


_RULES: dict[str, Callable[[Any, int], Form | None]] = {
    "dot_general": _matrix_product,
    "conv_general_dilated": _convolution,
    "gather": _gather,
    "dynamic_slice": _dynamic_slice,
}


def multiply(h: Array | Hot, factor: Array) -> Array | Hot:
    """``h`` times a number."""
    if isinstance(h, Hot):
        return h._replace(weight=h.weight * factor)
    return h * factor


def _size(shape, axes):
    return math.prod(shape[axis] for axis in axes)


def _rest(n, *taken):
    """Axes that are in none of ``taken``."""
    return [axis for axis in range(n) if not any(axis in axes for axes in taken)]


def _swap(n_lead, n_first, n_second):
    """The order of axes that puts the second set, which follows, before the first."""
    lead = list(range(n_lead))
    first = [n_lead + i for i in range(n_first)]
    second = [n_lead + n_first + i for i in range(n_second)]
    return [*lead, *second, *first]


def _inverse(order):
    """The order of axes that undoes one."""
    return [int(i) for i in np.argsort(order)]


def _with_one(shape, axis):
    return (*shape[:axis], 1, *shape[axis + 1 :])
