"""What the README tells a user to type, typed."""

import re
from pathlib import Path

import numpy as np

from jaxdl import data

README = (Path(__file__).parent.parent / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.S)


def test_data_of_ones_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(BLOCKS[0], {})
    assert data.load_npz("my.npz").x_train.shape == (2000, 20)


def test_the_library_is_used_as_shown(capsys):
    """Later blocks go on from earlier ones."""
    assert len(BLOCKS) == 4
    names = {}
    for block in BLOCKS[1:]:
        exec(block, names)
        assert capsys.readouterr().out
    error = np.asarray(names["run"].history["error"])
    assert error[0] > 0.2 > 0.05 > error[-1]
    found = names["tracker"].stacked()
    assert names["tracker"].steps == [50, 100, 150, 200]
    assert found.values.shape == (4, 3)
    assert found.converged.all()
    assert names["kernel"].shape == (100, 100)
