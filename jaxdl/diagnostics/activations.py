"""Do the units of each layer carry signal, and does gradient reach them?"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdl.types import Array, Params, Scalar

_MARGIN = 0.015


class ActivationStatistics(NamedTuple):
    """One entry a layer, ``(layers,)`` each."""

    mean: Array  # over examples and units
    variance: Array  # over examples and units
    mean_square: Array
    signal: Array  # variance over examples, mean over units: what depends on the input
    zero: Array  # fraction of entries that are exactly zero
    dead: Array  # fraction of units that are zero on every example
    saturated: Array  # fraction of entries at a bound; NaN where none was given
    stuck: Array  # fraction of units at a bound on every example; NaN likewise
    duplicate: Array  # fraction of units that copy an earlier one; not the dead ones


def activation_statistics(
    activations: Sequence[Array],
    *,
    bounds: tuple[float, float] | None = None,
    widths: Sequence[Scalar] | None = None,
) -> ActivationStatistics:
    """Moments of each layer, and its dead, saturated and duplicate units.

    A unit is *dead* if it is zero on all n examples: with ReLU no gradient reaches its
    weights. An entry is *saturated* if it lies within 1.5% of the range of the
    activation function from either bound, such as ``|tanh(z)| >= 0.97``; the slope of
    tanh and of the sigmoid is then below 6% of its largest. Two units are *duplicates*
    if they agree exactly on all examples: under gradient descent units that start out
    the same stay so.

    Args:
        activations: One ``(n, h)`` array a layer, examples first, such as the second
            result of ``vmap(apply_with_activations)``.
        bounds: Infimum and supremum of the activation function: ``(-1, 1)`` for tanh,
            ``(0, 1)`` for the sigmoid. None for one without both.
        widths: True width of each layer, ``1..h``, if layers are padded; may be
            traced. Units beyond it are left out.

    Returns:
        Statistics in the dtype of the activations.

    Raises:
        ValueError: If there is no layer, one is not ``(n, h)`` with n, h >= 1,
            ``bounds`` is not an interval, or ``widths`` does not fit.

    References:
        Glorot, Bengio (2010), Understanding the difficulty of training deep feedforward
        neural networks, section 3 (activations and gradients by layer).

    Examples:
        >>> layer = jnp.array([[0.0, 1.0, 3.0], [0.0, 0.0, 5.0]])
        >>> found = activation_statistics([layer])
        >>> print(found.mean, found.zero, found.dead, found.duplicate)
        [1.5] [0.5] [0.33333334] [0.]
    """
    if not len(activations):
        raise ValueError("activations must hold at least one layer, got none")
    for layer in activations:
        if jnp.ndim(layer) != 2 or 0 in jnp.shape(layer):
            raise ValueError(
                "activations must be one (n, h) array a layer, examples first; "
                f"got shape {jnp.shape(layer)}"
            )
    if bounds is not None and not bounds[0] < bounds[1]:
        raise ValueError(f"bounds must be (lower, upper), got {bounds}")
    sizes = [layer.shape[1] for layer in activations]
    widths = sizes if widths is None else list(widths)
    if len(widths) != len(sizes):
        raise ValueError(
            f"widths must have one entry a layer, {len(sizes)}, got {len(widths)}"
        )
    for width, size in zip(widths, sizes, strict=True):
        if isinstance(width, int) and not 1 <= width <= size:
            raise ValueError(f"widths must lie in 1..{size}, got {width}")
    layers = [
        _layer(jnp.asarray(layer), bounds, width)
        for layer, width in zip(activations, widths, strict=True)
    ]
    return jax.tree.map(lambda *rows: jnp.stack(rows), *layers)


def activation_gradients(
    apply_with_activations: Callable[..., tuple[Array, tuple[Array, ...]]],
    loss: Callable[[Array, Any], Array],
    params: Params,
    x: Array,
    y: Any,
) -> tuple[Array, ...]:
    """The back-propagated signals: gradients with respect to pre-activations.

    ``delta_l = dL / dz_l`` of the loss of each example, ``z_l`` what goes into the
    activation function of hidden layer l. Their mean square by layer says whether the
    gradient vanishes or explodes on its way back.

    Args:
        apply_with_activations: ``(params, x, shifts=...) -> (outputs, activations)`` of
            one example, where the shifts, one array a hidden layer, are added to the
            pre-activations; such as that of `jaxdl.models.mlp`.
        loss: ``loss(outputs, target) -> ()`` of one example, as in `jaxdl.losses`.
        params: Parameters of the model.
        x: ``(n, ...)`` inputs.
        y: ``(n, ...)`` targets, or a pytree of such.

    Returns:
        One ``(n, h)`` array a hidden layer.
    """

    def of_example(x, y):
        shapes = jax.eval_shape(apply_with_activations, params, x)[1]
        zeros = tuple(jnp.zeros(shape.shape, shape.dtype) for shape in shapes)

        def shifted(shifts):
            return loss(apply_with_activations(params, x, shifts=shifts)[0], y)

        return jax.grad(shifted)(zeros)

    return jax.vmap(of_example)(x, y)


def _layer(a, bounds, width):
    """Statistics of one layer, ``()`` each."""
    numbers = jnp.arange(a.shape[1])
    real = numbers < width
    width = jnp.asarray(width, a.dtype)

    def over_units(values):
        """Mean of ``(h,)`` values over the true units."""
        return jnp.sum(jnp.where(real, values, 0)) / width

    mean = over_units(jnp.mean(a, axis=0))
    centred = jnp.square(a - mean)
    dead = jnp.all(a == 0, axis=0)

    def copies(number):
        same = jnp.all(a == a[:, number][:, None], axis=0)
        return jnp.any(same & (numbers < number)) & ~dead[number]

    nan = jnp.full((), jnp.nan, a.dtype)
    saturated = stuck = nan
    if bounds is not None:
        lower, upper = bounds
        margin = _MARGIN * (upper - lower)
        flat = (a <= lower + margin) | (a >= upper - margin)
        saturated = over_units(jnp.mean(flat, axis=0, dtype=a.dtype))
        stuck = over_units(jnp.all(flat, axis=0))
    return ActivationStatistics(
        mean=mean,
        variance=over_units(jnp.mean(centred, axis=0)),
        mean_square=over_units(jnp.mean(jnp.square(a), axis=0)),
        signal=over_units(jnp.var(a, axis=0)),
        zero=over_units(jnp.mean(a == 0, axis=0, dtype=a.dtype)),
        dead=over_units(dead),
        saturated=saturated,
        stuck=stuck,
        duplicate=over_units(jax.lax.map(copies, numbers)),
    )
