"""The multilayer perceptron: fully connected layers with an activation between.

A network narrower than its arrays: `init` takes the true hidden widths, which may
be traced, and leaves the units beyond them at zero. Zero units stay zero under
gradient descent with any optimizer that gives a zero update for a zero gradient
at a zero weight, so networks of many widths train as one ``vmap``.
"""

import itertools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxdl.nn import Activation, Dense, Initializer, dense, dense_init, he_normal
from jaxdl.types import Array, Key, Scalar

Layers = tuple[Dense, ...]


def init(
    key: Key,
    sizes: Sequence[int],
    *,
    widths: Sequence[Scalar] | None = None,
    initializer: Initializer = he_normal,
    use_bias: bool = True,
    dtype: Any = float,
) -> Layers:
    """Draw a network.

    Args:
        key: PRNG key.
        sizes: Inputs, hidden units of each layer, outputs: two or more integers.
        widths: True hidden widths, one a hidden layer, each at most that layer's
            size; may be traced. Units beyond them have no weights in or out. Use
            an activation with ``activation(0) == 0``.
        initializer: Draws each kernel, by its true fans.
        use_bias: Whether layers have biases, which start at zero.
        dtype: Of the parameters.

    Returns:
        One `Dense` a layer.

    Raises:
        ValueError: If ``sizes`` or ``widths`` do not describe a network.

    Examples:
        >>> import jax
        >>> from jaxdl import tree
        >>> params = init(jax.random.key(0), (64, 27, 10))
        >>> tree.size(params)  # 65 x 27 + 28 x 10
        2035
    """
    if len(sizes) < 2:
        raise ValueError(f"sizes must name at least inputs and outputs, got {sizes}")
    widths = tuple(sizes[1:-1]) if widths is None else tuple(widths)
    if len(widths) != len(sizes) - 2:
        raise ValueError(
            f"widths must have one entry a hidden layer, {len(sizes) - 2}, "
            f"got {len(widths)}"
        )
    for width, size in zip(widths, sizes[1:-1], strict=True):
        if isinstance(width, int) and size >= 1 and not 1 <= width <= size:
            raise ValueError(f"widths must lie in 1..{size}, got {width}")
    true = (sizes[0], *widths, sizes[-1])
    layers = []
    for layer, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes)):
        drawn = dense_init(
            jax.random.fold_in(key, layer),
            fan_in,
            fan_out,
            initializer=initializer,
            use_bias=use_bias,
            true_fan_in=true[layer],
            true_fan_out=true[layer + 1],
            dtype=dtype,
        )
        inside = jnp.outer(
            _up_to(true[layer], fan_in), _up_to(true[layer + 1], fan_out)
        )
        layers.append(drawn._replace(kernel=jnp.where(inside, drawn.kernel, 0)))
    return tuple(layers)


def apply(params: Layers, x: Array, *, activation: Activation = jax.nn.relu) -> Array:
    """Outputs for one example; the last layer is linear.

    Args:
        params: From `init`.
        x: ``(d,)``.
        activation: Elementwise function between layers.

    Returns:
        ``(k,)``.
    """
    return apply_with_activations(params, x, activation=activation)[0]


def apply_with_activations(
    params: Layers,
    x: Array,
    *,
    activation: Activation = jax.nn.relu,
    shifts: Sequence[Array] | None = None,
) -> tuple[Array, tuple[Array, ...]]:
    """Outputs for one example, and what the hidden units say on the way.

    Args:
        params: From `init`. Units beyond the true widths of a padded network are
            ``activation(0)``.
        x: ``(d,)``.
        activation: Elementwise function between layers.
        shifts: One ``(h,)`` array a hidden layer, added to its pre-activations; the
            gradient with respect to them is the back-propagated signal. None for none.

    Returns:
        ``(k,)``, and one ``(h,)`` array a hidden layer.

    Raises:
        ValueError: If there is not one shift a hidden layer, of its shape.

    Examples:
        >>> params = init(jax.random.key(0), (3, 5, 4, 2))
        >>> outputs, (first, second) = apply_with_activations(params, jnp.ones(3))
        >>> print(outputs.shape, first.shape, second.shape)
        (2,) (5,) (4,)
    """
    *hidden, last = params
    if shifts is not None:
        wanted = [layer.kernel.shape[1:] for layer in hidden]
        if (got := [jnp.shape(shift) for shift in shifts]) != wanted:
            raise ValueError(f"shifts must have shapes {wanted}, got {got}")
    activations = []
    for number, layer in enumerate(hidden):
        z = dense(layer, x)
        x = activation(z if shifts is None else z + shifts[number])
        activations.append(x)
    return dense(last, x), tuple(activations)


def _up_to(width: Scalar, size: int) -> Array:
    """``(size,)``, True for the first ``width`` units."""
    return jnp.arange(size) < width
