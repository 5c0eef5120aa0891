"""What a study claims, what it measured, and whether the claim holds."""

import math
from dataclasses import asdict, dataclass, field
from statistics import NormalDist
from typing import Any, SupportsFloat

KINDS = ("theorem", "closed form", "published figure", "observation")
"""Where an expected value can come from."""

Interval = tuple[float | None, float | None]
"""From low to high, both included; None where an end is open."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One claim of a study and the number that decides it.

    The verdict ``holds`` is computed, never given. With an expected number it is
    ``|measured - expected| <= tolerance``; with an expected interval it is
    ``low <= measured <= high``, and there is no tolerance. A number that is not
    finite never holds. `close`, `relative`, `at_least`, `at_most` and `between`
    make the usual ones; they take numbers of any library, and kind, source, unit and
    note as labels.

    Args:
        claim: One sentence.
        kind: Where the expected value comes from; one of `KINDS`.
        source: Paper and place, or the formula; an address in it becomes a link.
        expected: Number, or interval ``(low, high)`` with None for an open end.
        measured: Number to compare with it, in the same unit.
        tolerance: Largest difference allowed, ``>= 0``, in the same unit; None with
            an interval.
        unit: Unit of all three, if they have one.
        note: What a reader should know besides.

    Raises:
        ValueError: If the kind is none of the four, the claim or the source is
            empty, a number is not one, the tolerance is missing or negative or given
            with an interval, or the interval is open at both ends or its ends are
            swapped.

    Examples:
        >>> peak = Finding(
        ...     claim="the peak is at 20 features", kind="theorem", source="by hand",
        ...     expected=20, measured=21, tolerance=2,
        ... )
        >>> peak.holds
        True
    """

    claim: str
    kind: str
    source: str
    expected: float | Interval
    measured: float
    tolerance: float | None = None
    unit: str = ""
    holds: bool = field(init=False)
    note: str = ""

    def __post_init__(self) -> None:
        """Check the arguments and compute the verdict.

        Raises:
            ValueError: If an argument is not as described.
        """
        if self.kind not in KINDS:
            raise ValueError(f"kind must be one of {KINDS}, got {self.kind!r}")
        for name in ("claim", "source"):
            if not getattr(self, name).strip():
                raise ValueError(f"{name} must not be empty")
        expected, measured = self.expected, _plain("measured", self.measured)
        if isinstance(expected, tuple):
            expected = _interval(expected, self.tolerance)
            tolerance = None
        else:
            expected = _plain("expected", expected)
            tolerance = _plain("tolerance", self.tolerance)
            if tolerance < 0:
                raise ValueError(f"tolerance must be >= 0, got {tolerance}")
        values = {
            "expected": expected,
            "measured": measured,
            "tolerance": tolerance,
            "holds": _holds(measured, expected, tolerance),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def to_json(self) -> dict[str, Any]:
        """The fields as strict JSON knows them.

        Returns:
            Field to value. A number that is not finite becomes None, and the note
            says what it was.
        """
        fields = asdict(self)
        notes = [self.note] if self.note else []
        for name in ("expected", "measured", "tolerance"):
            value = fields[name]
            for x in value if isinstance(value, tuple) else (value,):
                if x is not None and not math.isfinite(x):
                    notes.append(f"{name} is {x}, written as null")
            fields[name] = (
                [_finite(x) for x in value]
                if isinstance(value, tuple)
                else _finite(value)
            )
        return fields | {"note": "; ".join(notes)}


def close(
    claim: str,
    *,
    measured: SupportsFloat,
    expected: SupportsFloat,
    tolerance: SupportsFloat,
    **labels: str,
) -> Finding:
    """Claim ``|measured - expected| <= tolerance``; arguments as in `Finding`.

    Examples:
        >>> close(
        ...     "the slope is -1/2", measured=-0.48, expected=-0.5, tolerance=0.05,
        ...     kind="theorem", source="central limit theorem",
        ... ).holds
        True
    """
    return Finding(
        claim=claim,
        measured=_plain("measured", measured),
        expected=_plain("expected", expected),
        tolerance=_plain("tolerance", tolerance),
        **labels,
    )


def relative(
    claim: str,
    *,
    measured: SupportsFloat,
    expected: SupportsFloat,
    tolerance: SupportsFloat,
    **labels: str,
) -> Finding:
    """Claim ``|measured - expected| <= tolerance |expected|``.

    The finding keeps the absolute tolerance, ``tolerance |expected|``; the other
    arguments are as in `Finding`.

    Examples:
        >>> relative(
        ...     "the risk is 4", measured=4.1, expected=4.0, tolerance=0.05,
        ...     kind="closed form", source="by hand",
        ... ).tolerance
        0.2
    """
    margin = _plain("tolerance", tolerance) * abs(_plain("expected", expected))
    return close(
        claim, measured=measured, expected=expected, tolerance=margin, **labels
    )


def between(
    claim: str,
    *,
    measured: SupportsFloat,
    low: SupportsFloat | None,
    high: SupportsFloat | None,
    **labels: str,
) -> Finding:
    """Claim ``low <= measured <= high``; other arguments as in `Finding`.

    Examples:
        >>> between(
        ...     "the fit is neither perfect nor useless", measured=0.3, low=0.1,
        ...     high=0.9, kind="observation", source="this study",
        ... ).expected
        (0.1, 0.9)
    """
    return Finding(
        claim=claim,
        measured=_plain("measured", measured),
        expected=(_end(low), _end(high)),
        tolerance=None,
        **labels,
    )


def at_least(
    claim: str, *, measured: SupportsFloat, low: SupportsFloat, **labels: str
) -> Finding:
    """Claim ``measured >= low``; other arguments as in `Finding`.

    Examples:
        >>> at_least(
        ...     "the peak doubles the error", measured=1.9, low=2,
        ...     kind="observation", source="this study",
        ... ).holds
        False
    """
    return between(claim, measured=measured, low=low, high=None, **labels)


def at_most(
    claim: str, *, measured: SupportsFloat, high: SupportsFloat, **labels: str
) -> Finding:
    """Claim ``measured <= high``; other arguments as in `Finding`.

    Examples:
        >>> at_most(
        ...     "the norm is conserved", measured=3e-9, high=1e-6,
        ...     kind="theorem", source="by hand",
        ... ).expected
        (None, 1e-06)
    """
    return between(claim, measured=measured, low=None, high=high, **labels)


def largest_z(numbers: int, risk: float = 1e-3) -> float:
    """What the largest of so many absolute standard normal numbers rarely exceeds.

    By the union bound, with probability ``risk`` at most.

    Examples:
        >>> print(f"{largest_z(1):.3f} {largest_z(100):.3f}")
        3.291 4.417
    """
    return NormalDist().inv_cdf(1 - risk / 2 / numbers)


def expected_text(finding: Finding) -> str:
    """The expected value as a reader wants it, with tolerance and unit.

    Examples:
        >>> expected_text(at_least(
        ...     "it grows", measured=3, low=2.5, kind="theorem", source="by hand"
        ... ))
        '≥ 2.5'
    """
    if isinstance(finding.expected, tuple):
        low, high = finding.expected
        if high is None:
            text = f"≥ {_digits(low, 6)}"
        elif low is None:
            text = f"≤ {_digits(high, 6)}"
        else:
            text = f"{_digits(low, 6)} to {_digits(high, 6)}"
    else:
        digits = _digits_for(finding.expected, finding.tolerance)
        text = _digits(finding.expected, digits)
        if finding.tolerance:
            text += f" ± {_digits(finding.tolerance, 2)}"
    return f"{text} {finding.unit}".rstrip()


def measured_text(finding: Finding) -> str:
    """The measured value, with digits enough to see the verdict, and the unit.

    Examples:
        >>> measured_text(at_least(
        ...     "it is 1", measured=0.9999972, low=1, kind="theorem", source="by hand"
        ... ))
        '0.999997'
    """
    digits = _digits_for(finding.measured, finding.tolerance)
    text = _digits(finding.measured, digits)
    while digits < 17 and finding.holds != _holds(
        float(text), finding.expected, finding.tolerance
    ):
        digits += 1
        text = _digits(finding.measured, digits)
    return f"{text} {finding.unit}".rstrip()


def _holds(
    measured: float, expected: float | Interval, tolerance: float | None
) -> bool:
    """The rule of `Finding`."""
    if isinstance(expected, tuple):
        low = -math.inf if expected[0] is None else expected[0]
        high = math.inf if expected[1] is None else expected[1]
        ends = (x for x in expected if x is not None)
        return all(map(math.isfinite, (measured, *ends))) and low <= measured <= high
    if tolerance is None or not all(
        map(math.isfinite, (measured, expected, tolerance))
    ):
        return False
    return abs(measured - expected) <= tolerance


def _interval(ends: Interval, tolerance: float | None) -> Interval:
    # The ends as Python numbers.
    if len(ends) != 2 or all(end is None for end in ends):
        raise ValueError(f"an interval needs two ends, not both None, got {ends}")
    if tolerance is not None:
        raise ValueError(
            f"an expected interval takes no tolerance, got {ends} and {tolerance}"
        )
    low, high = map(_end, ends)
    if low is not None and high is not None and low > high:
        raise ValueError(f"the interval's low end is above its high end: {ends}")
    return low, high


def _end(value: Any) -> float | None:
    return None if value is None else _plain("expected", value)


def _plain(name: str, value: Any) -> float:
    # A Python int or float from a number of any library.
    if hasattr(value, "item") and getattr(value, "size", None) == 1:
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{name} must be a number, got {value!r}")
    return value


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else value


def _digits_for(value: float, tolerance: float | None) -> int:
    """Significant digits, at least four, that reach the tolerance's second digit."""
    if not tolerance or not value or not math.isfinite(tolerance * value):
        return 4
    orders = math.floor(math.log10(abs(value))) - math.floor(math.log10(tolerance))
    return min(max(4, orders + 2), 12)


def _digits(value: float | None, digits: int) -> str:
    """A number in so many significant digits; a not too long integer in full."""
    if isinstance(value, int) and abs(value) < 10**9:
        return str(value)
    return f"{value:.{digits}g}"
