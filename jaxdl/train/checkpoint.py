"""Keep a tree of arrays in a file, bit by bit, whole or not at all."""

import hashlib
import json
import os
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

File = str | os.PathLike[str]


def save_checkpoint(
    path: File, tree: Any, about: Mapping[str, Any] | None = None
) -> None:
    """Write a tree of arrays to one file.

    The file is a ``.npz`` archive of NumPy arrays and a description in JSON; no object
    is pickled. It is written beside ``path`` and then moved there, so that whoever
    reads finds the file before or the file after, also when the writer is killed.

    Args:
        path: Where to; what is there is replaced.
        tree: Any pytree of arrays, of any dtypes of JAX, and PRNG keys.
        about: What else to keep, as JSON can; `read_about` gives it back.
    """
    leaves = jax.tree.leaves(tree)
    text = json.dumps({
        "about": dict(about or {}),
        "leaves": _describe(tree),
        "keys": [str(jax.random.key_impl(x)) if _is_key(x) else "" for x in leaves],
    })
    arrays: dict[str, Any] = {
        f"leaf_{i}": _to_numpy(leaf) for i, leaf in enumerate(leaves)
    }
    path = Path(path)
    descriptor, name = tempfile.mkstemp(".tmp", f"{path.name}.", path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            np.savez(file, description=np.array(text), **arrays)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def load_checkpoint(path: File, like: Any) -> Any:
    """Read a tree that `save_checkpoint` wrote.

    Args:
        path: The file.
        like: A tree of the same structure, shapes and dtypes: arrays, or
            ``jax.ShapeDtypeStruct`` as ``jax.eval_shape`` gives them.

    Returns:
        The tree, equal to what was written bit by bit.

    Raises:
        ValueError: If the file is not there, or no checkpoint, or its tree is not as
            ``like``; the message names the first leaf that differs.

    Examples:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_checkpoint(f"{folder}/a.npz", {"w": jnp.arange(3.0)})
        ...     load_checkpoint(f"{folder}/a.npz", {"w": jnp.zeros(3)})
        {'w': Array([0., 1., 2.], dtype=float32)}
    """
    description, arrays = _read(path)
    found, expected = description["leaves"], _describe(like)
    for here, there in zip(found, expected, strict=False):
        if here != there:
            raise ValueError(f"{path}: expected {_say(there)}, got {_say(here)}")
    if len(found) != len(expected):
        more = max(found, expected, key=len)[min(len(found), len(expected))]
        raise ValueError(
            f"{path}: expected {len(expected)} arrays, got {len(found)}; the first "
            f"that only one of them has is {_say(more)}"
        )
    leaves = [
        _from_numpy(arrays[f"leaf_{i}"], entry["dtype"], kind)
        for i, (entry, kind) in enumerate(zip(found, description["keys"], strict=True))
    ]
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def read_about(path: File) -> dict[str, Any]:
    """What was given to `save_checkpoint` besides the tree.

    Args:
        path: The file.

    Returns:
        It.

    Raises:
        ValueError: If the file is not there, or no checkpoint.
    """  # noqa: DOC502 - _read raises it
    return _read(path)[0]["about"]


def digest(tree: Any) -> str:
    """A short text that differs for trees that differ in any bit.

    Args:
        tree: Any pytree of arrays and PRNG keys.

    Returns:
        16 hexadecimal digits of a BLAKE2 hash of structure, shapes, dtypes and bytes.
    """
    code = hashlib.blake2b(json.dumps(_describe(tree)).encode(), digest_size=8)
    for leaf in jax.tree.leaves(tree):
        code.update(np.ascontiguousarray(_to_numpy(leaf)).tobytes())
    return code.hexdigest()


def _is_key(leaf: Any) -> bool:
    """Whether a leaf is an array of typed PRNG keys."""
    dtype = getattr(leaf, "dtype", None)
    return dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key)


def _describe(tree: Any) -> list[dict[str, Any]]:
    """Path, shape and dtype of each leaf."""
    return [
        {
            "path": jax.tree_util.keystr(path),
            "shape": list(jnp.shape(leaf)),
            "dtype": str(jnp.result_type(leaf)),
        }
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    ]


def _say(entry: dict[str, Any]) -> str:
    """One leaf in words."""
    shape, dtype = tuple(entry["shape"]), entry["dtype"]
    return f"{entry['path']} of shape {shape} and dtype {dtype}"


def _to_numpy(leaf: Any) -> np.ndarray:
    """What NumPy can write: keys, and dtypes it has not, as unsigned integers."""
    if _is_key(leaf):
        return np.asarray(jax.random.key_data(leaf))
    array = np.asarray(jax.device_get(leaf), jnp.result_type(leaf))
    return array.view(f"u{array.itemsize}") if array.dtype.kind == "V" else array


def _from_numpy(array: np.ndarray, dtype: str, key: str) -> jax.Array:
    """The leaf that `_to_numpy` made an array of."""
    if key:
        return jax.random.wrap_key_data(jnp.asarray(array), impl=key)
    return jnp.asarray(array.view(jnp.dtype(dtype)))


def _read(path: File) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Description and arrays.

    Raises:
        ValueError: If the file is not there, or no checkpoint.
    """
    try:
        with Path(path).open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            arrays = dict(file)
        return json.loads(str(arrays.pop("description"))), arrays
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path} must be a checkpoint that jaxdl wrote, got {error!r}"
        ) from error
