"""What a run leaves in its folder, each file written whole or not at all."""

import contextlib
import hashlib
import io
import json
import os
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments._figures import Plot, style
from experiments._findings import Finding
from experiments._plain import arrays, row, to_json

VERDICTS = ("findings.json", "metrics.jsonl", "report.html")
"""Files that stand on the arrays, and go when these are replaced."""


def identity(study: str, config: Any) -> dict[str, Any]:
    """What makes two runs the same: study, configuration, and the data's content.

    Args:
        study: Name of the study.
        config: Its configuration, a dataclass.

    Returns:
        JSON object. If ``config.data`` names a file, ``data_sha256`` is its digest.
    """
    data = Path(str(getattr(config, "data", "")))
    digest = {}
    if data.is_file():
        digest = {"data_sha256": hashlib.sha256(data.read_bytes()).hexdigest()}
    return {"study": study, "config": to_json(config), **digest}


def occupant(folder: Path) -> dict[str, Any] | None:
    """The `identity` of the run that a folder holds.

    Args:
        folder: Folder, which may not exist.

    Returns:
        None if there is no folder, or an empty one.

    Raises:
        ValueError: If the folder holds something that is no run.
    """
    try:
        if not folder.exists() or not any(folder.iterdir()):
            return None
        record = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        run = {key: record[key] for key in ("study", "config")}
        if "data_sha256" in record:
            run["data_sha256"] = record["data_sha256"]
        return run
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{folder} holds something that is no run of a study; give an empty or a "
            "new folder with --out"
        ) from error


def prepare(folder: Path, run: Mapping[str, Any]) -> None:
    """Make the folder, and see that this run may write there.

    Args:
        folder: Where the run will be recorded.
        run: Its `identity`.

    Raises:
        ValueError: If the folder holds something else, or a run of another study, or
            configuration or data, or cannot be written.
    """
    held = occupant(folder)
    if held is not None and held != run:
        what = "another configuration"
        if held["study"] != run["study"]:
            what = f"the study {held['study']}"
        raise ValueError(
            f"{folder} holds a run of {what}, which would be lost; give another "
            "folder with --out, or remove that one"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write(folder / ".trial", b"")
        (folder / ".trial").unlink()
    except OSError as error:
        raise ValueError(f"cannot write to {folder}: {error.strerror}") from error


def write_result(folder: Path, record: Mapping[str, Any], result: Any) -> None:
    """Write ``config.json`` and ``arrays.npz``, in place of an earlier run's.

    What else the earlier run left is removed, for it does not stand on these arrays.

    Args:
        folder: As prepared.
        record: For ``config.json``.
        result: Dataclass of arrays and numbers; see `arrays`.
    """
    leaves = dict(arrays(result))
    for name in (*VERDICTS, *_old_figures(folder)):
        (folder / name).unlink(missing_ok=True)
    write(folder / "config.json", _dump(record, indent=2))
    write(folder / "arrays.npz", _npz(leaves))


def write_findings(
    folder: Path,
    findings: Sequence[Finding],
    rows: Iterable[Mapping[str, Any]] | None,
) -> None:
    """Write ``findings.json`` and ``metrics.jsonl``.

    Args:
        folder: As prepared.
        findings: What the study found.
        rows: For ``metrics.jsonl``, one object a line, where a number that is not
            finite becomes null; None for the findings themselves.
    """
    objects = [finding.to_json() for finding in findings]
    write(folder / "findings.json", _dump(objects, indent=2))
    lines = objects if rows is None else map(row, rows)
    write(folder / "metrics.jsonl", b"".join(map(_dump, lines)))


def write_figures(
    folder: Path, record: Mapping[str, Any], plots: Mapping[str, Plot]
) -> dict[str, str]:
    """Write each figure as SVG and PNG, and list them in ``config.json``.

    Args:
        folder: As prepared.
        record: As in ``config.json`` so far.
        plots: Name to figure.

    Returns:
        Name to SVG text. The same figure gives the same text.
    """
    texts = {}
    for name, plot in plots.items():
        for suffix in ("svg", "png"):
            buffer = io.BytesIO()
            with style():
                plot.figure.savefig(
                    buffer,
                    format=suffix,
                    dpi=200,
                    metadata={"Date": None} if suffix == "svg" else None,
                )
            write(folder / f"{name}.{suffix}", buffer.getvalue())
            if suffix == "svg":
                texts[name] = buffer.getvalue().decode()
    figures = [
        {"name": name, "caption": plot.caption, "alt": plot.alt}
        for name, plot in plots.items()
    ]
    write(folder / "config.json", _dump({**record, "figures": figures}, indent=2))
    return texts


def write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all.

    Args:
        path: File, which is replaced if it exists.
        content: All of it.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        part.write_bytes(content)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _dump(value: Any, indent: int | None = None) -> bytes:
    text = json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False)
    return f"{text}\n".encode()


def _npz(leaves: Mapping[str, np.ndarray]) -> bytes:
    """As ``numpy.savez_compressed``, but any name will do and no time is written."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, leaf in leaves.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, leaf, allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}.npy")
            archive.writestr(entry, content.getvalue(), zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def _old_figures(folder: Path) -> list[str]:
    """Files of the figures that the run in this folder lists."""
    with contextlib.suppress(OSError, ValueError):
        record = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        names = [figure["name"] for figure in record.get("figures", ())]
        return [f"{name}.{suffix}" for name in names for suffix in ("svg", "png")]
    return []
