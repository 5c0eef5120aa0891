"""A user's own data: one ``.npz`` file with four arrays."""

import difflib
import os
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jaxdl.data.dataset import Dataset

_KEYS = ("x_train", "y_train", "x_test", "y_test")
_DAMAGE = (  # what reading a damaged, or a locked, archive raises
    EOFError,
    OSError,
    RuntimeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)


def load_npz(path: str | os.PathLike[str]) -> Dataset:
    """Load a classification set of your own, checked on the way in.

    Write the file with::

        np.savez("mine.npz", x_train=x1, y_train=y1, x_test=x2, y_test=y2)

    Nothing is rescaled: images of bytes come out as 0..255 (see `standardize_fit`).
    Other arrays in the file are ignored. Pickled objects are never unpickled, so a
    file from a stranger cannot run code.

    Args:
        path: A ``.npz`` file. Inputs are ``(n, ...)``, at least two axes, booleans,
            integers or floats, finite. Labels are ``(n,)``, integers or booleans, of
            any values; at least two of them occur in training, and all test labels
            occur in training.

    Returns:
        Inputs in float64 and labels in int64, numbered 0..k-1 in the sorted order of
        the training labels; ``classes[number]`` is the label in the file.

    Raises:
        ValueError: If the file is missing, damaged or no ``.npz``, lacks one of the
            arrays, or an array is not as described; the message names file and array,
            what was expected and what came, and a remedy.

    Examples:
        >>> import tempfile
        >>> x, y = np.eye(4, dtype=np.uint8), np.array([7, 3, 7, 3])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.savez(f"{folder}/a.npz", x_train=x, y_train=y, x_test=x, y_test=y)
        ...     data = load_npz(f"{folder}/a.npz")
        >>> data.y_train.tolist(), data.classes.tolist()
        ([1, 0, 1, 0], [3, 7])
    """
    path = Path(path)
    arrays = _read(path)
    x_train, y_train, x_test, y_test = (arrays[key] for key in _KEYS)
    x_train = _checked_inputs(f"{path}: x_train", x_train)
    x_test = _checked_inputs(f"{path}: x_test", x_test)
    _check_labels(f"{path}: y_train", y_train)
    _check_labels(f"{path}: y_test", y_test)
    for part, x, y in (("train", x_train, y_train), ("test", x_test, y_test)):
        if len(x) != len(y):
            raise ValueError(
                f"{path}: expected as many labels as inputs, got {len(x)} rows in "
                f"x_{part} and {len(y)} in y_{part}"
            )
    if x_train.shape[1:] != x_test.shape[1:]:
        raise ValueError(
            f"{path}: x_test must have the features of x_train, "
            f"{x_train.shape[1:]} a row, got {x_test.shape[1:]}"
        )
    classes, numbers = np.unique(y_train, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(
            f"{path}: y_train must hold at least two classes, got only {classes[0]}; "
            "were the rows sorted by class before they were cut in two?"
        )
    test_numbers = _numbers_of(f"{path}: y_test", y_test, classes)
    return Dataset(x_train, numbers.astype(np.int64), x_test, test_numbers, classes)


# The four arrays as they are in the file.
def _read(path: Path) -> Mapping[str, np.ndarray]:
    _check_is_npz(path)
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            missing = [key for key in _KEYS if key not in file.files]
            if missing:
                raise ValueError(_about_missing(path, missing, file.files))
            return {key: _read_array(path, file, key) for key in _KEYS}
    except (NotImplementedError, zipfile.BadZipFile) as error:
        raise ValueError(_about_damage(path, "the archive", repr(error))) from error


# One array of the open file; refused if it holds pickled objects.
def _read_array(path, file, key):
    try:
        array = file[key]
    except _DAMAGE as error:
        if "allow_pickle" in str(error):
            raise ValueError(
                f"{path}: {key} has dtype object: it is pickled, and unpickling could "
                "run any code; save it as a plain array of numbers (rows of different "
                "lengths must be padded to one length)"
            ) from error
        raise ValueError(_about_damage(path, key, repr(error))) from error
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{path}: {key} is not a NumPy array; save it with np.savez")
    return array


# Refuse what is not there, and what is not a zip archive.
def _check_is_npz(path):
    if not path.exists():
        longer = path.with_name(path.name + ".npz")
        hint = f"; there is {longer}, is it that?" if longer.exists() else ""
        raise ValueError(f"{path}: there is no such file{hint}")
    if not path.is_file():
        raise ValueError(f"{path}: expected an .npz file, got a folder")
    with path.open("rb") as file:
        start = file.read(6)
    if start[:4] in (b"PK\x03\x04", b"PK\x05\x06") and zipfile.is_zipfile(path):
        return
    if start.startswith(b"PK"):
        raise ValueError(_about_damage(path, "the archive", "no zip directory"))
    what = "a single array (.npy)" if start == b"\x93NUMPY" else "something else"
    raise ValueError(
        f"{path}: expected an .npz archive of arrays, got {what}; "
        "write it with np.savez(path, x_train=.., y_train=.., x_test=.., y_test=..)"
    )


def _about_damage(path, what, reason):
    return (
        f"{path}: {what} cannot be read ({reason}); the file is truncated, damaged or "
        "not written by NumPy: copy or write it again"
    )


def _about_missing(path, missing, present):
    """Which keys are missing, which are there, and which of these were meant."""
    others = {name.lower(): name for name in present if name not in _KEYS}
    hints = []
    for key in missing:
        alike = [name for name in others if key[0] in name]  # never y for x
        for name in difflib.get_close_matches(key, alike, n=1):
            hints.append(f"; rename {others[name]!r} to {key!r}?")
    return (
        f"{path}: expected the arrays {', '.join(_KEYS)}, missing "
        f"{', '.join(missing)}; there are {', '.join(present) or 'none'}"
        + "".join(hints)
    )


# Inputs in float64: `(n, ...)`, real and finite.
def _checked_inputs(where, x):
    if x.dtype.kind == "c":
        raise ValueError(
            f"{where} must be real, got dtype {x.dtype}; save real and imaginary part "
            "(or the absolute value) as features"
        )
    if x.dtype.kind not in "biuf":
        raise ValueError(
            f"{where} must hold numbers, got dtype {x.dtype}; convert with "
            ".astype(float), or encode what is not a number"
        )
    if x.ndim < 2:
        raise ValueError(
            f"{where} must have shape (n, features) or more axes, got {x.shape}; "
            "for one feature a row use .reshape(-1, 1)"
        )
    if not x.size:
        raise ValueError(f"{where} must not be empty, got shape {x.shape}")
    x = x.astype(np.float64)
    bad = ~np.isfinite(x)
    if bad.any():
        first = tuple(int(i) for i in np.argwhere(bad)[0])
        raise ValueError(
            f"{where} must be finite, got {bad.sum()} NaN or infinite of {x.size} "
            f"entries, the first at {first}; drop those rows or fill them in"
        )
    return x


# Refuse labels that are not `(n,)` integers or booleans.
def _check_labels(where, y):
    if y.ndim == 2 and y.shape[1] == 1:
        raise ValueError(
            f"{where} must have shape (n,), got {y.shape}; use .ravel() to drop the "
            "second axis"
        )
    if y.ndim != 1:
        hint = "; from one-hot rows use .argmax(axis=1)" if y.ndim == 2 else ""
        raise ValueError(f"{where} must have shape (n,), got {y.shape}{hint}")
    if y.dtype.kind == "f":
        raise ValueError(
            f"{where} must hold integer class labels, got dtype {y.dtype}; "
            "if these are classes, use .astype(int)"
        )
    if y.dtype.kind not in "biu":
        raise ValueError(
            f"{where} must hold integer class labels, got dtype {y.dtype}; number "
            "them, training and test labels alike, with np.unique(labels, "
            "return_inverse=True)"
        )
    if not y.size:
        raise ValueError(f"{where} must not be empty, got shape {y.shape}")


# The labels' places in `classes`, compared as Python numbers, so exactly.
def _numbers_of(where, y, classes):
    numbers = {label: i for i, label in enumerate(classes.tolist())}
    labels, rows = np.unique(y, return_inverse=True)
    unknown = [label for label in labels.tolist() if label not in numbers]
    if unknown:
        raise ValueError(
            f"{where} must hold labels that occur in y_train, got {unknown[:10]} as "
            f"well ({len(unknown)} in all); drop those rows or cut the set again"
        )
    return np.array([numbers[label] for label in labels.tolist()], np.int64)[rows]
