"""One writer in a directory at a time."""

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # not on this platform
    fcntl = None

NAME = "lock"
ATTEMPTS = 5


@contextmanager
def locked(directory: Path) -> Iterator[int | None]:
    """Hold a directory, which is made if it is not there.

    The file in it names the process, for people and for `holder`; the lock itself is
    the operating system's, which gives it up with the process however that ends, so
    that a file left behind never blocks.

    Args:
        directory: Where to write.

    Yields:
        The process id that a run which was killed has left behind; or None.

    Raises:
        ValueError: If another run holds it, or nothing can be written there.
    """
    if fcntl is None:
        raise ValueError(
            "directory must be None on a platform without fcntl, which keeps a second "
            f"writer out, got {directory}"
        )
    try:
        directory.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(directory / NAME, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise ValueError(
            f"directory must be one that can be written to, got {directory}: {error}"
        ) from error
    try:
        if not _taken(descriptor):
            raise ValueError(
                f"directory {directory} must have one writer at a time, got a second: "
                f"{_say(_content(descriptor))} is writing there"
            )
        left = _content(descriptor).get("pid")
        own = {"pid": os.getpid(), "host": socket.gethostname()}
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(own).encode(), 0)
        try:
            yield left
        finally:
            os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def holder(directory: Path) -> str:
    """Who writes in a directory.

    Args:
        directory: It.

    Returns:
        The process in words; empty if there is none.
    """
    path = directory / NAME
    if fcntl is None or not path.exists():
        return ""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return _say(_content(descriptor))
    finally:
        os.close(descriptor)
    return ""


def _taken(descriptor):
    """Take the lock; whoever only asked for the holder lets it go at once."""
    assert fcntl is not None
    for _ in range(ATTEMPTS):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            time.sleep(0.02)
        else:
            return True
    return False


def _content(descriptor):
    """What the file says."""
    try:
        return dict(json.loads(os.pread(descriptor, 4096, 0) or b"{}"))
    except (TypeError, ValueError):
        return {}


def _say(content):
    """A process in words."""
    return f"process {content.get('pid', '?')} on {content.get('host', '?')}"
