"""A ``.npy`` file that is written bit by bit, and the file beside it that says so."""

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np


class Work(NamedTuple):
    """What is to be written; work that is resumed must be the same."""

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype
    parts: tuple[int, ...]  # how many blocks each row of blocks has
    about: dict[str, Any]  # what the numbers depend on, as JSON can keep it
    probe: list[float]  # numbers that come out the same up to rounding


def begin(work: Work, *, resume: bool) -> tuple[np.memmap, list[int]]:
    """Open the file, a new one or one that was begun.

    Args:
        work: What is to be written.
        resume: Whether to go on with what was begun.

    Returns:
        The file, and how many blocks of each row it has.

    Raises:
        ValueError: If what was begun is something else, or damaged; or if the disk is
            too small.
    """  # noqa: DOC502 - _resumed and _check_space raise it, too
    beside = _beside(work)
    if beside.exists():
        if resume and (found := _resumed(work)):
            return found
        beside.unlink()
    _check_space(work)
    file = np.lib.format.open_memmap(work.path, "w+", work.dtype, work.shape)
    done = [0] * len(work.parts)
    keep(work, file, done)
    return file, done


def keep(work: Work, file: np.memmap, done: list[int]) -> None:
    """Say what is done, once it is on the disk.

    Args:
        work: What is being written.
        file: From `begin`.
        done: How many blocks of each row the file has.
    """
    file.flush()
    text = json.dumps({"about": _about(work), "probe": work.probe, "done": done})
    beside = _beside(work)
    descriptor, name = tempfile.mkstemp(".tmp", f"{beside.name}.", beside.parent)
    try:
        with os.fdopen(descriptor, "w") as written:
            written.write(text)
            written.flush()
            os.fsync(written.fileno())
        os.replace(name, beside)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def finish(work: Work, file: np.memmap) -> None:
    """Say that all is done.

    Args:
        work: What has been written.
        file: From `begin`.
    """
    file.flush()
    _beside(work).unlink()


def _beside(work):
    """Where it says what is done."""
    return work.path.with_name(f"{work.path.name}.progress")


def _about(work):
    """All that must be equal, as it comes back from JSON."""
    here = {"shape": list(work.shape), "dtype": str(work.dtype), **work.about}
    return json.loads(json.dumps(here))


def _resumed(work):
    """What was begun; None if no block of it is there.

    Raises:
        ValueError: If it is something else, or damaged.
    """
    beside = _beside(work)
    anew = "pass resume=False to begin anew, or take another path"
    try:
        found = json.loads(beside.read_text())
        there, probe = found["about"], np.array(found["probe"], float)
        done = [int(number) for number in found["done"]]
        file = np.lib.format.open_memmap(work.path, "r+")
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"path {work.path} must have what {beside.name} says is there, got "
            f"{error!r}; {anew}"
        ) from error
    if not any(done):
        return None
    here = _about(work)
    for name in sorted({*here, *there}):
        if here.get(name) != there.get(name):
            raise ValueError(
                f"path {work.path} has an unfinished kernel of other arguments: {name} "
                f"is {here.get(name)!r} here and {there.get(name)!r} there; {anew}"
            )
    size = max(1e-30, float(np.max(np.abs(work.probe))))
    if not np.allclose(probe, work.probe, rtol=0, atol=1e-3 * size):
        raise ValueError(
            f"path {work.path} has an unfinished kernel of another apply: its outputs "
            f"for x1[0] are {work.probe} here and {probe.tolist()} there; {anew}"
        )
    fits = len(done) == len(work.parts) and all(
        0 <= number <= most for number, most in zip(done, work.parts, strict=True)
    )
    if file.shape != work.shape or file.dtype != work.dtype or not fits:
        raise ValueError(
            f"path {work.path} must have an array of {work.shape} {work.dtype}, "
            f"got {file.shape} {file.dtype} with blocks {done}; {anew}"
        )
    return file, done


def _check_space(work):
    """Refuse what does not fit: a full disk would end the process later.

    Raises:
        ValueError: If it does not.
    """
    needed = work.dtype.itemsize * int(np.prod(work.shape, dtype=object))
    free = shutil.disk_usage(work.path.absolute().parent).free
    if work.path.exists():
        free += work.path.stat().st_size
    if needed > free:
        raise ValueError(
            f"path must be on a disk with {needed / 1e9:.3g} GB free, "
            f"got {free / 1e9:.3g} GB"
        )
