"""What the arguments of a formula must be, as far as that shows while tracing."""

import math
from numbers import Real
from typing import Any

import jax.numpy as jnp

_DOMAINS = {
    "(0, inf)": lambda x: 0 < x < math.inf,
    "(0, inf]": lambda x: x > 0,
    "(-inf, inf)": math.isfinite,
    "[0, inf)": lambda x: 0 <= x < math.inf,
    "the integers >= 0": lambda x: 0 <= x < math.inf and x == int(x),
    "the integers >= 1": lambda x: 1 <= x < math.inf and x == int(x),
}


def outside(domain: str, **values: Any) -> str:
    """What to say of an argument that is no real number of ``domain``.

    Numbers of Python and NumPy are compared with the domain. Arrays may be traced:
    of these the shape, which must be ``()``, and the dtype are looked at.

    Args:
        domain: Such as ``"[0, inf)"``.
        **values: Arguments by name.

    Returns:
        A message on the first that is wrong; empty where none is.

    Examples:
        >>> outside("(0, inf)", gamma=0.5, ridge=0)
        'ridge must be in (0, inf), got 0'
        >>> outside("(0, inf)", gamma=jnp.ones(3))
        'gamma must be a real number or array of shape (), got float32 (3,)'
    """
    for name, value in values.items():
        if isinstance(value, Real):
            if not _DOMAINS[domain](value):
                return f"{name} must be in {domain}, got {value}"
        elif message := not_real((), **{name: value}):
            return message
    return ""


def not_real(shape: tuple[int | None, ...], **values: Any) -> str:
    """What to say of an argument that is no real array of the expected shape.

    Args:
        shape: What is expected; None stands for any length.
        **values: Arguments by name.

    Returns:
        A message on the first that is wrong; empty where none is.

    Examples:
        >>> not_real((None,), eigenvalues=jnp.ones((2, 2)))
        'eigenvalues must be a real array of shape (any,), got float32 (2, 2)'
    """
    kind = "array" if shape else "number or array"
    lengths = ["any" if length is None else str(length) for length in shape]
    wanted = f"({', '.join(lengths)}{',' * (len(shape) == 1)})"
    for name, value in values.items():
        got, dtype = jnp.shape(value), jnp.result_type(value)
        fits = len(got) == len(shape) and all(
            length in {None, size} for length, size in zip(shape, got, strict=True)
        )
        if not fits or jnp.issubdtype(dtype, jnp.complexfloating):
            return f"{name} must be a real {kind} of shape {wanted}, got {dtype} {got}"
    return ""
