"""What a person types first: make, and what it is built on."""

import itertools
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def find_python(*arguments, **environment):
    return subprocess.run(
        ["/bin/sh", "scripts/find_python.sh", *arguments],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_interpreter_that_is_named_is_taken():
    answer = find_python(sys.executable)
    assert (answer.returncode, answer.stdout.strip()) == (0, sys.executable)


@pytest.mark.parametrize("wrong", ["/bin/sh", "/nonexistent/python", "3.7", "2.7"])
def test_an_interpreter_that_will_not_do_is_refused_with_a_remedy(wrong):
    answer = find_python(wrong)
    assert answer.returncode == 1
    assert answer.stdout == ""
    assert "apt-get install python3 python3-venv" in answer.stderr


def test_the_newest_working_version_wins(tmp_path):
    """Stand-ins that answer for a version, one of them broken."""
    for version, works in (("3.11", True), ("3.12", True), ("3.13", False)):
        stand_in = tmp_path / f"python{version}"
        code = f'[ "$2" = {version} ]' if works else "false"
        stand_in.write_text(f"#!/bin/sh\ncat >/dev/null\n{code}\n")
        stand_in.chmod(0o755)
    answer = find_python(PATH=f"{tmp_path}:/usr/bin:/bin")
    found = answer.stdout.strip()
    if found.startswith(str(tmp_path)):
        assert found == str(tmp_path / "python3.12")
    else:  # this machine has a newer one in its usual folders
        assert "3.13" in found


def test_help_lists_every_target():
    makefile = (ROOT / "Makefile").read_text()
    (declared,) = re.findall(r"^\.PHONY: ((?:.*\\\n)*.*)$", makefile, re.M)
    shown = subprocess.run(
        ["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    for target in set(declared.replace("\\", "").split()) - {"setup-oldest"}:
        assert re.search(rf"^  {target} ", shown, re.M), target


@pytest.mark.parametrize("name", ["torch", "matfree"])
def test_peers_are_pinned_without_an_address(name):
    lines = (ROOT / f"benchmarks/constraints-{name}.txt").read_text().splitlines()
    assert re.fullmatch(r"# Python 3\.\d+", lines[0])
    for line in lines:
        assert re.fullmatch(r"[\w.-]+==[\w.]+|# [^:]+", line), line


@pytest.mark.parametrize("name", ["constraints.txt", "constraints-oldest.txt"])
def test_every_dependency_is_pinned_and_no_address_is_written(name):
    text = (ROOT / name).read_text()
    assert "://" not in text
    pins = {line.split("==")[0].split("[")[0] for line in text.splitlines()}
    extras = PROJECT["optional-dependencies"]
    optional = (names for extra, names in extras.items() if extra != "all")
    for requirement in itertools.chain(PROJECT["dependencies"], *optional):
        assert re.split(r"[<>=\[]", requirement)[0] in pins
    assert set(extras["all"][0].split("[")[1].rstrip("]").split(",")) | {"all"} == set(
        extras
    )


def test_the_oldest_pins_are_the_lower_bounds():
    pins = dict(
        line.split("==")
        for line in (ROOT / "constraints-oldest.txt").read_text().splitlines()
    )
    for requirement in PROJECT["dependencies"]:
        name, bound = requirement.split(">=")
        assert f"{pins[name]}.".startswith(f"{bound}.")
