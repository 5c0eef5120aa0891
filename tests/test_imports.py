"""Imports go one way, as the ranks in CONTRIBUTING.md say."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
RANKS = [
    {"types", "progress"},
    {"tree", "jaxpr"},
    {"costs", "losses", "nn", "curvature", "theory", "data"},
    {"optim", "diagnostics"},
    {"models", "train", "sweep"},
    {"ntk", "landscape", "interop"},
]
RANK = {name: rank for rank, names in enumerate(RANKS) for name in names}
FILES = sorted(
    path
    for path in (ROOT / "jaxdl").rglob("*.py")
    if path != ROOT / "jaxdl/__init__.py"
)


def imported_modules(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def area(path):
    return path.relative_to(ROOT / "jaxdl").parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_file_imports_its_own_folder_and_earlier_ranks_only(path):
    assert area(path) in RANK, f"{area(path)} has no rank yet"
    for name in imported_modules(path):
        parts = name.split(".")
        if parts[0] == "jaxdl" and len(parts) > 1 and parts[1] != area(path):
            assert RANK[parts[1]] < RANK[area(path)], f"{path} imports {name}"
        assert parts[0] not in {"experiments", "tests", "matplotlib"}
        if parts[0] == "flax":
            assert area(path) == "interop"
        if parts[0] == "optax":
            assert area(path) in {"interop", "landscape"}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_only_one_file_touches_jaxpr_internals(path):
    for name in imported_modules(path):
        if name.startswith("jax.extend"):
            assert area(path) == "jaxpr"


def test_importing_the_package_is_light():
    code = """
import sys, time, jax, jax.numpy
start = time.perf_counter()
import jaxdl
seconds = time.perf_counter() - start
heavy = {"flax", "matplotlib", "optax", "sklearn", "scipy.stats", "tqdm"}
print(seconds, sorted(heavy & set(sys.modules)))
"""
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    seconds, heavy = answer.stdout.split(" ", 1)
    assert heavy.strip() == "[]"
    assert float(seconds) < 0.5
