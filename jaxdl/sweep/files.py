"""Files that are there whole or not at all, and that say when they are damaged."""

import hashlib
import io
import json
import os
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

MAGIC = b"jaxdl-sweep-1 "


class DamagedError(ValueError):
    """A file that is not as it was written."""


def write(
    path: Path, about: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
) -> None:
    """Write arrays and what JSON can keep: beside ``path``, to the disk, then there.

    Args:
        path: Where to; what is there is replaced.
        about: What JSON can keep.
        arrays: Arrays of any dtype of JAX.
    """
    raw = io.BytesIO()
    dtypes = {name: str(array.dtype) for name, array in arrays.items()}
    text = json.dumps({"about": dict(about), "dtypes": dtypes})
    bits: dict[str, Any] = {f"_{name}": _bits(x) for name, x in arrays.items()}
    np.savez(raw, description=np.array(text), **bits)
    body = raw.getvalue()
    code = hashlib.blake2b(body, digest_size=16).hexdigest().encode()
    descriptor, name = tempfile.mkstemp(".tmp", f"{path.name}.", path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(MAGIC + code + b"\n" + body)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read what `write` wrote.

    Args:
        path: The file.

    Returns:
        What JSON kept, and the arrays.

    Raises:
        DamagedError: If it is not as it was written.
    """
    content = path.read_bytes()
    head, newline, body = content.partition(b"\n")
    code = hashlib.blake2b(body, digest_size=16).hexdigest().encode()
    if not newline or head != MAGIC + code:
        raise DamagedError(f"{path} is damaged: its checksum does not fit")
    try:
        with np.load(io.BytesIO(body), allow_pickle=False) as file:
            description = json.loads(str(file["description"]))
            arrays = {
                name: file[f"_{name}"].view(jnp.dtype(dtype))
                for name, dtype in description["dtypes"].items()
            }
    except (EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise DamagedError(f"{path} is damaged: {error!r}") from error
    return description["about"], arrays


def _bits(array):
    """What NumPy can write: dtypes it has not, as unsigned integers."""
    return array.view(f"u{array.itemsize}") if array.dtype.kind == "V" else array


def _sync_folder(folder):
    """Make a rename last, where folders can be opened."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)
