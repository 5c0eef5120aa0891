import sys

from jaxdl import progress


def test_in_a_pipe_each_state_is_a_line_with_the_time_left(capsys):
    with progress.bar(4, "sweep") as bar:
        for _ in range(4):
            bar.update(1)
    shown = capsys.readouterr().err
    assert shown.startswith("sweep: 0% done")
    assert shown.splitlines()[-1].startswith("sweep: 100% done")
    assert "left" in shown
    assert "\r" not in shown


def test_rounding_does_not_carry_it_beyond_the_end(capsys):
    with progress.bar(0.3, "sweep") as bar:
        for _ in range(3):
            bar.update(0.1 + 1e-12)
    assert "-00:00" not in capsys.readouterr().err


def test_nothing_is_shown_when_not_wanted_or_without_tqdm(capsys, monkeypatch):
    with progress.bar(4, "sweep", show=False) as bar:
        bar.update(4)
    monkeypatch.setitem(sys.modules, "tqdm", None)
    with progress.bar(4, "sweep") as bar:
        bar.update(4)
    assert capsys.readouterr().err == ""
