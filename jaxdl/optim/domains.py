"""The domains of hyperparameters, for those given as Python numbers."""

import math
from typing import Any

_DOMAINS = {
    "[0, 1)": lambda x: 0 <= x < 1,
    "[0, 1]": lambda x: 0 <= x <= 1,
    "[0, inf)": lambda x: 0 <= x < math.inf,
    "[0, inf]": lambda x: x >= 0,
    "(0, inf)": lambda x: 0 < x < math.inf,
    "(0, inf]": lambda x: x > 0,
    "[1, inf)": lambda x: 1 <= x < math.inf,
    "(-inf, inf)": math.isfinite,
}


def outside(domain: str, **values: Any) -> str:
    """What to say of a hyperparameter that is outside its domain.

    Only Python numbers are looked at: arrays may be traced, and schedules give
    arrays.

    Args:
        domain: Such as ``"[0, 1)"``.
        **values: Hyperparameters by name.

    Returns:
        A message on the first that is outside; empty where none is.

    Examples:
        >>> outside("[0, 1)", b1=0.9, b2=1.0)
        'b2 must be in [0, 1), got 1.0'
        >>> outside("[0, 1)", b1=0.9, b2=0.99)
        ''
    """
    for name, value in values.items():
        if isinstance(value, float | int) and not _DOMAINS[domain](value):
            return f"{name} must be in {domain}, got {value}"
    return ""


def not_a_count(smallest: int, **values: Any) -> str:
    """What to say of a number of steps that is not an integer or too small.

    Args:
        smallest: The smallest that is allowed.
        **values: Counts by name. Python numbers are looked at, arrays are not.

    Returns:
        A message on the first that is wrong; empty where none is.

    Examples:
        >>> not_a_count(1, every=0.5)
        'every must be an integer >= 1, got 0.5'
    """
    for name, value in values.items():
        wrong = isinstance(value, float) or value < smallest
        if isinstance(value, float | int) and wrong:
            return f"{name} must be an integer >= {smallest}, got {value}"
    return ""
