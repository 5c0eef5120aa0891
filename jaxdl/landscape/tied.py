"""Hidden units with equal weights: whether training keeps them so."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdl import tree
from jaxdl.optim import GradientTransformation, apply_updates
from jaxdl.types import Array, Key, Params, Scalar

Pair = tuple[int, int]


class TiedRun(NamedTuple):
    """Training of a network with two tied units."""

    params: Params  # at the end
    gaps: Array  # (steps + 1,) distance of the two units, from the start on
    losses: Array  # (steps + 1,)


def tie_units(params: Any, units: Pair = (0, 1), *, layer: int = 0) -> Any:
    """Project onto the networks whose two units are the same, orthogonally.

    Weights in, biases and weights out of both become their means. The set is invariant
    under the exchange of the two, as the gradient is, so exact descent stays on it.
    Applied after each update it keeps units tied that rounding would untie.

    Args:
        params: Layers with ``kernel`` and ``bias``, as of `jaxdl.models.mlp`.
        units: Two different units, from 0.
        layer: Number of the hidden layer, from 0.

    Returns:
        Layers like ``params``.

    Raises:
        ValueError: If there are no such units.

    Examples:
        >>> from jaxdl.models import mlp
        >>> params = tie_units(mlp.init(jax.random.key(0), (2, 3, 1)), (0, 2))
        >>> print(tied_gap(params, (0, 2)))
        0.0
    """
    if message := _misfit(params, units, layer):
        raise ValueError(message)
    first, second = params[layer], params[layer + 1]
    i, j = units

    def tied(leaf, axis):
        """Both as the same number, bit for bit."""
        rows = jnp.moveaxis(jnp.asarray(leaf), axis, 0)
        mean = (rows[i] + rows[j]) / 2
        return jnp.moveaxis(rows.at[i].set(mean).at[j].set(mean), 0, axis)

    bias = None if first.bias is None else tied(first.bias, 0)
    first = first._replace(kernel=tied(first.kernel, 1), bias=bias)
    second = second._replace(kernel=tied(second.kernel, 0))
    return type(params)((*params[:layer], first, second, *params[layer + 2 :]))


def tied_gap(params: Any, units: Pair = (0, 1), *, layer: int = 0) -> Array:
    """How far two units are from being the same.

    The norm of the difference of weights in, biases and weights out, which is sqrt(2)
    times the distance to `tie_units`.

    Args:
        params: As in `tie_units`.
        units: As in `tie_units`.
        layer: As in `tie_units`.

    Returns:
        ``()``.

    Raises:
        ValueError: If there are no such units.
    """
    if message := _misfit(params, units, layer):
        raise ValueError(message)
    first, second = params[layer], params[layer + 1]
    i, j = units
    parts = [
        first.kernel[:, i] - first.kernel[:, j],
        second.kernel[i] - second.kernel[j],
    ]
    if first.bias is not None:
        parts.append(first.bias[i] - first.bias[j])
    return tree.norm(parts)


def train_tied(
    loss: Callable[[Params], Array],
    params: Any,
    optimizer: GradientTransformation,
    steps: int,
    *,
    units: Pair = (0, 1),
    layer: int = 0,
    project: bool = False,
    noise: Scalar = 0.0,
    key: Key | None = None,
) -> TiedRun:
    """Tie two units, train, and record how far they come apart.

    In exact arithmetic they stay tied under every optimizer that treats entries alike.
    In floating point that depends on the order in which sums are formed, so on the
    width and the machine; where a saddle pulls them apart, rounding grows by
    `growth_rate` a step.

    Args:
        loss: ``loss(params) -> ()``.
        params: Layers with ``kernel`` and ``bias``; tied by `tie_units` at the start.
        optimizer: Of `jaxdl.optim` or optax.
        steps: Number of updates, ``>= 1``.
        units: As in `tie_units`.
        layer: As in `tie_units`.
        project: Whether to apply `tie_units` after each update.
        noise: Standard deviation of Gaussian noise added to each entry of each
            gradient, ``>= 0``.
        key: PRNG key for the noise; None without.

    Returns:
        The parameters at the end, gaps and losses.

    Raises:
        ValueError: If there are no such units, there are no steps, or noise comes
            without a key.
    """
    if message := _misfit(params, units, layer):
        raise ValueError(message)
    if not isinstance(steps, int) or steps < 1:
        raise ValueError(f"steps must be an integer >= 1, got {steps!r}")
    if key is None and not (isinstance(noise, float | int) and noise == 0):
        raise ValueError(f"key must be given with noise, got None and noise {noise}")
    start = tie_units(params, units, layer=layer)

    def step(carry, number):
        params, state = carry
        value, gradient = jax.value_and_grad(loss)(params)
        gap = tied_gap(params, units, layer=layer)
        if key is not None:
            random = tree.random_like(jax.random.fold_in(key, number), gradient)
            gradient = tree.add_scaled(gradient, noise, random)
        updates, state = optimizer.update(gradient, state, params)
        params = apply_updates(params, updates)
        if project:
            params = tie_units(params, units, layer=layer)
        return (params, state), (gap, value)

    (end, _), (gaps, losses) = jax.lax.scan(
        step, (start, optimizer.init(start)), jnp.arange(steps)
    )
    return TiedRun(
        end,
        jnp.append(gaps, tied_gap(end, units, layer=layer)),
        jnp.append(losses, loss(end)),
    )


def growth_rate(sizes: Array, *, low: Scalar = 0.0, high: Scalar = jnp.inf) -> Array:
    """The factor by which something grows in each step.

    ``exp`` of the slope of a least-squares line through the logarithms.

    Args:
        sizes: ``(t,)``, one a step, ``>= 0``.
        low: Sizes up to this are left out, such as those of rounding.
        high: Sizes from this on are left out, such as those of a saturated gap.

    Returns:
        ``()``; NaN if fewer than two sizes remain.

    Raises:
        ValueError: If ``sizes`` is no vector.

    Examples:
        >>> print(f"{growth_rate(1e-8 * 1.25 ** jnp.arange(20.0)):.3f}")
        1.250
    """
    if jnp.ndim(sizes) != 1:
        raise ValueError(f"sizes must be a vector, got shape {jnp.shape(sizes)}")
    sizes = jnp.asarray(sizes)
    used = (sizes > low) & (sizes < high)
    total = jnp.sum(used)
    logs = jnp.where(used, jnp.log(jnp.where(used, sizes, 1)), 0)
    steps = jnp.arange(sizes.size, dtype=logs.dtype)
    count = jnp.maximum(total, 1)
    centered = jnp.where(used, steps - jnp.sum(jnp.where(used, steps, 0)) / count, 0)
    slope = jnp.vdot(centered, logs) / jnp.vdot(centered, centered)
    return jnp.exp(jnp.where(total >= 2, slope, jnp.nan))


def _misfit(params, units, layer):
    """What is wrong with a layer or two units, or an empty string."""
    hidden = len(params) - 1
    if not isinstance(layer, int) or not 0 <= layer < hidden:
        return f"layer must be an integer in 0..{hidden - 1}, got {layer!r}"
    width = params[layer].kernel.shape[1]
    if len({*units}) != 2 or any(not 0 <= unit < width for unit in units):
        return f"units must be two different ones in 0..{width - 1}, got {units!r}"
    return ""
