"""The script that a user copies."""

import runpy
import sys
from pathlib import Path

import numpy as np

from jaxdl import sweep

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "sweep.py"


def test_the_example_runs_and_goes_on(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [str(EXAMPLE), str(tmp_path / "out")])
    said = []
    for _ in range(2):
        runpy.run_path(str(EXAMPLE), run_name="__main__")
        said.append(capsys.readouterr().out)
    assert "300 points, 2 programs" in said[0]
    assert "\n300 points computed now" in said[0]
    assert "\n0 points computed now" in said[1]
    assert said[0].splitlines()[-2:] == said[1].splitlines()[-2:]
    found = sweep.results(tmp_path / "out")
    error = found["error"].reshape(2, 3, 50).mean(axis=2)
    assert np.all(error[:, 2] > error[:, 0])  # too much ridge for so little noise
