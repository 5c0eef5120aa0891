"""The command line of all studies."""

import os
import shlex
import sys
import textwrap
import traceback
from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, NamedTuple, NoReturn, TypeVar

import tyro

import jaxdl
from experiments import _study
from experiments._findings import Finding, expected_text, measured_text

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "results"
COMMAND = ("python", "-m", "experiments")

C = TypeVar("C")
Folder = Annotated[Path | None, tyro.conf.arg(metavar="DIR")]
Switch = Annotated[bool, tyro.conf.FlagCreatePairsOff]


@dataclass(frozen=True)
class Options(Generic[C]):
    """The command line of one study."""

    config: Annotated[C, tyro.conf.arg(name="")]
    preset: Literal["quick", "full"] = "quick"
    """Size of the run; sets the defaults of the study's own options."""
    out: Folder = None
    """Folder for the record; by default one under results/."""
    strict: Switch = False
    """Exit with 1 if a claim fails."""


@dataclass(frozen=True)
class Batch:
    """The command line of many studies."""

    preset: Literal["quick", "full"] = "quick"
    """Size of the runs."""
    seed: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """Seed of every study; by default that of its preset."""
    out: Folder = None
    """Folder for the records and their index; by default results/."""
    strict: Switch = False
    """Exit with 1 if a claim fails."""


class Refused(Exception):
    """A run that an argument, or the study's own check of it, forbids."""


class Performed(NamedTuple):
    """What is left to say of a run."""

    folder: Path
    findings: list[Finding]
    seconds: float
    strict: bool


def main(file: str | None = None) -> NoReturn:
    """Answer the command line, then exit.

    The exit code is 0; 1 if a claim fails under ``--strict``, or one of many studies
    ended in an error; 2 if an argument is wrong; 130 after Ctrl-C.

    Args:
        file: ``__file__`` of the study that was started; None for
            ``python -m experiments``, whose first argument names the study.

    Raises:
        SystemExit: Always.
    """
    words = sys.argv[1:] if file is None else [Path(file).stem, *sys.argv[1:]]
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # not every terminal knows ≥
    try:
        code = answer(words)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = 130
    raise SystemExit(code)


def answer(words: Sequence[str]) -> int:
    """Do what the words of a command line ask for.

    Args:
        words: Those after ``python -m experiments``.

    Returns:
        The exit code.
    """
    try:
        match words:
            case [] | ["-h" | "--help", *_]:
                print(_overview())
            case ["--version", *_]:
                print(f"jaxdl {jaxdl.__version__}")
            case ["demo" | "all" as group, *rest]:
                return _many(group, rest)
            case [name, *rest]:
                return _one(name, rest)
    except Refused as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _overview() -> str:
    """All studies, and how to run them."""
    command = shlex.join(COMMAND)
    lines = [
        f"usage: {command} STUDY [--preset quick|full] [--seed N] [--out DIR] ...",
        f"       {command} STUDY --help     all options of a study",
        f"       {command} demo | all       the flagship studies (*), or every one",
        f"       {command} --version",
    ]
    for study in _studies():
        lines += ["", f"{'*' if study.demo else ' '} {study.name}: {study.title}"]
        for text in (study.claim, f"Time: {study.time}"):
            lines += textwrap.wrap(
                text, 80, initial_indent="    ", subsequent_indent="    "
            )
    return "\n".join(lines)


def _one(name: str, words: Sequence[str]) -> int:
    """Run one study."""
    performed = _perform(name, words, RESULTS)
    if performed.folder.resolve().is_relative_to(RESULTS.resolve()):
        print(_index(RESULTS))
    else:
        print(performed.folder.resolve() / "report.html")
    return int(performed.strict and not all(f.holds for f in performed.findings))


def _many(group: str, words: Sequence[str]) -> int:
    """Run the studies of the demo, or all; one that fails does not stop the rest."""
    batch = tyro.cli(
        Batch,
        prog=shlex.join([*COMMAND, group]),
        description="Run the flagship studies." if group == "demo" else "Run all.",
        args=words,
    )
    results = batch.out or RESULTS
    options = ["--preset", batch.preset]
    if batch.seed is not None:
        options += ["--seed", str(batch.seed)]
    summary, code = [], 0
    for study in _studies():
        if group == "demo" and not study.demo:
            continue
        try:
            performed = _perform(study.name, options, results)
        except Exception as error:
            if isinstance(error, Refused):
                print(f"error: {error}", file=sys.stderr)
            else:
                traceback.print_exc()
            summary.append(f"{study.name}: ended in an error")
            code = 1
        else:
            holds = [finding.holds for finding in performed.findings]
            summary.append(f"{study.name}: {_verdict(holds, performed.seconds)}")
            if batch.strict and not all(holds):
                code = 1
        print(flush=True)
    print("\n".join(summary))
    print(_index(results))
    return code


def _perform(name: str, words: Sequence[str], results: Path) -> Performed:
    # Leaves the record, prints the findings. Raises Refused for any ValueError up
    # to the end of the study's own `run`.
    try:
        study = _study.find(name)
        _keep_compiled_programs()
        options = _options(study, words)
        from experiments import _run  # imports JAX and matplotlib

        run = _run.compute(
            study,
            preset=options.preset,
            config=options.config,
            folder=options.out
            or _run.default_folder(results, study, options.preset, options.config),
            command=shlex.join([*COMMAND, name, *words]),
        )
    except ValueError as error:
        raise Refused(str(error)) from error
    try:
        findings = _run.conclude(run)
    except Exception as error:
        error.add_note(f"the result of the run is kept in {run.folder}")
        raise
    seconds = run.record["seconds"]
    print(_table(findings))
    print(f"{name}: {_verdict([f.holds for f in findings], seconds)}", flush=True)
    return Performed(run.folder, findings, seconds, options.strict)


def _options(study: _study.Study, words: Sequence[str]) -> Options[Any]:
    """The options of a study, those not given from the preset that is."""
    module = _study.load(study)
    parser = ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--preset", nargs="?")
    chosen = parser.parse_known_args(words)[0].preset
    preset = (
        chosen if chosen in module.PRESETS else "quick"
    )  # tyro will say what is wrong
    return tyro.cli(
        Options[module.Config],
        prog=shlex.join([*COMMAND, study.name]),
        description=f"{study.title}\n\n{study.claim}\n\nTime: {study.time}",
        default=Options(module.PRESETS[preset], preset),
        args=words,
    )


def _studies() -> list[_study.Study]:
    # Raises Refused if one of the files lacks something.
    try:
        return [_study.find(name) for name in _study.names()]
    except ValueError as error:
        raise Refused(str(error)) from error


def _keep_compiled_programs() -> None:
    """Let JAX keep what it compiles in the checkout, unless told where."""
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    settings = {
        "jax_compilation_cache_dir": str(ROOT / ".jax_cache"),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
    }
    for name, value in settings.items():
        os.environ[name.upper()] = str(value)
        if "jax" in sys.modules:  # which read the environment when it was imported
            sys.modules["jax"].config.update(name, value)


def _index(results: Path) -> Path:
    from experiments import _report

    return _report.write_index(results)


def _verdict(holds: Sequence[bool], seconds: float) -> str:
    from experiments import _report

    return f"{_report.verdict(holds)}, {_report.duration(seconds)}"


def _table(findings: Sequence[Finding]) -> str:
    """The findings in columns, claims wrapped."""
    rows = [
        (
            "holds" if finding.holds else "FAILS",
            finding.claim,
            expected_text(finding),
            measured_text(finding),
        )
        for finding in findings
    ]
    head = ("", "claim", "expected", "measured")
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(4)]
    widths[1] = min(widths[1], max(32, 94 - sum(widths) + widths[1]))
    lines = []
    for first, claim, *numbers in (head, *rows):
        start, *rest = textwrap.wrap(claim, widths[1])
        cells = zip((first, start, *numbers), widths, strict=True)
        lines.append("  ".join(cell.ljust(width) for cell, width in cells).rstrip())
        lines += [" " * (widths[0] + 2) + line for line in rest]
    return "\n".join(lines)
