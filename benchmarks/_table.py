"""Results as Markdown, between markers of a file."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks._measure import Entry, Row, ratio

Results = Sequence[tuple[Row, Sequence[Entry]]]


class Floor(NamedTuple):
    """The least that a row can take, as it was counted."""

    seconds: float
    note: str


def table(
    subject: str, rows: Results, floors: Mapping[str, Floor] | None = None
) -> str:
    """A table: a line an entry, in the order of rows and then of time.

    Args:
        subject: Name of the tool whose ratios matter.
        rows: Rows with their entries.
        floors: What to print above them, by the row's name.

    Returns:
        Markdown. The last columns compare an entry of the subject with the fastest
        peer, and, if any has a tolerance and so stops by itself, with the fastest of
        those; in bold if that meets the row's target. Peaks of memory have a column if
        there are any.
    """
    every = [entry for _, entries in rows for entry in entries]
    peaks = any(entry.peak is not None for entry in every)
    stops = any("tol" in (entry.setting or {}) for entry in every)
    heads = ["row", "tool", "setting", "median ms", "least ms", "answer"]
    heads += ["peak MB"] * peaks + [f"{subject} / best peer"]
    heads += [f"{subject} / best that stops by itself"] * stops
    right = ("ms", "MB", "peer", "itself")
    rule = ["---:" if head.endswith(right) else "---" for head in heads]
    lines = [f"| {' | '.join(heads)} |", f"|{'|'.join(rule)}|"]
    for row, entries in rows:
        stopping = [entry for entry in entries if "tol" in (entry.setting or {})]
        rivals = [best_peer(subject, entries), best_peer(subject, stopping)]
        rivals = rivals[: 1 + stops]
        title = row.title
        if floors and row.name in floors:
            floor = floors[row.name]
            ends = " |" * (1 + peaks + stops)
            lines.append(
                f"| {title} | (floor) |  | {_ms(floor.seconds)} |  "
                f"| {floor.note} |{ends}"
            )
            title = ""
        for entry in sorted(entries, key=lambda entry: entry.median):
            if entry.seconds:
                times = f"{_ms(entry.median)} | {_ms(min(entry.seconds))}"
            else:
                times = "- | -"
            comparisons = [""] * len(rivals)
            if entry.tool.name == subject and entry.seconds:
                comparisons = [_comparison(entry, rival, row) for rival in rivals]
            setting = ", ".join(
                [entry.way] * bool(entry.way)
                + [
                    f"{k} {v:g}" if isinstance(v, float) else f"{k} {v}"
                    for k, v in (entry.setting or {}).items()
                    if k != "method"
                ]
            )
            note = entry.note.replace("|", "\\|")
            if peaks:
                megabytes = "-" if entry.peak is None else f"{entry.peak / 1e6:.0f}"
                comparisons = [megabytes, *comparisons]
            lines.append(
                f"| {title} | {entry.tool.name} | {setting} | {times} | {note} "
                f"| {' | '.join(comparisons)} |"
            )
            title = ""
    return "\n".join(lines)


def means(subject: str, peer: str, rows: Results) -> list[str]:
    """What the subject needs of what a peer needs, over all rows.

    Args:
        subject: A tool; its first way to do a row, the one without a name, counts.
        peer: Another, with its fastest way.
        rows: Rows with their entries.

    Returns:
        A line for time, and one for memory if it was measured.
    """
    times, peaks = [], []
    for _, entries in rows:
        theirs = best_peer(subject, [e for e in entries if e.tool.name == peer])
        ours = default_way(subject, entries)
        if ours is None or theirs is None:
            continue
        times.append(ratio(ours, theirs))
        if ours.peak and theirs.peak:
            peaks.append(ours.peak / theirs.peak)
    return [
        f"{name}, {subject} without options / fastest way of {peer}: geometric mean "
        f"{math.exp(sum(map(math.log, ratios)) / len(ratios)):.2f} over {len(ratios)} "
        f"rows, {min(ratios):.2f} to {max(ratios):.2f}"
        for name, ratios in (("time", times), ("peak memory", peaks))
        if ratios
    ]


def default_way(subject: str, entries: Sequence[Entry]) -> Entry | None:
    """The way of a tool that has no name.

    Args:
        subject: The tool.
        entries: Of one row.

    Returns:
        The entry; None if it has no times.
    """
    for entry in entries:
        if entry.tool.name == subject and not entry.way and entry.seconds:
            return entry
    return None


def _comparison(entry: Entry, rival: Entry | None, row: Row) -> str:
    """A ratio with its target, in bold if it is met."""
    if rival is None:
        return ""
    value = ratio(entry, rival)
    text = f"{value:.2f}"
    return f"{f'**{text}**' if value <= row.target else text} (target {row.target:g})"


def best_peer(subject: str, entries: Sequence[Entry]) -> Entry | None:
    """The fastest entry of another tool, by median.

    Args:
        subject: Name of the tool that is no peer.
        entries: Of one row.

    Returns:
        The entry; None if no peer has times.
    """
    peers = [e for e in entries if e.tool.name != subject and e.seconds]
    return min(peers, key=lambda entry: entry.median, default=None)


def facts(about: Mapping[str, str]) -> str:
    """Where and how the times were taken.

    Args:
        about: Values by name.

    Returns:
        Markdown list.
    """
    return "\n".join(f"- {name}: {value}" for name, value in about.items())


def insert(path: Path, name: str, text: str) -> None:
    """Put text between the markers ``<!-- name -->`` and ``<!-- /name -->``.

    Args:
        path: A file that has the markers.
        name: Of the markers.
        text: What to put there, in place of what is there.

    Raises:
        ValueError: If the file does not have each marker once, in this order.
    """
    content = path.read_text()
    opening, closing = f"<!-- {name} -->", f"<!-- /{name} -->"
    before, found, rest = content.partition(opening)
    _, ended, after = rest.partition(closing)
    if not (found and ended):
        raise ValueError(f"{path} must have the lines {opening} and {closing}")
    path.write_text(f"{before}{opening}\n\n{text}\n\n{closing}{after}")


def _ms(seconds):
    """Milliseconds to three digits."""
    digits = max(0, 2 - math.floor(math.log10(max(seconds * 1e3, 1e-3))))
    return f"{seconds * 1e3:.{digits}f}"
