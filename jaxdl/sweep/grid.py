"""Which points a sweep has: axes, their products and zips, as data.

Nothing here holds a point: a point is a number, and its values are looked up.
"""

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

MOST_POINTS = 2**32  # numbers are folded into keys as uint32
RESERVED = ("key", "point")  # the argument of a point, and the column of its number


@dataclass(frozen=True, eq=False)
class Axis:
    """One quantity that changes: values by `values`, shapes by `shapes`."""

    name: str
    levels: Any  # an array (m, ...) of values, or a tuple of distinct shapes
    codes: np.ndarray | None  # (m,) int: which shape; None for values

    @property
    def is_shape(self) -> bool:
        """Whether each of its levels needs a program of its own."""
        return self.codes is not None

    def __len__(self) -> int:
        """How many places it has."""
        return len(self.levels) if self.codes is None else len(self.codes)


@dataclass(frozen=True, eq=False)
class Sweep:
    """Axes or sweeps, joined by `product` or `zipped`."""

    how: str
    parts: tuple["Axis | Sweep", ...]

    def __len__(self) -> int:
        """How many points it has."""
        sizes = [len(part) for part in self.parts]
        return math.prod(sizes) if self.how == "product" else sizes[0]


Points = Axis | Sweep
"""What a sweep is made of; an axis alone is a sweep, too."""


def values(name: str, of: Any) -> Axis:
    """An axis of values: numbers or arrays that a compiled program takes.

    Args:
        name: The argument of the point that it becomes.
        of: ``(m, ...)`` numbers, one entry a place. They reach the point in JAX's
            dtypes: float32 for float64 unless 64 bits are enabled.

    Returns:
        An axis of ``m`` places.

    Raises:
        ValueError: If the name cannot be one, or the values are no numbers, none, or
            integers that JAX's dtype does not hold.

    Examples:
        >>> len(values("learning_rate", [0.1, 0.2, 0.4]))
        3
    """
    _check_name(name)
    array = np.asarray(list(of) if isinstance(of, range) else of)
    if array.dtype.kind not in "biufc" or array.ndim == 0 or not len(array):
        raise ValueError(
            f"axis {name} must have numbers along its first axis, got {array.dtype} "
            f"of shape {array.shape}; use shapes for what is not a number"
        )
    dtype = jax.dtypes.canonicalize_dtype(array.dtype)
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        if array.min() < limits.min or array.max() > limits.max:
            raise ValueError(
                f"axis {name} must have integers that {dtype} holds, got "
                f"{array.min()} to {array.max()}"
            )
    return Axis(name, array.astype(dtype), None)


def shapes(name: str, of: Iterable[Any]) -> Axis:
    """An axis of shapes: Python values, with one compiled program for each.

    Args:
        name: The argument of the point that it becomes, as the Python value it is.
        of: Numbers, texts, None, or tuples of them.

    Returns:
        An axis with a place for each of them.

    Raises:
        ValueError: If the name cannot be one, or there is no value, or one of
            another type.

    Examples:
        >>> len(shapes("width", [16, 64]))
        2
    """
    _check_name(name)
    of = [x.item() if isinstance(x, np.generic) else x for x in of]
    for level in of:
        if not _is_plain(level):
            raise ValueError(
                f"axis {name} must have numbers, texts, None or tuples of them, got "
                f"{level!r}"
            )
    if not of:
        raise ValueError(f"axis {name} must have at least one value, got none")
    keys = [repr(level) for level in of]  # 1, 1.0 and True are different
    distinct = {key: level for key, level in zip(keys, of, strict=True)}
    number = {key: i for i, key in enumerate(distinct)}
    codes = np.array([number[key] for key in keys])
    return Axis(name, tuple(distinct.values()), codes)


def masked(name: str, sizes: Sequence[int], padded: str) -> Sweep:
    """An axis of sizes that share programs: each is padded to a power of two.

    Args:
        name: The argument that gets the size, a traced integer: what to mask to.
        sizes: Positive integers.
        padded: The argument that gets the smallest power of two that is not below
            the size, a Python integer: what to allocate.

    Returns:
        A zip of the two axes.

    Raises:
        ValueError: If a size is no positive integer.

    Examples:
        >>> columns(masked("n", [3, 4, 5], "n_padded"), np.arange(3))["n_padded"]
        array([4, 4, 8])
    """
    for size in sizes:
        whole = isinstance(size, int | np.integer) and not isinstance(size, bool)
        if not whole or size < 1:
            raise ValueError(f"axis {name} must have positive integers, got {size!r}")
    powers = [1 << (int(size) - 1).bit_length() for size in sizes]
    return zipped(values(name, sizes), shapes(padded, powers))


def product(*parts: Points) -> Sweep:
    """All combinations; the last part changes fastest.

    Args:
        *parts: Axes or sweeps, of different names.

    Returns:
        A sweep of as many points as the product of their lengths.

    Raises:
        ValueError: If there is no part, or two have a name in common, or the points
            are ``2**32`` or more.

    Examples:
        >>> grid = product(values("a", [1, 2]), values("b", [3, 4, 5]))
        >>> columns(grid, np.arange(6))["b"]
        array([3, 4, 5, 3, 4, 5], dtype=int32)
    """
    _check_parts(parts)
    total = math.prod(len(part) for part in parts)
    if total >= MOST_POINTS:
        raise ValueError(f"a sweep must have fewer than 2**32 points, got {total}")
    return Sweep("product", parts)


def zipped(*parts: Points) -> Sweep:
    """Parts that change together.

    Args:
        *parts: Axes or sweeps of one length, of different names.

    Returns:
        A sweep of that length.

    Raises:
        ValueError: If there is no part, or two have a name in common, or their
            lengths differ.
    """
    _check_parts(parts)
    sizes = {"/".join(axes_of(part)): len(part) for part in parts}
    if len(set(sizes.values())) > 1:
        raise ValueError(f"zipped parts must have one length, got {sizes}")
    return Sweep("zip", parts)


def axes_of(points: Points) -> dict[str, Axis]:
    """All axes by name, in order.

    Args:
        points: A sweep.

    Returns:
        Them.
    """
    if isinstance(points, Axis):
        return {points.name: points}
    return {name: axis for part in points.parts for name, axis in axes_of(part).items()}


def places(points: Points, numbers: np.ndarray) -> dict[str, np.ndarray]:
    """Where on each axis some points are.

    Args:
        points: A sweep.
        numbers: ``(n,)`` numbers of points.

    Returns:
        For each axis ``(n,)`` places; for shapes, which of the distinct ones.
    """
    if isinstance(points, Axis):
        codes = points.codes
        return {points.name: numbers if codes is None else codes[numbers]}
    found: dict[str, np.ndarray] = {}
    for part in reversed(points.parts):
        if points.how == "product":
            numbers, here = np.divmod(numbers, len(part))
        else:
            here = numbers
        found = places(part, here) | found
    return found


def columns(points: Points, numbers: np.ndarray) -> dict[str, np.ndarray]:
    """The values of some points.

    Args:
        points: A sweep.
        numbers: ``(n,)`` numbers of points, from 0.

    Returns:
        For each axis an array with ``n`` entries, in their order. Shapes of mixed
        types come as objects.
    """
    axes = axes_of(points)
    return {
        name: _level_array(axes[name])[where]
        for name, where in places(points, numbers).items()
    }


def to_plain(points: Points) -> tuple[Any, dict[str, np.ndarray]]:
    """What JSON and NumPy can keep.

    Args:
        points: A sweep.

    Returns:
        A description, and the values of the axes by name.
    """
    return _plain(points), {
        name: axis.codes if axis.codes is not None else axis.levels
        for name, axis in axes_of(points).items()
    }


def from_plain(plain: Any, arrays: Mapping[str, np.ndarray]) -> Points:
    """The sweep that `to_plain` took apart.

    Args:
        plain: The description.
        arrays: The values of the axes.

    Returns:
        The sweep.
    """
    if "axis" in plain:
        name = plain["axis"]
        if "shapes" in plain:
            return Axis(name, _frozen(plain["shapes"]), arrays[name])
        return Axis(name, arrays[name], None)
    parts = tuple(from_plain(part, arrays) for part in plain["parts"])
    return Sweep(plain["how"], parts)


def describe(points: Points) -> dict[str, Any]:
    """By what two sweeps are compared.

    Args:
        points: A sweep.

    Returns:
        Their layout in words, and a short text for each axis.
    """
    said: dict[str, Any] = {"axes": _layout(points)}
    for name, axis in axes_of(points).items():
        if axis.codes is None:
            kind = f"{axis.levels.dtype} values of shape {axis.levels.shape}"
            said[name] = f"{kind}, digest {_digest(axis.levels)}"
        else:
            code = _digest(axis.codes.astype(np.int32))
            said[name] = f"shapes {list(axis.levels)}, digest {code}"
    return said


def _plain(points):
    """The description in `to_plain`."""
    if isinstance(points, Sweep):
        return {"how": points.how, "parts": [_plain(part) for part in points.parts]}
    if points.is_shape:
        return {"axis": points.name, "shapes": list(points.levels)}
    return {"axis": points.name}


def _layout(points):
    """How axes are joined, in words."""
    if isinstance(points, Axis):
        return points.name
    return f"{points.how}({', '.join(_layout(part) for part in points.parts)})"


def _level_array(axis):
    """The levels of an axis as one array."""
    if axis.codes is None:
        return axis.levels
    if len({type(level) for level in axis.levels}) == 1:
        array = np.array(axis.levels)
        if array.ndim == 1:
            return array
    array = np.empty(len(axis.levels), object)
    array[:] = axis.levels
    return array


def _digest(array):
    """A short text that differs for arrays that differ in any bit."""
    return hashlib.blake2b(np.ascontiguousarray(array), digest_size=8).hexdigest()


def _is_plain(level):
    """Whether a shape can be kept and compared."""
    if isinstance(level, tuple):
        return all(_is_plain(entry) for entry in level)
    return level is None or isinstance(level, bool | int | float | str)


def _frozen(level):
    """Tuples where JSON has lists."""
    return tuple(map(_frozen, level)) if isinstance(level, list) else level


def _check_name(name):
    """Refuse what is no argument.

    Raises:
        ValueError: If the name cannot be one.
    """
    if not isinstance(name, str) or not name.isidentifier() or name in RESERVED:
        raise ValueError(
            f"name must be that of an argument, and none of {RESERVED}, got {name!r}"
        )


def _check_parts(parts):
    """Refuse what cannot be joined.

    Raises:
        ValueError: If there is nothing, or something else, or a name twice.
    """
    if not parts or not all(isinstance(part, Axis | Sweep) for part in parts):
        raise ValueError(f"parts must be one or more axes or sweeps, got {parts}")
    names = [name for part in parts for name in axes_of(part)]
    if len(set(names)) != len(names):
        raise ValueError(f"axes must have different names, got {names}")
