"""What the README tells a user to type, typed."""

import re
from pathlib import Path

import numpy as np
import pytest

from jaxdl import data

README = (Path(__file__).parent.parent / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.S)


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_python_blocks_run(block, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(block, names)
    if "np.savez" in block:
        assert data.load_npz("my.npz").x_train.shape == (2000, 20)
    else:
        error = np.asarray(names["run"].history["error"])
        assert error[0] > 0.2 > 0.05 > error[-1]
        assert capsys.readouterr().out
