"""One run of a study: where it goes, the work, and what is made of the result."""

import contextlib
import dataclasses
import hashlib
import json
import time
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from experiments import _record, _report
from experiments._environment import environment
from experiments._figures import style
from experiments._findings import Finding
from experiments._study import Study, load


class Run(NamedTuple):
    """A finished computation, whose arrays are on disk."""

    module: ModuleType  # of the study
    folder: Path
    record: dict[str, Any]  # content of config.json
    result: Any  # the study's Result


def default_folder(results: Path, study: Study, preset: str, config: Any) -> Path:
    """Where a run goes if nobody says where.

    Args:
        results: Folder of all results.
        study: The study.
        preset: Name of the preset.
        config: The study's configuration.

    Returns:
        ``results/NAME/PRESET-seedN``; with six characters of a hash after it where
        the configuration differs from the preset in more than the seed, or where a
        run with another configuration is already there.
    """
    folder = results / study.name / f"{preset}-seed{config.seed}"
    usual = dataclasses.replace(load(study).PRESETS[preset], seed=config.seed)
    run = _record.identity(study.name, config)
    if config == usual and _record.occupant(folder) in (None, run):
        return folder
    digest = hashlib.sha256(json.dumps(run, sort_keys=True).encode()).hexdigest()
    return folder.with_name(f"{folder.name}-{digest[:6]}")


def compute(
    study: Study, *, preset: str, config: Any, folder: Path, command: str
) -> Run:
    """Run a study, and write its configuration and arrays.

    The folder is checked before the work begins. One line says what is about to run.

    Args:
        study: From ``_study.find``.
        preset: Name of the preset that the configuration started from.
        config: The study's ``Config``.
        folder: Where the record goes.
        command: What a reader types to repeat the run.

    Returns:
        The run, for `conclude`.
    """
    module = load(study)
    run = _record.identity(study.name, config)
    _record.prepare(folder, run)
    where = environment()
    device = where["device"]
    print(
        f"{study.name}: {preset} preset, seed {config.seed}, "
        f"on {device['count']} {device['kind']}; expected time: {study.time}",
        flush=True,
    )
    started = datetime.now(UTC)
    begin = time.perf_counter()
    try:
        result = module.run(config)
    except BaseException:
        with contextlib.suppress(OSError):
            folder.rmdir()  # if it is empty
        raise
    seconds = time.perf_counter() - begin
    record = {
        **run,
        "preset": preset,
        "title": study.title,
        "claim": study.claim,
        "source": study.source,
        "expected": study.expected,
        "command": command,
        "started": started.isoformat(timespec="seconds"),
        "seconds": round(seconds, 3),
        **where,
    }
    _record.write_result(folder, record, result)
    return Run(module, folder, record, result)


def conclude(run: Run) -> list[Finding]:
    """Check the claims, draw the figures and write the report.

    Args:
        run: From `compute`.

    Returns:
        The study's findings.
    """
    module, folder, record, result = run
    findings = list(module.check(result))
    rows = module.metrics(result) if hasattr(module, "metrics") else None
    _record.write_findings(folder, findings, rows)
    with style():
        plots = module.plot(result)
    drawings = [
        _report.Drawing(name, svg, plots[name].caption, plots[name].alt)
        for name, svg in _record.write_figures(folder, record, plots).items()
    ]
    page = _report.report(record, findings, drawings)
    _record.write(folder / "report.html", page.encode())
    return findings
