"""Wrong labels at a chosen rate.

Which labels are noisy is nested in the rate: with one key, all that are noisy at rate
0.1 are noisy at rate 0.3 too, and carry the same wrong label. So a sweep over rates
with one key compares like with like. The draws do not depend on the precision of JAX.
"""

import jax
import jax.numpy as jnp

from jaxdl.types import Array, Key, Scalar


def redraw_labels(key: Key, y: Array, rate: Scalar, n_classes: int) -> Array:
    """Redraw each label with probability ``rate``, uniformly over ALL k classes.

    A redrawn label may come out as it was: a fraction ``rate (k - 1) / k`` of the
    labels is really wrong. At rate 1 the labels tell nothing about the inputs.

    Args:
        key: PRNG key.
        y: Labels, any shape, integers in 0..n_classes-1 (not checked).
        rate: Probability in [0, 1]; may be traced.
        n_classes: k, ``>= 2``.

    Returns:
        Labels, in the shape and dtype of ``y``.

    Raises:
        ValueError: If ``y`` does not hold integers, its dtype cannot hold all
            classes, ``n_classes`` is below 2, or a Python number ``rate`` is outside
            [0, 1].

    Examples:
        >>> y = jnp.arange(10_000) % 10
        >>> noisy = redraw_labels(jax.random.key(0), y, 0.15, 10)
        >>> print(f"{jnp.mean(noisy != y):.2f}")  # 0.15 * 9 / 10 = 0.135
        0.14
    """
    y = jnp.asarray(y)
    if problem := _problem(y, rate, n_classes):
        raise ValueError(problem)
    noisy_key, label_key = jax.random.split(key)
    drawn = jax.random.randint(label_key, y.shape, 0, n_classes, jnp.int32)
    return jnp.where(_noisy(noisy_key, y.shape, rate), drawn.astype(y.dtype), y)


def flip_labels(key: Key, y: Array, rate: Scalar, n_classes: int) -> Array:
    """Change each label with probability ``rate``, to a uniform OTHER class.

    A fraction ``rate`` of the labels is really wrong. At ``rate = (k - 1) / k`` the
    labels tell nothing about the inputs; above it they say what a class is not.

    Args:
        key: PRNG key.
        y: Labels, any shape, integers in 0..n_classes-1 (not checked).
        rate: Probability in [0, 1]; may be traced.
        n_classes: k, ``>= 2``.

    Returns:
        Labels, in the shape and dtype of ``y``.

    Raises:
        ValueError: If ``y`` does not hold integers, its dtype cannot hold all
            classes, ``n_classes`` is below 2, or a Python number ``rate`` is outside
            [0, 1].

    Examples:
        >>> flip_labels(jax.random.key(0), jnp.array([0, 1, 1]), 1.0, 2).tolist()
        [1, 0, 0]
    """
    y = jnp.asarray(y)
    if problem := _problem(y, rate, n_classes):
        raise ValueError(problem)
    noisy_key, label_key = jax.random.split(key)
    step = jax.random.randint(label_key, y.shape, 1, n_classes, jnp.int32)
    other = ((y.astype(jnp.int32) + step) % n_classes).astype(y.dtype)
    return jnp.where(_noisy(noisy_key, y.shape, rate), other, y)


def _noisy(key, shape, rate):
    """Which labels are noisy: those whose uniform draw lies below the rate."""
    return jax.random.uniform(key, shape, jnp.float32) < rate


def _problem(y, rate, n_classes):
    """What is wrong with the arguments, or None."""
    if not jnp.issubdtype(y.dtype, jnp.integer):
        return f"y must hold integer classes, got dtype {y.dtype}"
    if n_classes < 2:
        return f"n_classes must be >= 2, got {n_classes}"
    if n_classes - 1 > jnp.iinfo(y.dtype).max:
        return f"y must have room for {n_classes} classes, got dtype {y.dtype}"
    if isinstance(rate, float | int) and not 0 <= rate <= 1:
        return f"rate must lie in [0, 1], got {rate}"
    return None
