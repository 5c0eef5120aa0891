"""Configurations and results as files know them: JSON and named arrays."""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np


def arrays(result: Any) -> Iterator[tuple[str, np.ndarray]]:
    """All arrays, numbers and strings of a result, with dotted names.

    Goes into dataclasses, named tuples, mappings and sequences; a sequence of
    numbers, or of strings, is one array. None is left out.

    Args:
        result: Dataclass.

    Yields:
        Pairs of name and array.

    Raises:
        ValueError: If a leaf is nothing that ``numpy.savez`` can write.

    Examples:
        >>> dict(arrays({"n": 3, "sweep": {"risk": [0.5, 0.25]}}))
        {'n': array(3), 'sweep.risk': array([0.5 , 0.25])}
    """
    for name, value in _leaves("", result):
        leaf = np.asarray(value)
        if leaf.dtype.kind not in "biufcSU":
            raise ValueError(
                f"{name}: expected numbers or strings, got {type(value).__name__} of "
                f"dtype {leaf.dtype}"
            )
        yield name, leaf


def to_json(value: Any) -> Any:
    """A configuration's value as strict JSON.

    Args:
        value: Dataclass, mapping, sequence, string, path, number, array or None.

    Returns:
        Lists for tuples, and strings for numbers that are not finite.

    Raises:
        ValueError: If JSON has nothing for this type.

    Examples:
        >>> to_json({"widths": (1, 2), "clip": float("inf")})
        {'widths': [1, 2], 'clip': 'inf'}
    """
    value = _python(value)
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    parts = _parts(value)
    if parts is None:
        raise ValueError(f"JSON has nothing for {type(value).__name__}: {value!r}")
    return {str(name): to_json(item) for name, item in parts.items()}


def row(values: Mapping[str, Any]) -> dict[str, Any]:
    """A row of a table as strict JSON.

    Args:
        values: Column to value.

    Returns:
        As `to_json`, but null for a number that is not finite, so that a column
        stays a column of numbers.

    Examples:
        >>> row({"width": np.int64(4), "risk": float("nan")})
        {'width': 4, 'risk': None}
    """
    return {
        name: None if isinstance(x, float) and not math.isfinite(x) else to_json(x)
        for name, x in ((name, _python(value)) for name, value in values.items())
    }


def _leaves(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """All that is no container, with its dotted name."""
    if isinstance(value, list | tuple) and (
        all(isinstance(item, str) for item in value)
        or all(isinstance(item, int | float | complex | np.number) for item in value)
    ):
        parts = None
    else:
        parts = _parts(value)
    if parts is None:
        yield name, value
        return
    for key, part in parts.items():
        if part is not None:
            yield from _leaves(f"{name}.{key}" if name else str(key), part)


def _parts(value: Any) -> Mapping[Any, Any] | None:
    """What a container holds, by name; None for what is no container."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return value
    if isinstance(value, list | tuple):
        names = getattr(value, "_fields", range(len(value)))
        return dict(zip(names, value, strict=True))
    return None


def _python(value: Any) -> Any:
    """Python numbers and lists from an array or a scalar of NumPy or JAX."""
    return value.tolist() if hasattr(value, "tolist") else value
