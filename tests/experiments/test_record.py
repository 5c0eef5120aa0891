import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from experiments import _environment, _record
from experiments._figures import Plot, figure
from experiments._findings import at_least

RUN = {"study": "coin", "config": {"seed": 0, "widths": [1, 2]}}
LABELS = {"kind": "theorem", "source": "by hand"}


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def plots(*names):
    found = {}
    for name in names:
        drawing, axes = figure(width=2, height=1.5)
        axes.plot([1, 2], [1, 4])
        found[name] = Plot(drawing, f"Caption of {name}.", f"Alt of {name}.")
    return found


@pytest.fixture
def finished(tmp_path):
    """The folder of a finished run."""
    folder = tmp_path / "run"
    _record.prepare(folder, RUN)
    _record.write_result(folder, RUN, {"x": np.arange(3), "file": 1.0})
    _record.write_findings(folder, [at_least("x", measured=1, low=0, **LABELS)], None)
    _record.write_figures(folder, RUN, plots("a", "b"))
    _record.write(folder / "report.html", b"report")
    return folder


def test_a_finished_run_has_its_files_and_no_others(finished):
    assert files(finished) == [
        *("a.png", "a.svg", "arrays.npz", "b.png", "b.svg", "config.json"),
        *("findings.json", "metrics.jsonl", "report.html"),
    ]
    record = json.loads((finished / "config.json").read_text())
    assert record == RUN | {
        "figures": [
            {"name": "a", "caption": "Caption of a.", "alt": "Alt of a."},
            {"name": "b", "caption": "Caption of b.", "alt": "Alt of b."},
        ]
    }
    with np.load(finished / "arrays.npz", allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["x"], [0, 1, 2])
        assert arrays["file"] == 1.0
    assert (finished / "a.png").read_bytes()[:4] == b"\x89PNG"


def test_metrics_are_rows_or_else_the_findings(finished):
    lines = (finished / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == json.loads(
        (finished / "findings.json").read_text()
    )
    rows = [{"n": np.int64(1), "loss": np.nan}, {"n": 2, "loss": np.float32(0.5)}]
    _record.write_findings(finished, [], iter(rows))
    lines = (finished / "metrics.jsonl").read_text().splitlines()
    assert lines == ['{"n": 1, "loss": null}', '{"n": 2, "loss": 0.5}']


def test_the_same_run_may_come_again_and_leaves_nothing_of_the_first(finished):
    (finished / "notes.txt").write_text("the user's")
    _record.prepare(finished, RUN)
    assert "findings.json" in files(finished)
    _record.write_result(finished, RUN, {"x": np.zeros(1)})
    assert files(finished) == ["arrays.npz", "config.json", "notes.txt"]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"study": "dice"}, "the study coin"),
        ({"config": {"seed": 1, "widths": [1, 2]}}, "another configuration"),
        ({"data_sha256": "0"}, "another configuration"),
    ],
)
def test_another_run_is_never_overwritten(finished, change, what):
    before = {path: path.read_bytes() for path in finished.iterdir()}
    with pytest.raises(ValueError, match=f"holds a run of {what}.* --out"):
        _record.prepare(finished, RUN | change)
    assert {path: path.read_bytes() for path in finished.iterdir()} == before


def test_an_unfinished_run_is_never_overwritten_by_another(tmp_path):
    _record.prepare(tmp_path, RUN)
    _record.write_result(tmp_path, RUN, {"x": np.zeros(1)})
    with pytest.raises(ValueError, match="another configuration"):
        _record.prepare(tmp_path, RUN | {"config": {}})


@pytest.mark.parametrize("content", [None, "{", "{}", "[]", '{"study": "coin"}'])
def test_a_folder_of_something_else_is_refused(tmp_path, content):
    (tmp_path / "thesis.tex").write_text("")
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(ValueError, match=r"holds something that is no run .* --out"):
        _record.prepare(tmp_path, RUN)


def test_an_unwritable_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"cannot write to .*: Not a directory"):
        _record.prepare(tmp_path / "file" / "run", RUN)
    with pytest.raises(ValueError, match="holds something that is no run"):
        _record.prepare(tmp_path / "file", RUN)


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("disk full")

    path = tmp_path / "x"
    _record.write(path, b"old")
    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        _record.write(path, b"new")
    assert path.read_bytes() == b"old"
    assert files(tmp_path) == ["x"]


def test_the_content_of_a_data_file_makes_another_run(tmp_path):
    run = RUN | {"data_sha256": "0"}
    _record.prepare(tmp_path, run)
    _record.write_result(tmp_path, run, {"x": np.zeros(1)})
    _record.prepare(tmp_path, run)
    with pytest.raises(ValueError, match="another configuration"):
        _record.prepare(tmp_path, RUN | {"data_sha256": "1"})


def test_the_same_figure_and_arrays_give_the_same_bytes(tmp_path):
    contents = []
    for name in ("first", "second"):
        folder = tmp_path / name
        _record.prepare(folder, RUN)
        _record.write_result(folder, RUN, {"x": np.arange(3)})
        _record.write_figures(folder, RUN, plots("a"))
        contents.append({f: (folder / f).read_bytes() for f in files(folder)})
    assert contents[0] == contents[1]
    assert b"dc:date" not in contents[0]["a.svg"]


def test_identity_holds_the_digest_of_a_data_file(tmp_path, monkeypatch):
    monkeypatch.setattr(_record, "to_json", lambda config: {"data": config.data})
    path = tmp_path / "my.npz"
    path.write_bytes(b"abc")
    assert _record.identity("coin", SimpleNamespace(data=str(path))) == {
        "study": "coin",
        "config": {"data": str(path)},
        "data_sha256": (
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        ),
    }
    assert "data_sha256" not in _record.identity("coin", SimpleNamespace(data="digits"))


def test_environment_is_json_and_knows_no_revision_outside_a_checkout(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(_environment, "ROOT", tmp_path)
    where = _environment.environment()
    assert where["git"] is None
    assert set(where["versions"]) == {"python", "jax", "jaxlib", "numpy", "jaxdl"}
    assert where["versions"]["numpy"] == np.__version__
    assert (where["x64"], where["default_dtype"]) == (False, "float32")
    assert json.loads(json.dumps(where, allow_nan=False)) == where
