"""What came of a sweep, with what went wrong in it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxdl.sweep.program import Metric

LISTED = 10  # points that are listed in words; all are in the arrays


class Failure(NamedTuple):
    """A program that could not be traced, compiled or run."""

    shapes: dict[str, Any]
    n_points: int
    error: str


class Status(NamedTuple):
    """How far a sweep is."""

    n_points: int
    n_done: int
    batches: tuple[int, int]  # done, and of how many
    failures: tuple[Failure, ...]
    damaged: tuple[str, ...]  # files whose checksum does not fit
    n_nan: int  # points with a NaN in some metric
    n_infinite: int  # points with an infinite number, and no NaN
    nonfinite: dict[str, np.ndarray]  # all columns, of these points
    writer: str = ""  # the process that writes there now

    def __str__(self) -> str:
        """All of it in words."""
        lines = [
            f"{self.n_done} of {self.n_points} points, {self.batches[0]} of "
            f"{self.batches[1]} batches"
        ]
        lines += [f"{self.writer} is writing"] if self.writer else []
        for failure in self.failures:
            shapes = ", ".join(f"{k}={v!r}" for k, v in failure.shapes.items())
            lines.append(
                f"failed: {shapes or 'all'} ({failure.n_points} points): "
                f"{failure.error}"
            )
        lines += [f"damaged: {name}" for name in self.damaged]
        found = self.n_nan + self.n_infinite
        if found:
            lines.append(f"{self.n_nan} points with NaN, {self.n_infinite} infinite:")
            for i in range(min(found, LISTED)):
                row = [
                    f"{k}={v[i]}" for k, v in self.nonfinite.items() if v[i].ndim == 0
                ]
                lines.append("  " + " ".join(row))
        if found > LISTED:
            lines.append(f"  and {found - LISTED} more")
        return "\n".join(lines)


@dataclass(frozen=True, eq=False)
class Outcome:
    """What `run` returns; ``print(outcome)`` says how it went."""

    results: dict[str, np.ndarray]  # as of the function `results`, of the points done
    status: Status
    n_computed: int  # points computed by this call
    repaired: tuple[str, ...]  # damaged files that this call wrote again

    def __str__(self) -> str:
        """The status in words."""
        lines = [str(self.status), f"{self.n_computed} points computed now"]
        lines += [f"damaged, and written again: {name}" for name in self.repaired]
        return "\n".join(lines)


def found_status(
    columns: Mapping[str, np.ndarray],
    metrics: Sequence[Metric],
    *,
    n_points: int,
    batches: tuple[int, int],
    failures: Sequence[Failure],
    damaged: Sequence[str],
    writer: str = "",
) -> Status:
    """The status of a sweep whose columns are there.

    Args:
        columns: Of the points that are done.
        metrics: Which of them are metrics.
        n_points: Points of the sweep.
        batches: Done, and of how many.
        failures: Programs that failed.
        damaged: Files that are damaged.
        writer: Who is writing.

    Returns:
        It.
    """
    n = len(columns["point"])
    nan, infinite = np.zeros(n, bool), np.zeros(n, bool)
    for metric in metrics:
        array = columns[metric.name]
        if jnp.issubdtype(array.dtype, jnp.inexact):
            rest = tuple(range(1, array.ndim))
            nan |= np.isnan(array).any(axis=rest)
            infinite |= np.isinf(array).any(axis=rest)
    which = nan | infinite
    return Status(
        n_points,
        n,
        batches,
        tuple(failures),
        tuple(damaged),
        int(nan.sum()),
        int((infinite & ~nan).sum()),
        {name: np.asarray(array)[which] for name, array in columns.items()},
        writer,
    )
