"""What a training curve shows: descent, rise, plateaus, oscillation and noise.

All is in NumPy on the host, and unchanged if the curve is shifted or scaled.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

BLOCKS = 10
"""The blocks a curve is cut into; levels are their medians, so spikes do not count."""

SHORTEST = 5 * BLOCKS
"""The fewest records: five a block."""

STANDS_OUT = 5.0
"""A difference of levels over the noise of one. By chance the last of ten lies five
above the lowest in one case out of 600; but the noise is known from few numbers."""


@dataclass(frozen=True)
class CurveShape:
    """A training curve in numbers without units.

    Levels are medians of ten equal blocks, and everything is divided by the descent:
    the first record or the first level, whichever is higher, less the lowest level. If
    that does not stand out, noise and amplitude are infinite, or 0 if there is none.
    """

    first_bad: int  # the first record that is not finite; -1: none
    descends: bool  # whether the descent stands out of the noise
    rises: bool  # whether the end stands out of the noise above the lowest level
    leaps: bool  # whether it stands out of the noise of records above the first one
    rise: float  # last level - lowest level; 0: it ends at its best
    thirds: tuple[float, float, float]  # shares of the descent to the last level
    plateau: float  # the longest stretch without descent before more of it, of the run
    noise: float  # standard deviation about the trend, in the second half
    alternation: float  # r(P) as in `curve_shape`, at the likeliest period
    period: int  # records of an oscillation in the second half; 0: none
    amplitude: float  # standard deviation about a line, in the second half


def curve_shape(values: Any) -> CurveShape:
    """Take a training curve apart.

    *Noise or oscillation?* Let s_t be the sign of the increment in the second half,
    less its median, and r(k) the mean of ``s_t s_{t+k}``. Independent noise has
    r(1) = -1/3 and r(k) = 0 beyond, correlated noise is nearer to 0, and a trend has
    r(k) > 0. An oscillation of period P has r(P) near 1, and r(k) between -1/3 (P = 3)
    and -1 near half of it. It counts as one if r(P) is over ``1/2 + 3 / (2 sqrt(m))``,
    with m increments, for some P in 2..m / 3, and r(k) under -1/4 for some k below P.

    *Does it stand out?* A difference of levels does if it is over five standard
    deviations of a level. That is taken from the second differences of levels, or from
    the records about the trend, whichever is more: the noise of training may be
    correlated. Rounding, 16 eps of the largest value in its dtype, is no signal.

    Args:
        values: ``(T,)`` a loss, one number a record at equal distances, T ``>= 50``.

    Returns:
        The shape. If a value is not finite, all but ``first_bad`` is NaN, False or 0.

    Raises:
        ValueError: If ``values`` is not a real vector of 50 or more.

    Examples:
        >>> shape = curve_shape(np.exp(-np.arange(100) / 10))
        >>> shape.descends, shape.rises, shape.period
        (True, False, 0)
    """
    if message := not_a_curve(values=values):
        raise ValueError(message)
    rounding = _rounding(values)
    curve = np.asarray(values, np.float64)
    bad = np.flatnonzero(~np.isfinite(curve))
    if len(bad):
        nan = math.nan
        return CurveShape(
            int(bad[0]),
            False,
            False,
            False,
            nan,
            (nan, nan, nan),
            nan,
            nan,
            nan,
            0,
            nan,
        )
    # In the middle of the range, first: differences of huge numbers may overflow.
    size = np.max(np.abs(curve))
    curve = curve / size if size > 0 else curve
    blocks = np.array_split(curve, BLOCKS)
    levels = np.array([np.median(block) for block in blocks])
    scatter = np.array([_about_a_line(block) for block in blocks])
    # The median of a standard deviation is less than its root mean square.
    scatter = scatter / (1 - 2 / (9 * (len(curve) // BLOCKS - 2))) ** 1.5
    noise, late_noise = np.median(scatter), np.median(scatter[BLOCKS // 2 :])
    of_a_level = 1.2533 * noise / np.sqrt(len(curve) // BLOCKS)
    of_levels = _noise_of_levels(levels, max(of_a_level, rounding))
    lowest, last = levels.min(), max(levels[-1], np.median(curve[-3:]))
    first = max(curve[0], levels[0])
    descent = first - lowest
    far = STANDS_OUT * of_levels
    descends = levels[0] - lowest > far or descent > STANDS_OUT * max(noise, of_levels)
    half = curve[len(curve) // 2 :]
    alternation, period = _oscillation(half, rounding)

    def relative(deviation):
        if descends:
            return float(deviation / descent)
        return math.inf if deviation > rounding else 0.0

    return CurveShape(
        first_bad=-1,
        descends=bool(descends),
        rises=bool(last - lowest > far),
        leaps=bool(last - curve[0] > STANDS_OUT * max(noise, of_levels)),
        rise=float((last - lowest) / descent) if descent > 0 else math.inf,
        thirds=_thirds(first, levels),
        plateau=_plateau(levels, descent, of_a_level) if descends else 0.0,
        noise=relative(late_noise),
        alternation=alternation,
        period=period,
        amplitude=relative(_about_a_line(half)),
    )


def not_a_curve(**curves: Any) -> str:
    """What to say of curves that are too short to have a shape, or none.

    Args:
        **curves: Curves by name.

    Returns:
        A message on the first that is wrong; empty where none is.
    """
    for name, values in curves.items():
        values = np.asarray(values)
        long = values.ndim == 1 and len(values) >= SHORTEST
        if not long or values.dtype.kind not in "fiub":
            return (
                f"{name} must be a real vector of {SHORTEST} records or more, got "
                f"{values.dtype} {values.shape}"
            )
    return ""


def _rounding(values):
    """What is no signal, over the largest value."""
    dtype = np.asarray(values).dtype
    return 16 * float(np.finfo(dtype if dtype.kind == "f" else np.float64).eps)


def _about_a_line(values):
    """Standard deviation of the residuals of a straight line."""
    t = np.linspace(-1, 1, len(values))
    centred = values - values.mean()
    slope = centred @ t / (t @ t)
    degrees = max(len(values) - 2, 1)
    return np.sqrt(np.sum((centred - slope * t) ** 2) / degrees)


def _noise_of_levels(levels, at_least):
    """Standard deviation of a median, from second differences of them.

    These see noise that is correlated within blocks too, and hardly any trend.
    """
    bends = np.median(np.abs(np.diff(levels, 2))) * 1.4826 / np.sqrt(6)
    return max(bends, at_least)


def _thirds(first, levels):
    """Shares of the descent from the first record to the last level."""
    marks = np.array([first, levels[3], levels[6], levels[-1]])
    total = first - levels[-1]
    shares = -np.diff(marks) / total if total > 0 else np.full(3, np.nan)
    return float(shares[0]), float(shares[1]), float(shares[2])


def _plateau(levels, descent, noise):
    """The longest run of equal levels after which a third of the descent follows."""
    same = 0.03 * descent + 3 * noise
    longest = 0
    for start in range(BLOCKS):
        for end in range(start + 1, BLOCKS):
            stretch = levels[start : end + 1]
            flat = np.ptp(stretch) <= same
            more = stretch.min() - levels[end:].min() >= descent / 3
            if flat and more:
                longest = max(longest, end - start + 1)
    return longest / BLOCKS


def _oscillation(values, rounding):
    """The correlation of signs at the likeliest period, and that period."""
    increments = np.diff(values)
    increments = increments - np.median(increments)
    signs = np.sign(np.where(np.abs(increments) > rounding, increments, 0))
    m = len(signs)
    r = np.array([1.0] + [np.mean(signs[k:] * signs[:-k]) for k in range(1, m // 3)])
    dips = np.minimum.accumulate(r)
    strength = np.where(dips[1:-1] < -0.25, r[2:], -1.0)
    best = int(np.argmax(strength))
    found = strength[best] > 0.5 + 1.5 / np.sqrt(m)
    return float(r[best + 2]), best + 2 if found else 0
