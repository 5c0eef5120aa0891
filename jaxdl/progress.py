"""Progress bars for long work, on standard error."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol


class Bar(Protocol):
    """What `bar` yields."""

    def update(self, n: float) -> object:
        """Add ``n`` units of finished work."""
        ...


@contextmanager
def bar(total: float, label: str, *, show: bool = True) -> Iterator[Bar]:
    """Show how much of ``total`` is done and the time that is left.

    On a terminal this is one line that moves; in a pipe or a file, one line at
    most every ten seconds. Drawn by tqdm; without tqdm nothing is shown.

    Args:
        total: Amount of work, in any unit, ``> 0``.
        label: What is going on.
        show: Whether to show anything.

    Yields:
        An object with ``update(n)``.
    """
    if not show or (tqdm := _tqdm()) is None:
        yield _Silent()
        return
    terminal = sys.stderr.isatty()
    with tqdm(
        total=total,
        desc=label,
        file=sys.stderr if terminal else _Lines(),
        mininterval=0.1 if terminal else 10.0,
        maxinterval=10.0,
        bar_format=(
            "{desc} {percentage:3.0f}% |{bar}| {elapsed} gone, {remaining} left"
            if terminal
            else "{desc}: {percentage:.0f}% done, {elapsed} gone, {remaining} left"
        ),
    ) as drawn:
        yield _Drawn(drawn)


def _tqdm() -> Any:
    """The class that draws, or None where it is not installed."""
    try:
        from tqdm import tqdm
    except ImportError:
        return None
    return tqdm


class _Drawn:
    """A bar on the screen."""

    def __init__(self, drawn: Any):
        self.drawn = drawn

    def update(self, n: float) -> None:
        """Move on, but not by rounding beyond the end."""
        self.drawn.update(min(n, self.drawn.total - self.drawn.n))


class _Silent:
    """A bar that nobody sees."""

    def update(self, n: float) -> None:
        """Do nothing."""


class _Lines:
    """Standard error, with a line of its own for each state of the bar."""

    def write(self, text: str) -> None:
        text = text.strip("\r\n ")
        if text:
            sys.stderr.write(text + "\n")

    def flush(self) -> None:
        sys.stderr.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.stderr, name)
