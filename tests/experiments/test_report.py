import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from experiments import _record
from experiments._environment import environment
from experiments._figures import Plot, figure
from experiments._findings import at_least, close
from experiments._report import Drawing, duration, report, verdict, write_index

VOID = {"meta", "img", "br"}
RECORD = {
    "study": "coin",
    "title": "Averages of <coin> tosses",
    "claim": "The mean & the spread.",
    "source": "Bernoulli (1713), https://example.org/ars_(book).",
    "expected": "All hold.",
    "preset": "quick",
    "config": {"seed": 3, "coin": {"heads": [0.5, 0.1]}},
    "command": "python -m experiments coin --seed 3",
    "started": "2020-01-02T03:04:05+00:00",
    "seconds": 75.2,
}


class Page(HTMLParser):
    """Tags with their attributes, and the visible text, in order."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.text = [], [], ""
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.text += " "
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        self.text += " "

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += data

    def find(self, name):
        return [attributes for tag, attributes in self.tags if tag == name]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    plots = {}
    for name in ("error", "a spread"):
        drawing, axes = figure(width=2, height=1.5)
        axes.plot([1, 2], [1, 4], "o-", label="line")
        axes.legend()
        plots[name] = Plot(drawing, f"Caption of <{name}>.", f'Alt "of" <{name}>.')
    drawings = [
        Drawing(name, svg, plots[name].caption, plots[name].alt)
        for name, svg in _record.write_figures(folder, {}, plots).items()
    ]
    labels = {
        "kind": "closed form",
        "source": "https://arxiv.org/abs/1812.11118",
    }
    findings = [
        close("it <is> -2", measured=-2.1, expected=-2, tolerance=0.5, **labels),
        at_least("it grows", measured=3e-7, low=1, unit="s", note="odd", **labels),
        close("it is", measured=np.nan, expected=1, tolerance=1, **labels),
    ]
    return report(RECORD | environment(), findings, drawings)


def test_the_page_needs_no_other_file_and_no_script(page):
    tags = Page(page).tags
    assert not {"script", "link", "img", "iframe", "object"} & {tag for tag, _ in tags}
    for tag, attributes in tags:
        for name in ("href", "xlink:href", "src"):
            if tag != "a" and name in attributes:
                assert attributes[name].startswith("#")
    assert "@import" not in page
    assert not re.findall(r"url\((?!#)", page)


def test_ids_are_unique_and_references_within_a_figure_hold(page):
    ids = re.findall(r'\bid="([^"]*)"', page)
    assert len(ids) == len(set(ids))
    references = re.findall(r'(?:href="#|url\(#|labelledby=")([^")]*)', page)
    assert len(references) > 4
    assert set(references) <= set(ids)


def test_figures_have_text_alternatives_and_no_fixed_size(page):
    figures = [a for a in Page(page).find("svg") if a.get("role") == "img"]
    assert [a["aria-labelledby"] for a in figures] == ["error-title", "a-spread-title"]
    assert all("width" not in a and "viewbox" in a for a in figures)
    assert "<title" in page
    assert "Alt &#34;of&#34; &lt;a spread&gt;." in page
    assert "Caption of <a spread>." in Page(page).text


def test_words_are_escaped(page):
    assert "it &lt;is&gt; -2" in page
    assert "Averages of &lt;coin&gt; tosses" in page
    assert "The mean &amp; the spread." in page


def test_findings_stand_above_the_figures_with_verdicts_in_words(page):
    assert page.index("</table>") < page.index("<figure>")
    text = " ".join(Page(page).text.split())
    assert "✗ 1 of 3 claims hold" in text
    assert "it <is> -2 arxiv.org/abs/1812.11118" in text
    for words in (
        "\N{MINUS SIGN}2 ± 0.5 \N{MINUS SIGN}2.1 ✓ holds",
        "≥ 1 s 3 \N{MULTIPLICATION SIGN} 10⁻⁷ s ✗ fails",
        "1 ± 1 nan ✗ fails",
        "Note: odd",
        "1 min 15 s on 1 cpu",
        "coin.heads 0.5, 0.1",
        "python -m experiments coin --seed 3",
    ):
        assert words in text


def test_addresses_are_links_without_the_full_stop(page):
    links = [a["href"] for a in Page(page).find("a")]
    assert links[0] == "https://example.org/ars_(book)"
    assert links[1:] == ["https://arxiv.org/abs/1812.11118"] * 3


@pytest.mark.parametrize(
    ("git", "words"),
    [
        (None, "no revision is known"),
        ({"revision": "abc", "dirty": True}, "revision abc with changes"),
        ({"revision": "abc", "dirty": False}, "git checkout abc"),
    ],
)
def test_the_revision_is_told(git, words):
    assert words in report(RECORD | environment() | {"git": git}, [], [])


def test_verdicts():
    assert verdict([]) == "no claims"
    assert verdict([False]) == "the claim fails"
    assert verdict([True, False]) == "1 of 2 claims hold"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0012, "0.0012 s"), (9.96, "10 s"), (59.6, "1 min 0 s"), (3599.8, "1 h 0 min")],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


@pytest.fixture
def results(tmp_path):
    """A folder of three finished runs, an unfinished one and two broken ones."""

    def record(place, started, holds, **changes):
        folder = tmp_path / place
        folder.mkdir(parents=True)
        figures = [{"name": "a b", "caption": "", "alt": "Alt <x>."}]
        config = RECORD | {"started": started, "figures": figures} | changes
        (folder / "config.json").write_text(json.dumps(config))
        if holds is not None:
            (folder / "findings.json").write_text(
                json.dumps([{"holds": hold} for hold in holds])
            )
            (folder / "report.html").write_text("")
        return folder

    record("coin/old", "2020-01-01T00:00:00+00:00", [True, True])
    record("coin/deep/new run", "2020-03-01T00:00:00+00:00", [True, False])
    record("dice", "2020-02-01T00:00:00+00:00", [True], study="dice", title="Dice")
    record("coin/half", "2020-02-02T00:00:00+00:00", None)
    (record("coin/odd", "2020-01-05T00:00:00+00:00", []) / "findings.json").write_text(
        '[{"holds": true},'
    )
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/config.json").write_text("{")
    return tmp_path


def test_the_index_lists_every_run_newest_first(results):
    path = write_index(results)
    assert path == (results / "index.html").resolve()
    text = " ".join(Page(path.read_text()).text.split())
    places = [
        "coin/deep/new run",
        "coin/half",
        "coin/odd",
        "coin/old",
        "dice",
        "broken",
    ]
    assert sorted(places, key=text.index) == places
    for words in (
        "✗ 1 of 2 claims hold 2020-03-01 00:00 UTC, 1 min 15 s coin/deep/new run",
        "✗ unfinished 2020-02-02 00:00 UTC, 1 min 15 s coin/half",
        "✗ unfinished 2020-01-05 00:00 UTC, 1 min 15 s coin/odd",
        "✓ 2 of 2 claims hold 2020-01-01 00:00 UTC, 1 min 15 s coin/old",
        "✓ the claim holds",
        "broken ✗ config.json cannot be read",
    ):
        assert words in text


def test_the_index_links_reports_and_thumbnails(results):
    page = Page(write_index(results).read_text())
    links = {a["href"] for a in page.find("a")}
    assert links == {
        f"{p}/report.html" for p in ("coin/deep/new%20run", "coin/old", "dice")
    }
    pictures = {(a["src"], a["alt"]) for a in page.find("img")}
    assert ("coin/deep/new%20run/a%20b.png", "Alt <x>.") in pictures
    assert len(pictures) == 3


def test_the_index_of_a_folder_that_is_not_there_is_empty(tmp_path):
    path = write_index(tmp_path / "results")
    assert Page(path.read_text()).find("article") == []
