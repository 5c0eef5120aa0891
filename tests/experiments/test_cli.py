import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import experiments
from experiments import _cli

ROOT = Path(__file__).parent.parent.parent


def run(capsys, *words):
    """Exit code, lines of standard output, and standard error."""
    try:
        code = _cli.answer(words)
    except SystemExit as exit:
        code = exit.code
    out, err = capsys.readouterr()
    return code, out.splitlines(), err


def config(folder):
    return json.loads((folder / "config.json").read_text())


def test_a_run_leaves_its_record_where_the_last_line_says(folder, capsys):
    results = folder.parent / "results"
    code, lines, _ = run(capsys, "coin")
    assert code == 0
    assert lines[0] == (
        "coin: quick preset, seed 0, on 1 cpu; "
        "expected time: quick 1 second, full 2 seconds."
    )
    assert lines[1].split() == ["claim", "expected", "measured"]
    heads = (np.random.default_rng(0).uniform(size=1000) < 0.5).sum()
    assert (
        " ".join(lines[2].split()) == f"holds the mean is 1/2 0.5 ± 0.1 {heads / 1000}"
    )
    assert " ".join(lines[3].split()) == f"holds heads come up ≥ 1 {heads}"
    assert lines[4].startswith("coin: 2 of 2 claims hold, ")
    assert lines[-1] == str((results / "index.html").resolve())
    assert Path(lines[-1]).exists()
    made = results / "coin" / "quick-seed0"
    assert sorted(path.name for path in made.iterdir()) == [
        *("arrays.npz", "config.json", "findings.json", "metrics.jsonl"),
        *("report.html", "tosses.png", "tosses.svg"),
    ]
    record = config(made)
    assert record["study"] == "coin"
    assert record["preset"] == "quick"
    assert record["command"] == "python -m experiments coin"
    assert record["config"]["coin"] == {"heads": 0.5}
    with np.load(made / "arrays.npz", allow_pickle=False) as arrays:
        assert arrays["tosses"].shape == (1000,)
    findings = json.loads((made / "findings.json").read_text())
    assert [finding["holds"] for finding in findings] == [True, True]


def test_flags_override_the_preset(folder, capsys):
    out = folder.parent / "mine"
    words = ["--preset", "full", "--seed", "4", "--coin.heads", "0.75"]
    code, lines, _ = run(capsys, "coin", *words, "--data", "x y", "--out", str(out))
    assert code == 0
    assert lines[-1] == str((out / "report.html").resolve())
    assert config(out)["config"] == {
        "tosses": 20000,
        "fail": "",
        "data": "x y",
        "coin": {"heads": 0.75},
        "seed": 4,
    }
    command = f"coin {' '.join(words)} --data 'x y' --out {out}"
    assert config(out)["command"] == f"python -m experiments {command}"


def test_help_shows_the_defaults_of_the_preset(folder, capsys):
    del folder
    for words, default in (((), 1000), (("--preset=full",), 20000)):
        code, lines, _ = run(capsys, "coin", *words, "--help")
        text = " ".join("\n".join(lines).replace("│", " ").split())
        assert code == 0
        assert f"--tosses INT how many tosses (default: {default})" in text
        assert "coin options" in text
        assert "The mean of many tosses is near one half." in text


def test_default_folders(folder, capsys):
    coin = folder.parent / "results" / "coin"
    run(capsys, "coin", "--seed", "7")
    assert [path.name for path in coin.iterdir()] == ["quick-seed7"]
    run(capsys, "coin", "--seed", "7", "--tosses", "99")
    (other,) = set(coin.iterdir()) - {coin / "quick-seed7"}
    assert other.name.startswith("quick-seed7-")
    assert len(other.name) == len("quick-seed7-") + 6
    run(capsys, "coin", "--seed", "7", "--tosses", "99")
    assert len(list(coin.iterdir())) == 2


def test_a_preset_that_has_changed_gets_a_new_folder(folder, text, capsys):
    coin = folder.parent / "results" / "coin"
    run(capsys, "coin")
    before = (coin / "quick-seed0" / "config.json").read_bytes()
    (folder / "coin.py").write_text(
        text.replace("tosses: int = 1000", "tosses: int = 9")
    )
    del sys.modules["experiments.coin"]
    delattr(experiments, "coin")
    code, _, _ = run(capsys, "coin")
    assert code == 0
    assert (coin / "quick-seed0" / "config.json").read_bytes() == before
    (other,) = set(coin.iterdir()) - {coin / "quick-seed0"}
    assert config(other)["config"]["tosses"] == 9


def test_strict_exits_with_1_if_a_claim_fails(folder, capsys):
    del folder
    assert run(capsys, "coin", "--strict")[0] == 0
    code, lines, _ = run(capsys, "coin", "--strict", "--coin.heads", "0.9")
    assert code == 1
    assert lines[2].startswith("FAILS  the mean is 1/2")
    assert run(capsys, "coin", "--coin.heads", "0.9")[0] == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["coim"], "error: unknown study 'coim'; did you mean coin?"),
        (["coin", "--tosses", "0"], "error: tosses must be at least 1, got 0"),
        (["coin", "--fail", "run"], "error: no such coin"),
        (["coin", "--tosses", "many"], "invalid literal for int"),
        (["coin", "--sead", "1"], "Unrecognized options: --sead"),
        (["coin", "--preset", "huge"], "huge"),
        (["demo", "--seed", "x"], "invalid literal for int"),
    ],
)
def test_wrong_words_exit_with_2_and_no_traceback(folder, capsys, words, message):
    code, lines, err = run(capsys, *words)
    assert code == 2
    assert message in err
    assert "Traceback" not in err
    assert not any("claims hold" in line for line in lines)
    runs = folder.parent / "results" / "coin"
    assert not runs.exists() or list(runs.iterdir()) == []


def test_a_folder_that_is_taken_is_refused_before_the_run(folder, capsys):
    out = folder.parent / "mine"
    run(capsys, "coin", "--out", str(out))
    code, lines, err = run(capsys, "coin", "--seed", "1", "--out", str(out))
    assert (code, lines) == (2, [])
    assert "holds a run of another configuration" in err
    assert run(capsys, "coin", "--out", str(out))[0] == 0


@pytest.mark.parametrize(
    ("fail", "error"), [("check", ValueError), ("plot", RuntimeError)]
)
def test_arrays_outlive_a_check_or_plot_that_fails(folder, capsys, fail, error):
    out = folder.parent / "mine"
    with pytest.raises(error, match=f"cannot {fail}") as caught:
        _cli.answer(["coin", "--fail", fail, "--out", str(out)])
    assert caught.value.__notes__ == [f"the result of the run is kept in {out}"]
    names = {path.name for path in out.iterdir()}
    assert {"arrays.npz", "config.json"} <= names
    assert "report.html" not in names
    assert ("findings.json" in names) is (fail == "plot")
    capsys.readouterr()


def test_interrupt_exits_with_130(folder, capsys, monkeypatch):
    results = folder.parent / "results"
    monkeypatch.setattr(sys, "argv", ["coin.py", "--fail", "interrupt"])
    with pytest.raises(SystemExit) as caught:
        _cli.main(str(folder / "coin.py"))
    assert caught.value.code == 130
    assert capsys.readouterr().err == "interrupted\n"
    assert list((results / "coin").iterdir()) == []


def test_demo_runs_the_flagships_and_all_runs_every_study(folder, text, capsys):
    (folder / "extra.py").write_text(text.replace("DEMO = True", "DEMO = False"))
    out = folder.parent / "elsewhere"
    code, lines, _ = run(capsys, "demo", "--seed", "5", "--out", str(out))
    assert code == 0
    assert lines[-1] == str((out / "index.html").resolve())
    assert [path.name for path in out.iterdir() if path.is_dir()] == ["coin"]
    assert config(out / "coin" / "quick-seed5")["command"].endswith("--seed 5")
    code, lines, _ = run(capsys, "all", "--preset", "full")
    results = folder.parent / "results"
    assert code == 0
    assert lines[-1] == str((results / "index.html").resolve())
    assert {path.parent.name for path in results.glob("*/full-seed0")} == {
        "coin",
        "extra",
    }
    page = Path(lines[-1]).read_text()
    assert "coin/full-seed0/report.html" in page
    assert "extra/full-seed0/report.html" in page


@pytest.mark.parametrize("fail", ["run", "check", "plot"])
def test_a_study_that_fails_does_not_stop_the_others(folder, text, capsys, fail):
    failing = text.replace('fail: str = ""', f'fail: str = "{fail}"')
    (folder / "a_bad_one.py").write_text(failing)
    code, lines, err = run(capsys, "demo")
    assert code == 1
    assert lines[-3] == "a_bad_one: ended in an error"
    assert lines[-2].startswith("coin: 2 of 2 claims hold")
    assert lines[-1] == str((folder.parent / "results" / "index.html").resolve())
    assert "no such coin" in err or f"cannot {fail}" in err
    assert ("Traceback" in err) is (fail != "run")


def test_demo_is_strict_if_asked(folder, text, capsys):
    (folder / "coin.py").write_text(
        text.replace("heads: float = 0.5", "heads: float = 1")
    )
    assert run(capsys, "demo")[0] == 0
    assert run(capsys, "demo", "--strict")[0] == 1


def test_overview_names_claim_and_time(folder, capsys):
    del folder
    code, lines, _ = run(capsys)
    assert code == 0
    assert "* coin: Averages of coin tosses" in lines
    assert "    The mean of many tosses is near one half." in lines
    assert "    Time: quick 1 second, full 2 seconds." in lines


def test_the_overview_says_which_study_lacks_something(folder, text, capsys):
    (folder / "coin.py").write_text(text.replace("Claim:", ""))
    code, _, err = run(capsys)
    assert code == 2
    assert "paragraph that starts with 'Claim:'" in err


@pytest.mark.parametrize(("given", "kept"), [(None, ROOT / ".jax_cache"), ("/x", "/x")])
@pytest.mark.parametrize("first", ["", "import jax"])
def test_compiled_programs_are_kept_in_the_checkout(given, kept, first):
    code = f"""
{first}
from experiments import _cli
_cli._keep_compiled_programs()
import jax
print(jax.config.jax_compilation_cache_dir)
print(jax.config.jax_persistent_cache_min_compile_time_secs)
"""
    names = ("JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS")
    environment = {k: v for k, v in os.environ.items() if k not in names}
    if given is not None:
        environment[names[0]] = given
    answer = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env=environment,
    ).stdout.split()
    assert answer == [str(kept), "0.0" if given is None else "1.0"]
