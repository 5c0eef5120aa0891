"""Generated sets: pure functions of a key, for use inside compiled programs.

``noise`` is a standard deviation everywhere. Numbers of rows, inputs and classes are
Python integers. Where there are classes, row i has class ``i mod k``, so class sizes
differ by at most one, and any leading part of the rows is balanced too.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxdl.data.dataset import Table
from jaxdl.types import Array, Key, Scalar


class LinearGaussian(NamedTuple):
    """Rows of a linear model, and the model."""

    x: Array  # (n, d) standard normal
    y: Array  # (n,) x w + noise
    w: Array  # (d,)


def xor() -> Table:
    """The four points of exclusive or, the smallest set that no line separates.

    Returns:
        x ``(4, 2)``: (0, 0), (0, 1), (1, 0), (1, 1); y ``(4,)`` int32: 0, 1, 1, 0.

    Examples:
        >>> x, y = xor()
        >>> x[2].tolist(), y.tolist()
        ([1.0, 0.0], [0, 1, 1, 0])
    """
    x = jnp.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    return Table(x, jnp.array([0, 1, 1, 0], jnp.int32))


def two_moons(key: Key, n: int, noise: Scalar) -> Table:
    """Two interleaved half circles of radius 1.

    With an angle a uniform in [0, pi], class 0 lies at ``(cos a, sin a)`` and class 1
    at ``(1 - cos a, 1/2 - sin a)``; isotropic normal noise is added.

    Args:
        key: PRNG key.
        n: Rows, ``>= 1``.
        noise: Standard deviation of each coordinate's noise, ``>= 0``.

    Returns:
        x ``(n, 2)``, y ``(n,)`` int32.

    Raises:
        ValueError: If ``n`` or a Python number ``noise`` is outside its domain.
    """
    if problem := _too_small(n=(n, 1), noise=(noise, 0)):
        raise ValueError(problem)
    angle_key, noise_key = jax.random.split(key)
    y = _classes(n, 2)
    angle = jax.random.uniform(angle_key, (n,), maxval=jnp.pi)
    upper = jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=1)
    lower = jnp.stack([1 - jnp.cos(angle), 0.5 - jnp.sin(angle)], axis=1)
    x = jnp.where(y[:, None] == 0, upper, lower)
    return Table(x + noise * jax.random.normal(noise_key, x.shape), y)


def spirals(
    key: Key, n: int, n_classes: int, noise: Scalar, *, turns: Scalar = 0.75
) -> Table:
    """Spiral arms from the origin to the unit circle, one a class.

    With r uniform in [0, 1], class c of k lies at radius r and angle
    ``2 pi (c / k + turns r)``; isotropic normal noise is added.

    Args:
        key: PRNG key.
        n: Rows, ``>= 1``.
        n_classes: Arms k, ``>= 2``.
        noise: Standard deviation of each coordinate's noise, ``>= 0``.
        turns: Full turns that an arm makes; 0 gives straight rays.

    Returns:
        x ``(n, 2)``, y ``(n,)`` int32 in 0..k-1.

    Raises:
        ValueError: If ``n``, ``n_classes`` or a Python number ``noise`` is outside
            its domain.
    """
    if problem := _too_small(n=(n, 1), n_classes=(n_classes, 2), noise=(noise, 0)):
        raise ValueError(problem)
    radius_key, noise_key = jax.random.split(key)
    y = _classes(n, n_classes)
    radius = jax.random.uniform(radius_key, (n,))
    angle = 2 * jnp.pi * (y / n_classes + turns * radius)
    x = radius[:, None] * jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=1)
    return Table(x + noise * jax.random.normal(noise_key, x.shape), y)


def blobs(key: Key, n: int, d: int, n_classes: int, spread: Scalar) -> Table:
    """One isotropic normal cloud a class, around centres that are drawn too.

    ``x = centre[y] + spread e``, with the centres and e standard normal. Another key
    has other centres: cut training and test rows from one call.

    Args:
        key: PRNG key.
        n: Rows, ``>= 1``.
        d: Inputs, ``>= 1``.
        n_classes: Clouds k, ``>= 2``.
        spread: Standard deviation of a cloud in each coordinate, ``>= 0``.

    Returns:
        x ``(n, d)``, y ``(n,)`` int32 in 0..k-1.

    Raises:
        ValueError: If ``n``, ``d``, ``n_classes`` or a Python number ``spread`` is
            outside its domain.
    """
    if problem := _too_small(
        n=(n, 1), d=(d, 1), n_classes=(n_classes, 2), spread=(spread, 0)
    ):
        raise ValueError(problem)
    centre_key, cloud_key = jax.random.split(key)
    y = _classes(n, n_classes)
    centres = jax.random.normal(centre_key, (n_classes, d))
    return Table(centres[y] + spread * jax.random.normal(cloud_key, (n, d)), y)


def sine_regression(key: Key, n: int, noise: Scalar) -> Table:
    """One period of a sine: ``y = sin(2 pi x) + noise e``, x uniform in [0, 1).

    Args:
        key: PRNG key.
        n: Rows, ``>= 1``.
        noise: Standard deviation of the targets' normal noise, ``>= 0``.

    Returns:
        x ``(n, 1)``, y ``(n,)``.

    Raises:
        ValueError: If ``n`` or a Python number ``noise`` is outside its domain.

    References:
        Bishop (2006), Pattern recognition and machine learning, section 1.1, where
        the inputs are evenly spaced.
    """
    if problem := _too_small(n=(n, 1), noise=(noise, 0)):
        raise ValueError(problem)
    input_key, noise_key = jax.random.split(key)
    x = jax.random.uniform(input_key, (n, 1))
    y = jnp.sin(2 * jnp.pi * x[:, 0])
    return Table(x, y + noise * jax.random.normal(noise_key, (n,)))


def linear_gaussian(
    key: Key, n: int, d: int, signal: Scalar, noise: Scalar
) -> LinearGaussian:
    """Isotropic linear regression: ``y = x w + noise e``, x and e standard normal.

    The direction of w is uniform on the sphere and ``|w|^2 = signal``, so a target
    has variance ``signal + noise^2``. Another key has another w: cut training and
    test rows from one call.

    Args:
        key: PRNG key.
        n: Rows, ``>= 1``.
        d: Inputs, ``>= 1``.
        signal: Squared norm of w, ``>= 0``; what the theory of least squares calls
            the signal strength.
        noise: Standard deviation (not variance) of the targets' noise, ``>= 0``.

    Returns:
        x ``(n, d)``, y ``(n,)`` and w ``(d,)``.

    Raises:
        ValueError: If ``n``, ``d``, or a Python number ``signal`` or ``noise`` is
            outside its domain.

    References:
        Hastie et al. (2019), Surprises in high-dimensional ridgeless least squares
        interpolation, section 3. https://arxiv.org/abs/1903.08560

    Examples:
        >>> x, y, w = linear_gaussian(jax.random.key(0), 5, 3, signal=4.0, noise=0.0)
        >>> print(f"{w @ w:.3f} {abs(y - x @ w).max():.1f}")
        4.000 0.0
    """
    if problem := _too_small(n=(n, 1), d=(d, 1), signal=(signal, 0), noise=(noise, 0)):
        raise ValueError(problem)
    input_key, weight_key, noise_key = jax.random.split(key, 3)
    x = jax.random.normal(input_key, (n, d))
    direction = jax.random.normal(weight_key, (d,))
    w = jnp.sqrt(signal) * direction / jnp.linalg.norm(direction)
    clean = jnp.matmul(x, w, precision=jax.lax.Precision.HIGHEST)
    return LinearGaussian(x, clean + noise * jax.random.normal(noise_key, (n,)), w)


def _classes(n, n_classes):
    """``(n,)`` int32: 0, 1, .., k-1, 0, 1, .."""
    return jnp.arange(n, dtype=jnp.int32) % n_classes


def _too_small(**bounds):
    """What to say of the first Python number below its bound; arrays may be traced."""
    for name, (value, least) in bounds.items():
        if isinstance(value, float | int) and not value >= least:
            return f"{name} must be >= {least}, got {value}"
    return None
