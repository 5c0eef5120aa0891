"""Find the studies, read what they say of themselves, and import them.

A study is one module in this folder whose name has no leading underscore. Reading
it needs neither JAX nor the study's own imports, so that a list of all is quick.
"""

import ast
import dataclasses
import difflib
import importlib
import inspect
import re
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import experiments

PRESETS = ("quick", "full")
GROUPS = ("demo", "all")
"""Words of the command line, which no study may have for a name."""

LABELS = ("Claim", "Source", "Run", "Time", "Expected")
MEMBERS = ("Config", "PRESETS", "run", "check", "plot")


@dataclass(frozen=True)
class Study:
    """What a study's file says of it."""

    name: str
    path: Path
    demo: bool  # whether `make demo` runs it
    title: str
    claim: str  # a sentence or more
    source: str
    run: str  # command
    time: str  # of both presets, on two cores
    expected: str  # a sentence or more


def names() -> list[str]:
    """Names of all studies, in alphabetical order.

    Returns:
        The modules of the folder without a leading underscore.
    """
    return sorted(
        path.stem
        for folder in experiments.__path__
        for path in Path(folder).glob("[!_]*.py")
    )


def find(name: str) -> Study:
    """Read the study of this name.

    Args:
        name: Name of the module.

    Returns:
        What its file says.

    Raises:
        ValueError: If there is no such study; the message suggests the nearest name.
            If its file lacks something; see `read`.
    """
    if name not in names():
        words = [*names(), *GROUPS]
        near = difflib.get_close_matches(name, words, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(words)}"
        raise ValueError(f"unknown study {name!r}; {hint}")
    folder = next(f for f in experiments.__path__ if Path(f, f"{name}.py").exists())
    return read(Path(folder, f"{name}.py"))


def read(path: Path) -> Study:
    """Read a study's docstring and its ``DEMO``, without importing it.

    The first line of the docstring is the title. The paragraphs that begin with
    ``Claim:``, ``Source:``, ``Run:``, ``Time:`` and ``Expected:`` must be there; a
    paragraph ends at an empty line or at the next label.

    Args:
        path: The study's file.

    Returns:
        What the file says.

    Raises:
        ValueError: If the docstring or one of its paragraphs is missing, or
            ``DEMO = True`` or ``DEMO = False``, or the name has another meaning.
    """
    if path.stem in GROUPS:
        raise ValueError(f"{path}: a study cannot be named {path.stem!r}")
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    title, _, rest = (ast.get_docstring(tree) or "").partition("\n")
    if not title.strip():
        raise ValueError(
            f"{path}: the study needs a docstring, which starts with a title"
        )
    paragraphs = _paragraphs(rest)
    for label in LABELS:
        if not paragraphs.get(label):
            raise ValueError(
                f"{path}: the docstring needs a paragraph that starts with '{label}:'"
            )
    demo = _demo(tree)
    if demo is None:
        raise ValueError(
            f"{path}: the study needs the line DEMO = True or DEMO = False"
        )
    return Study(
        name=path.stem,
        path=path,
        demo=demo,
        title=title.strip().removesuffix("."),
        claim=_sentence(paragraphs["Claim"]),
        source=paragraphs["Source"],
        run=paragraphs["Run"],
        time=paragraphs["Time"],
        expected=_sentence(paragraphs["Expected"]),
    )


def load(study: Study) -> ModuleType:
    """Import a study, and with it JAX.

    Args:
        study: From `find`.

    Returns:
        The module, which has ``Config``, ``PRESETS``, ``run``, ``check``, ``plot``
        and perhaps ``metrics``.

    Raises:
        ValueError: If it lacks one of them, ``Config`` is not a frozen dataclass
            with a ``seed``, or ``PRESETS`` has not one ``Config`` for quick and one
            for full.
    """
    module = importlib.import_module(f"experiments.{study.name}")
    missing = [name for name in MEMBERS if not hasattr(module, name)]
    if missing:
        raise ValueError(f"{study.path}: the study lacks {', '.join(missing)}")
    if not _is_config(module.Config):
        raise ValueError(f"{study.path}: Config must be a frozen dataclass with a seed")
    presets = module.PRESETS
    if tuple(presets) != PRESETS or not all(
        isinstance(preset, module.Config) for preset in presets.values()
    ):
        raise ValueError(
            f"{study.path}: PRESETS must hold a Config for each of {PRESETS}, "
            f"got {presets!r}"
        )
    return module


def _is_config(config: Any) -> bool:
    """Whether this is a frozen dataclass with a field ``seed``."""
    return (
        dataclasses.is_dataclass(config)
        and getattr(config, "__dataclass_params__").frozen  # noqa: B009 (untyped)
        and "seed" in {field.name for field in dataclasses.fields(config)}
    )


def _paragraphs(text: str) -> dict[str, str]:
    """Labelled paragraphs, each joined to one line."""
    found: dict[str, str] = {}
    label = None
    for line in inspect.cleandoc(text).splitlines():
        start = re.match(rf"({'|'.join(LABELS)}):\s*(.*)", line)
        if start:
            label, line = start.groups()
        elif not line.strip():
            label = None
        if label:
            found[label] = f"{found.get(label, '')} {line.strip()}".strip()
    return found


def _sentence(text: str) -> str:
    """Text that followed a colon, on its own."""
    return text[0].upper() + text[1:]


def _demo(tree: ast.Module) -> bool | None:
    """The value of the last ``DEMO = ...`` at top level, if it is True or False."""
    value = None
    for node in tree.body:
        if isinstance(node, ast.Assign):
            targets = node.targets
        elif isinstance(node, ast.AnnAssign):
            targets = [node.target]
        else:
            continue
        if any(isinstance(t, ast.Name) and t.id == "DEMO" for t in targets):
            value = node.value
    if isinstance(value, ast.Constant) and isinstance(value.value, bool):
        return value.value
    return None
