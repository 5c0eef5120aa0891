"""Exact moments of averages of ``x' = r x + noise``, a first-order autoregression.

Each function gives two numbers for a sum of iterates with weights w_0..w_t that add up
to one: ``c = sum w_i r^i``, what is left of the start, and
``q = sum w_i w_j r^|i - j|``, its variance in units of that of an iterate, where the
start is stationary. The arguments: the ratio ``r = 1 - a l`` in (-1, 1), any shape, and
how many updates ``t >= 1`` were done.
"""

import numpy as np

Moments = tuple[np.ndarray, np.ndarray]


def variance(
    curvatures: np.ndarray, rate: np.ndarray | float, noise: float
) -> np.ndarray:
    """The stationary variance of SGD, ``a s2 / (l (2 - a l))``.

    Args:
        curvatures: l, ``> 0``.
        rate: a, in (0, 2 / l); broadcast against the curvatures.
        noise: Variance s2 of the gradient.

    Returns:
        In the shape of both.

    Examples:
        >>> print(variance(np.array([1.0, 2.0]), 0.5, 3.0))
        [1.   0.75]
    """
    return rate * noise / (curvatures * (2 - rate * curvatures))


def last(ratio: np.ndarray, t: int) -> Moments:
    """Of the last iterate: ``r^t`` and 1.

    Args:
        ratio: r.
        t: Updates done.

    Returns:
        c and q.
    """
    return ratio**t, np.ones_like(ratio)


def polyak(ratio: np.ndarray, t: int, start: int) -> Moments:
    """Of the mean of the iterates from ``start`` to t.

    With n of them, ``c = (r^start - r^(t+1)) / ((1 - r) n)`` and
    ``q = ((1 + r) / (1 - r) - 2 r (1 - r^n) / ((1 - r)^2 n)) / n``.

    Args:
        ratio: r.
        t: Updates done, ``>= start``.
        start: The first iterate that counts.

    Returns:
        c and q.

    Examples:
        >>> print(polyak(np.array(0.5), 1, 0))  # (x_0 + x_1) / 2
        (np.float64(0.75), np.float64(0.75))
    """
    n, gap = t - start + 1, 1 - ratio
    c = ratio**start * (1 - ratio**n) / (gap * n)
    return c, ((1 + ratio) / gap - 2 * ratio * (1 - ratio**n) / (gap**2 * n)) / n


def ema(ratio: np.ndarray, t: int, decay: float) -> Moments:
    """Of the exponential average, debiased: weights ``d^(t - i)``, i = 1..t.

    With their sum N, and ``m = (d^t - r^t) / (d - r)``, ``c = r m / N`` and
    ``q = ((1 + d r) (1 - d^2t) / (1 - d^2) - 2 r d^t m) / ((1 - d r) N^2)``. For large
    t, ``q -> (1 - d) (1 + d r) / ((1 + d) (1 - d r))``.

    Args:
        ratio: r.
        t: Updates done.
        decay: d, in (0, 1).

    Returns:
        c and q.

    Examples:
        >>> print(ema(np.array(0.3), 1, 0.9))  # x_1 itself
        (np.float64(0.3), np.float64(1.0))
    """
    whole = (1 - decay**t) / (1 - decay)
    mixed = _mixed(decay, ratio, t)
    squares = (1 - decay ** (2 * t)) / (1 - decay**2)
    both = decay * ratio
    q = ((1 + both) * squares - 2 * ratio * decay**t * mixed) / (1 - both)
    return ratio * mixed / whole, q / whole**2


def undebiased(ratio: np.ndarray, t: int, decay: float) -> Moments:
    """Of the exponential average that counts the start with weight ``d^t``.

    Args:
        ratio: r.
        t: Updates done.
        decay: d, in (0, 1).

    Returns:
        c and q.
    """
    c, q = ema(ratio, t, decay)
    first, rest = decay**t, 1 - decay**t
    return first + rest * c, first**2 + 2 * first * rest * c + rest**2 * q


def _mixed(decay, ratio, t):
    """The sum of ``d^k r^(t - 1 - k)``, k = 0..t-1."""
    gap = decay - ratio
    near = np.abs(gap) < 1e-6
    sure = np.where(near, 1.0, gap)
    return np.where(near, t * ratio ** (t - 1.0), (decay**t - ratio**t) / sure)
