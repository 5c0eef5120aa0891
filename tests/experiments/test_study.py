import subprocess
import sys
import time
from pathlib import Path

import pytest

from experiments import _study

ROOT = Path(__file__).parent.parent.parent


def test_reads_what_the_file_says(folder):
    assert _study.names() == ["coin"]
    assert _study.find("coin") == _study.Study(
        name="coin",
        path=folder / "coin.py",
        demo=True,
        title="Averages of coin tosses",
        claim="The mean of many tosses is near one half.",
        source="Bernoulli (1713), https://example.org/ars",
        run="python -m experiments coin",
        time="quick 1 second, full 2 seconds.",
        expected="Both claims hold.",
    )


def test_files_with_an_underscore_are_no_studies(folder):
    (folder / "_part.py").write_text("")
    (folder / "coin.txt").write_text("")
    assert _study.names() == ["coin"]


@pytest.mark.parametrize("label", ["Claim", "Source", "Run", "Time", "Expected"])
def test_rejects_a_docstring_that_lacks_a_paragraph(folder, text, label):
    (folder / "coin.py").write_text(text.replace(f"{label}:", "Also"))
    with pytest.raises(ValueError, match=rf"coin\.py: .* paragraph .* '{label}:'"):
        _study.find("coin")


@pytest.mark.parametrize("demo", ["", "DEMO = 1", "DEMO = bool(1)", "DEMO: bool"])
def test_rejects_a_demo_that_cannot_be_read(folder, text, demo):
    (folder / "coin.py").write_text(text.replace("DEMO = True", demo))
    with pytest.raises(ValueError, match=r"coin\.py: .* DEMO = True or DEMO = False"):
        _study.find("coin")


def test_demo_may_be_annotated(folder, text):
    (folder / "coin.py").write_text(text.replace("DEMO =", "DEMO: bool ="))
    assert _study.find("coin").demo is True


def test_rejects_a_file_without_docstring_and_a_name_that_means_a_group(folder):
    (folder / "bare.py").write_text("DEMO = True\n")
    with pytest.raises(ValueError, match="needs a docstring"):
        _study.find("bare")
    (folder / "demo.py").write_text("")
    with pytest.raises(ValueError, match="cannot be named 'demo'"):
        _study.find("demo")


def test_suggests_the_nearest_name(folder):
    del folder
    with pytest.raises(ValueError, match="unknown study 'coim'; did you mean coin"):
        _study.find("coim")
    with pytest.raises(ValueError, match="unknown study 'xyz'; there are coin, demo"):
        _study.find("xyz")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("def check(", "def _check(", "lacks check"),
        ("@dataclass(frozen=True)\nclass Config", "@dataclass\nclass Config", "frozen"),
        ("    seed: int = 0\n", "", "with a seed"),
        ('"full":', '"slow":', r"PRESETS must hold a Config for each of"),
        ('"quick": Config()', '"quick": 3', r"PRESETS must hold a Config for each of"),
    ],
)
def test_rejects_a_module_that_is_no_study(folder, text, old, new, message):
    assert old in text
    (folder / "coin.py").write_text(text.replace(old, new))
    with pytest.raises(ValueError, match=message):
        _study.load(_study.find("coin"))


@pytest.mark.parametrize("words", [[], ["--help"], ["--version"], ["demo", "--help"]])
def test_listing_is_quick_and_imports_neither_jax_nor_matplotlib(words):
    code = f"""
import sys
from experiments import _cli
try:
    _cli.answer({words})
except SystemExit:
    pass
print(sorted({{"jax", "numpy", "matplotlib", "jinja2"}} & set(sys.modules)))
"""
    start = time.perf_counter()
    answer = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert answer.stdout.splitlines()[-1] == "[]"
    assert time.perf_counter() - start < 2  # 0.3 s on a quiet machine
