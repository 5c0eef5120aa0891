"""How much the gradients of single examples differ, against their mean."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdl import tree
from jaxdl.curvature.batches import misfit, not_examples
from jaxdl.curvature.hessians import Loss
from jaxdl.types import Array, Params


class GradientNoise(NamedTuple):
    """The two moments are estimated without bias, their ratio is not."""

    noise_scale: Array  # () in examples: covariance_trace / gradient_norm_squared
    covariance_trace: Array  # () of the gradient of one example
    gradient_norm_squared: Array  # () of the expected gradient; may come out negative


def gradient_noise_scale(
    loss: Loss, params: Params, batch: Any, *, chunk_size: int | None = None
) -> GradientNoise:
    """The simple noise scale: the batch size at which noise and gradient are equal.

    With gradients g_i of n examples, their mean g and unbiased covariance S,
    ``tr S = sum |g_i - g|^2 / (n - 1)`` and ``|G|^2 = |g|^2 - tr S / n``, since the
    mean of n has noise of its own; the scale is ``tr S / |G|^2``. Near a minimum
    ``|G|^2`` is lost in the noise: the estimate is then huge or negative.

    Args:
        loss: ``loss(params, batch) -> ()``, as in `hvp`; called on batches of one.
        params: Pytree of float32 or float64 arrays, p numbers.
        batch: Pytree of arrays with the n ``>= 2`` examples along their first axis.
        chunk_size: Examples whose gradients are held at a time, ``>= 1``: chunk_size p
            numbers of memory. None for all n.

    Returns:
        Scale and moments.

    Raises:
        ValueError: If there are fewer than two examples, or the arguments do not fit.

    References:
        McCandlish, Kaplan, Amodei (2018), An empirical model of large-batch training,
        appendix A.1. https://arxiv.org/abs/1812.06162

    Examples:
        >>> def loss(w, batch):
        ...     return jnp.mean((w - batch) ** 2) / 2
        >>> batch = jnp.array([1.0, 2.0, 3.0])  # gradients 3, 2, 1
        >>> found = gradient_noise_scale(loss, jnp.array(4.0), batch)
        >>> print(found.covariance_trace, found.gradient_norm_squared.round(4))
        1.0 3.6667
    """
    if message := misfit(params, batch, chunk_size) or not_examples(batch):
        raise ValueError(message)
    n = len(jax.tree.leaves(batch)[0])
    if n < 2:
        raise ValueError(f"batch must hold at least two examples, got {n}")
    size = n if chunk_size is None else min(chunk_size, n)
    return _noise(loss, n, size, jax.tree.map(jnp.asarray, params), batch)


def noise_scale_of_batches(
    small_norm_squared: Array,
    large_norm_squared: Array,
    small: int,
    large: int,
) -> GradientNoise:
    """The simple noise scale from gradients of two batch sizes.

    With ``E |g_B|^2 = |G|^2 + tr S / B`` at batch sizes b < B,
    ``|G|^2 = (B |g_B|^2 - b |g_b|^2) / (B - b)`` and
    ``tr S = (|g_b|^2 - |g_B|^2) / (1/b - 1/B)``. Both are noisy: average the norms, or
    the two moments, over many steps before the ratio is taken. Devices that each hold
    a part of the batch give the norms at no cost.

    Args:
        small_norm_squared: ``|g_b|^2`` of the gradient of a mean over b examples; any
            shape.
        large_norm_squared: ``|g_B|^2``, the same shape.
        small: b, ``>= 1``.
        large: B, ``> b``.

    Returns:
        Scale and moments, in that shape.

    Raises:
        ValueError: If the batch sizes are not in that order, or the shapes differ.

    References:
        McCandlish, Kaplan, Amodei (2018), An empirical model of large-batch training,
        appendix A.1. https://arxiv.org/abs/1812.06162

    Examples:
        >>> found = noise_scale_of_batches(jnp.array(3.0), jnp.array(1.5), 1, 4)
        >>> print(found.covariance_trace, found.gradient_norm_squared)
        2.0 1.0
    """
    if not 1 <= small < large:
        raise ValueError(f"expected 1 <= small < large, got {small} and {large}")
    if jnp.shape(small_norm_squared) != jnp.shape(large_norm_squared):
        raise ValueError(
            "norms must have the same shape, got "
            f"{jnp.shape(small_norm_squared)} and {jnp.shape(large_norm_squared)}"
        )
    excess = small_norm_squared - large_norm_squared
    trace = excess / (1 / small - 1 / large)
    square = (large * large_norm_squared - small * small_norm_squared) / (large - small)
    return GradientNoise(trace / square, trace, square)


@jax.jit(static_argnums=(0, 1, 2))
def _noise(loss, n, size, params, batch):
    """Moments of the gradients, chunk by chunk."""
    whole, rest = divmod(n, size)

    def gradient(example):
        one = jax.tree.map(lambda x: x[None], example)
        return jax.grad(loss)(params, one)

    def merge(moments, start, length):
        """Add the moments of a chunk about its own mean."""
        seen, mean, squares = moments

        def cut(x):
            return jax.lax.dynamic_slice_in_dim(x, start, length)

        gradients = jax.vmap(gradient)(jax.tree.map(cut, batch))
        centre = jax.tree.map(lambda g: jnp.mean(g, axis=0), gradients)
        spread = jax.tree.map(lambda g, c: g - c[None], gradients, centre)
        apart = tree.subtract(centre, mean)
        together = seen + length
        mean = tree.add_scaled(mean, length / together, apart)
        between = tree.dot(apart, apart) * (seen * length / together)
        return together, mean, squares + tree.dot(spread, spread) + between

    def chunk(moments, number):
        return merge(moments, number * size, size), None

    dtype = jnp.result_type(*jax.tree.leaves(params))
    zero = jnp.zeros((), dtype)
    numbers = jnp.arange(whole, dtype=jnp.int32)
    moments, _ = jax.lax.scan(chunk, (zero, tree.zeros_like(params), zero), numbers)
    if rest:
        moments = merge(moments, n - rest, rest)
    _, mean, squares = moments
    trace = squares / (n - 1)
    square = tree.dot(mean, mean) - trace / n
    return GradientNoise(trace / square, trace, square)
