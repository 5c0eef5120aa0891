import json
import os

import numpy as np
import pytest

from benchmarks import _runner, _table
from benchmarks._measure import Entry, Row, Verdict, ratio, time_in_turns
from benchmarks._processes import Failed, Tool, Worker
from benchmarks.curvature import BENCHMARK

FAKE = "tests.benchmarks.fake_tool"
X = np.array([0.126, 0.5])


def judge(setting, answers, truth, files):
    error = max(np.max(abs(a["doubled"] - truth["doubled"])) for a in answers)
    assert len(answers) == len(files) <= 2
    return Verdict(error < 0.01, f"error {error:.3f}")


def benchmark(**changes):
    fields = {
        "name": "fake",
        "description": "Doubling.",
        "problem": lambda: {"x": X},
        "subject": Tool("jaxdl", FAKE),
        "peers": (Tool("peer", FAKE), Tool("lost", FAKE, ".venv-none")),
        "rows": (Row("double", "twice", judge, seeds=2), Row("raise", "bad", judge)),
        "reference": Tool("reference", FAKE),
        "facts": lambda file: {"digits": [0, 1, 2, 3]},
    }
    return _runner.Benchmark(**fields | changes)


@pytest.fixture
def worker(tmp_path):
    np.savez(tmp_path / "problem.npz", x=X)
    made = Worker(Tool("fake", FAKE), tmp_path / "problem.npz", [], tmp_path)
    yield made
    made.stop()


def test_a_run_from_problem_to_table(tmp_path, capsys):
    words = ["--rounds", "3", "--out", str(tmp_path)]
    assert _runner.main(benchmark(), words) == 0
    shown = capsys.readouterr().out
    record = json.loads((tmp_path / "times.json").read_text())
    exact = [e for e in record["rows"]["double"] if e["way"] == "exact"]
    assert [e["tool"]["name"] for e in exact] == ["jaxdl", "peer"]
    for entry in exact:  # the cheapest that is good enough, not the dearest
        assert entry["setting"] == {"digits": 2}
        assert entry["note"] == "error 0.002"
        assert len(entry["seconds"]) == len(entry["wall"]) == 3
    assert "absent: lost: no environment .venv-none; `make bench` sets it up" in shown
    hopeless = [e for e in record["rows"]["double"] if e["way"] == "hopeless"]
    (entry,) = hopeless  # of the subject; that of a peer which has another way goes
    assert entry["note"] == "not reached: error 0.252"
    assert entry["setting"] is None
    assert entry["seconds"] == []
    assert "RuntimeError: out of luck" in shown
    assert f"numpy {np.__version__}" in shown
    assert "load average" in shown
    assert "this goes to the log" in (tmp_path / "peer.log").read_text()


def test_the_core_is_set_before_anything_is_imported(tmp_path):
    cores = _runner._cores(1)
    np.savez(tmp_path / "problem.npz", x=X)
    made = Worker(Tool("fake", FAKE), tmp_path / "problem.npz", cores, tmp_path)
    try:
        made.start(30)
        assert made.about["pinned"] == hasattr(os, "sched_setaffinity")
    finally:
        made.stop()


def test_what_goes_wrong_is_told_and_the_worker_comes_back(worker):
    setting = {"seed": 0, "digits": 1}
    with pytest.raises(Failed, match="RuntimeError: out of luck"):
        worker.ask({"row": "raise", "setting": setting}, 30)
    with pytest.raises(Failed, match="ended with code 3, see"):
        worker.ask({"row": "crash", "setting": setting}, 30)
    worker.start(30)
    with pytest.raises(Failed, match="took more than 0 s"):
        worker.ask({"row": "sleep", "setting": setting}, 0.2)
    answer = worker.ask({"row": "double", "setting": setting, "repeats": 2}, 30)
    assert set(answer) == {"wall", "cpu"}


def test_the_peak_of_a_call_is_measured_above_what_is_there(worker):
    request = {"row": "allocate", "setting": {"megabytes": 30}}
    worker.ask(request, 30)  # an earlier call, as large, does not count
    peak = worker.ask(request | {"peak": True}, 30)["peak"]
    if peak is None:
        pytest.skip("this system keeps no mark of the peak")
    assert 55e6 < peak < 75e6  # ones, and ones plus one
    request["setting"] = {"megabytes": 1}
    assert worker.ask(request | {"peak": True}, 30)["peak"] < 10e6


def test_memory_is_in_the_table_where_a_benchmark_asks_for_it(tmp_path):
    row = Row("allocate", "memory", lambda *_: Verdict(True, "fine"))
    asking = benchmark(rows=(row,), peers=(), memory=True)
    cores = _runner._cores(1)
    text = _runner.run(asking, [row], [], 1, tmp_path, "again", cores)
    record = json.loads((tmp_path / "times.json").read_text())
    (entry,) = record["rows"]["allocate"]
    shown = "-" if entry["peak"] is None else f"{entry['peak'] / 1e6:.0f}"
    assert f"| fine | {shown} |" in text
    assert "| peak MB | jaxdl / best peer |" in text
    assert "stops by itself" not in text  # nobody has a tolerance


def test_the_truth_is_kept_while_the_problem_is_the_same(tmp_path, capsys):
    row = Row("double", "twice", judge, seeds=2)
    cores = _runner._cores(1)
    for values, fresh in ((X, True), (X, False), (X + 1, True)):
        asking = benchmark(rows=(row,), peers=(), problem=lambda x=values: {"x": x})
        _runner.run(asking, [row], [], 1, tmp_path, "again", cores)
        assert ("reference in float64" in capsys.readouterr().err) == fresh
        with np.load(tmp_path / "truth.npz") as found:
            np.testing.assert_array_equal(found["doubled"], 2 * values)


def test_a_slow_call_is_not_made_again(tmp_path):
    entry = Entry(Tool("slow", ""), "", {}, tried=11.0)
    row = Row("x", "title", judge)
    time_in_turns([entry], {}, row, 3, 1.0, lambda _: None)  # there is no worker
    assert entry.seconds == [11.0]
    assert (
        ratio(entry, Entry(Tool("quick", ""), "", {}, seconds=[1.0, 2.0, 4.0])) == 5.5
    )


def test_on_more_cores_the_clock_counts(tmp_path):
    assert Worker(Tool("fake", FAKE), tmp_path, [0, 1], tmp_path).clock == "wall"
    assert Worker(Tool("fake", FAKE), tmp_path, [0], tmp_path).clock == "cpu"
    with pytest.raises(Failed, match="--cores 9999: this process may use"):
        _runner._cores(9999)


def test_floors_and_summaries_are_shown():
    row = Row("x", "title", judge)
    entry = Entry(Tool("jaxdl", ""), "", {}, seconds=[1.0])
    text = _table.table("jaxdl", [(row, [entry])], {"x": _table.Floor(0.5, "2 flops")})
    assert "| title | (floor) |  | 500 |  | 2 flops | |\n|  | jaxdl |" in text


def test_a_subject_that_does_not_start_is_an_error(tmp_path, capsys):
    broken = benchmark(subject=Tool("jaxdl", "benchmarks.not_there"))
    assert _runner.main(broken, ["--out", str(tmp_path)]) == 2
    assert "No module named 'benchmarks.not_there'" in capsys.readouterr().err


def test_ratios_are_of_the_same_round():
    tool, peer = Tool("jaxdl", ""), Tool("peer", "")
    ours = Entry(tool, "", {}, seconds=[1.0, 8.0, 3.0])
    theirs = Entry(peer, "", {}, seconds=[2.0, 16.0, 4.0])
    assert ratio(ours, theirs) == 0.5
    slow = Entry(peer, "slow", {}, seconds=[9.0, 9.0, 9.0])
    assert _table.best_peer("jaxdl", [ours, slow, theirs]) is theirs
    row = Row("x", "title", judge, target=0.6)
    text = _table.table("jaxdl", [(row, [slow, theirs, ours])])
    assert "| title | jaxdl |  | 3000 | 1000 |  | **0.50** (target 0.6) |" in text
    stops = Entry(peer, "stops", {"tol": 0.1}, seconds=[2.0, 16.0, 6.0])
    text = _table.table("jaxdl", [(row, [theirs, ours, stops])])
    assert "| **0.50** (target 0.6) | **0.50** (target 0.6) |" in text
    missed = _table.table("jaxdl", [(Row("x", "t", judge, target=0.4), [theirs, ours])])
    assert "| 0.50 (target 0.4) |" in missed


def test_text_goes_between_the_markers(tmp_path):
    path = tmp_path / "README.md"
    path.write_text("a\n<!-- x -->\nold\n<!-- /x -->\nb\n")
    _table.insert(path, "x", "new")
    assert path.read_text() == "a\n<!-- x -->\n\nnew\n\n<!-- /x -->\nb\n"
    with pytest.raises(ValueError, match="must have the lines <!-- y -->"):
        _table.insert(path, "y", "new")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--rows", "hvp,speed"], "no row 'speed'; there are hvp, eigenpairs, trace"),
        (["--peers", "numpy"], "no peer 'numpy'; there are jax, jax-linearize"),
        (["--peers", ","], "names no peer"),
        (["--rounds", "0"], "must be a positive integer, got '0'"),
        (["--peers", "jax", "--no-peers"], "not allowed with"),
    ],
)
def test_a_wrong_word_is_refused_and_the_right_ones_are_named(words, message, capsys):
    with pytest.raises(SystemExit) as refusal:
        _runner.parse(BENCHMARK, words)
    assert refusal.value.code == 2
    assert message in capsys.readouterr().err


def test_no_peers_needs_no_other_environment():
    assert _runner.parse(BENCHMARK, ["--no-peers"]).peers == ["jax", "jax-linearize"]
