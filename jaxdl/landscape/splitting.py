"""A hidden unit made two: the same function, and the index of what it becomes."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdl.types import Array, Params, Scalar


class SplitInertia(NamedTuple):
    """What splitting a unit adds to the eigenvalue counts of the Hessian."""

    negative: Array  # () int32, to the index
    zero: Array  # () int32
    positive: Array  # () int32


def split_neuron(params: Any, unit: int, mu: Scalar, *, layer: int = 0) -> Any:
    """Replace a hidden unit by two copies that share its weights out.

    Weights in and bias w are kept by both, weights out a become ``mu a`` and ``(1 - mu)
    a``. The function is the same for every mu, and so is the loss; a critical point
    stays one. For one output its index is that of the parent plus the negative
    eigenvalues of S (`splitting_matrix`) for ``0 < mu < 1``, and plus the positive ones
    outside; at 0 and 1 a copy has no weights out, and S gives zeros
    (`split_inertia`).

    Args:
        params: Layers with ``kernel`` and ``bias``, as of `jaxdl.models.mlp`.
        unit: Number of the unit, from 0.
        mu: Share of the copy that keeps the unit's place, any number; ``vmap`` for a
            line. The other copy becomes the last unit of the layer.
        layer: Number of the hidden layer, from 0.

    Returns:
        Layers like ``params``, one unit wider.

    Raises:
        ValueError: If there is no such hidden layer or unit.

    References:
        Fukumizu, Amari (2000), Local minima and plateaus in hierarchical structures of
        multilayer perceptrons, Neural Networks 13(3), 317-327. Simsek, Ged, Jacot,
        Spadaro, Hongler, Gerstner, Brea (2021), Geometry of the loss landscape in
        overparameterized neural networks. https://arxiv.org/abs/2105.12221

    Examples:
        >>> from jaxdl.models import mlp
        >>> params = mlp.init(jax.random.key(0), (2, 3, 1))
        >>> wider = split_neuron(params, 1, 0.3)
        >>> wider[0].kernel.shape, wider[1].kernel.shape
        ((2, 4), (4, 1))
        >>> x = jnp.ones(2)
        >>> bool(jnp.allclose(mlp.apply(params, x), mlp.apply(wider, x)))
        True
    """
    if message := _misfit(params, unit, layer):
        raise ValueError(message)
    first, second = params[layer], params[layer + 1]
    mu = jnp.asarray(mu, jnp.result_type(second.kernel))
    inside, outside = first.kernel[:, unit], second.kernel[unit]
    kernel = jnp.concatenate([first.kernel, inside[:, None]], axis=1)
    bias = None
    if first.bias is not None:
        bias = jnp.concatenate([first.bias, first.bias[unit : unit + 1]])
    out = jnp.asarray(second.kernel).at[unit].set(mu * outside)
    out = jnp.concatenate([out, ((1 - mu) * outside)[None]])
    return _with_layers(
        params,
        layer,
        first._replace(kernel=kernel, bias=bias),
        second._replace(kernel=out),
    )


def splitting_matrix(
    loss: Callable[[Params], Array], params: Any, unit: int, *, layer: int = 0
) -> Array:
    """The matrix S that decides which way a split unit falls.

    With the derivative ``r_n . a`` of the loss by the unit's output on example n, its
    pre-activation z_n and the inputs x_n of its layer, a 1 appended for the bias::

        S = sum_n (r_n . a) phi''(z_n) x_n x_n'

    Pulled apart to ``w + (1 - mu) v`` and ``w - mu v``, the copies change the loss by
    ``mu (1 - mu) v'S v / 2`` to second order, whatever the loss: so S is computed. Zero
    for piecewise linear activations.

    Args:
        loss: ``loss(params) -> ()``, of layers of any width.
        params: As in `split_neuron`.
        unit: As in `split_neuron`.
        layer: As in `split_neuron`.

    Returns:
        ``(d + 1, d + 1)``, weights in and then the bias; ``(d, d)`` without biases.

    Raises:
        ValueError: If there is no such hidden layer or unit.

    References:
        Liu, Wu, Wang (2019), Splitting steepest descent for growing neural
        architectures. https://arxiv.org/abs/1910.02366

    Examples:
        One unit ``w x`` squared by its activation, whose output should be 1 and is 4:

        >>> from jaxdl.nn import Dense
        >>> def loss(params):
        ...     (w, _), (a, _) = params
        ...     return jnp.sum((jnp.sum(w**2 * a.T) - 1) ** 2) / 2
        >>> params = Dense(jnp.array([[2.0]]), None), Dense(jnp.array([[1.0]]), None)
        >>> print(splitting_matrix(loss, params, 0))
        [[6.]]
    """
    if message := _misfit(params, unit, layer):
        raise ValueError(message)
    block = _complement(loss, params, unit, 0.5, layer)
    d = block.shape[0] - params[layer + 1].kernel.shape[1]
    return 4 * block[:d, :d]


def split_inertia(
    loss: Callable[[Params], Array],
    params: Any,
    unit: int,
    mu: Scalar,
    *,
    layer: int = 0,
    threshold: Scalar = 1e-9,
) -> SplitInertia:
    """What splitting a unit of a critical point adds to its eigenvalue counts.

    The Hessian of the wider network is that of the parent beside a block for ``(w + (1
    - mu) v, w - mu v)`` and ``(mu a + b, (1 - mu) a - b)``, the counts of both adding
    up (Sylvester's law of inertia)::

        [ mu (1 - mu) S   B ]
        [ B'              0 ]        B = sum_n phi'(z_n) x_n r_n'

    With one output and ``a != 0`` B is zero, as ``B a`` is the parent's gradient: the
    index grows by the negative eigenvalues of S for ``0 < mu < 1`` and by the positive
    ones outside, and b is one direction without curvature. With more outputs B counts.
    That the parent is critical is what it rests on; it is not checked.

    Args:
        loss: As in `splitting_matrix`.
        params: A critical point.
        unit: As in `split_neuron`.
        mu: As in `split_neuron`.
        layer: As in `split_neuron`.
        threshold: Eigenvalues of the block up to this size count as zero.

    Returns:
        What to add to the parent's counts: in all, the parameters of one unit.

    Raises:
        ValueError: If there is no such hidden layer or unit.
    """
    if message := _misfit(params, unit, layer):
        raise ValueError(message)
    values = jnp.linalg.eigvalsh(_complement(loss, params, unit, mu, layer))

    def number(mask):
        return jnp.sum(mask, dtype=jnp.int32)

    return SplitInertia(
        number(values < -threshold),
        number(jnp.abs(values) <= threshold),
        number(values > threshold),
    )


def _complement(loss, params, unit, mu, layer):
    """The Hessian in v (with the bias last) and b at zero."""
    wider = split_neuron(params, unit, mu, layer=layer)
    first, second = wider[layer], wider[layer + 1]
    d, k = first.kernel.shape[0], second.kernel.shape[1]
    biased = first.bias is not None
    mu = jnp.asarray(mu, jnp.result_type(second.kernel))

    def moved(direction):
        v, b = direction[: d + biased], direction[d + biased :]
        kernel = first.kernel.at[:, unit].add((1 - mu) * v[:d])
        kernel = kernel.at[:, -1].add(-mu * v[:d])
        bias = first.bias
        if biased:
            bias = bias.at[unit].add((1 - mu) * v[d]).at[-1].add(-mu * v[d])
        out = second.kernel.at[unit].add(b).at[-1].add(-b)
        layers = _with_layers(
            wider,
            layer,
            first._replace(kernel=kernel, bias=bias),
            second._replace(kernel=out),
        )
        return loss(layers)

    return jax.hessian(moved)(jnp.zeros(d + biased + k, second.kernel.dtype))


def _misfit(params, unit, layer):
    """What is wrong with a layer or a unit, or an empty string."""
    hidden = len(params) - 1
    if not isinstance(layer, int) or not 0 <= layer < hidden:
        return f"layer must be an integer in 0..{hidden - 1}, got {layer!r}"
    width = params[layer].kernel.shape[1]
    if not isinstance(unit, int) or not 0 <= unit < width:
        return f"unit must be an integer in 0..{width - 1}, got {unit!r}"
    return ""


def _with_layers(params, layer, first, second):
    """The layers with two of them replaced."""
    return type(params)((*params[:layer], first, second, *params[layer + 2 :]))
