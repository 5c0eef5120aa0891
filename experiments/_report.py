"""The page of one run, and the page that lists all runs of a folder."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from experiments._findings import Finding, expected_text, measured_text
from experiments._record import write

PAGES = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


class Drawing(NamedTuple):
    """A figure as the report shows it."""

    name: str
    svg: str  # a whole SVG file, as matplotlib writes it
    caption: str
    alt: str


def report(
    record: Mapping[str, Any],
    findings: Sequence[Finding],
    drawings: Sequence[Drawing],
) -> str:
    """The self-contained page of one run.

    Args:
        record: Content of ``config.json``.
        findings: For the table above the figures.
        drawings: The figures, in order.

    Returns:
        HTML text, which needs no script and no other file.
    """
    return PAGES.get_template("report.html.jinja").render(
        record=record,
        settings=list(_settings("", record["config"])),
        findings=findings,
        verdict=verdict([finding.holds for finding in findings]),
        figures=[(drawing, *_inline(drawing)) for drawing in drawings],
    )


def write_index(folder: Path) -> Path:
    """Write ``index.html``, which lists every run under a folder.

    Runs are grouped by study, the newest first. A run that has no findings yet, or
    whose files cannot be read, is listed as such.

    Args:
        folder: Folder with runs at any depth.

    Returns:
        Absolute path of the page.
    """
    groups: dict[str, list[dict[str, Any]]] = {}
    runs = [_run(folder, path) for path in folder.rglob("config.json")]
    for run in sorted(runs, key=lambda run: run["started"], reverse=True):
        groups.setdefault(run["study"], []).append(run)
    page = PAGES.get_template("index.html.jinja").render(groups=groups)
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / "index.html", page.encode())
    return (folder / "index.html").resolve()


def verdict(holds: Sequence[bool]) -> str:
    """How many claims hold, in words.

    Examples:
        >>> verdict([True, True, False])
        '2 of 3 claims hold'
        >>> verdict([True])
        'the claim holds'
    """
    if not holds:
        return "no claims"
    if len(holds) == 1:
        return "the claim holds" if holds[0] else "the claim fails"
    return f"{sum(holds)} of {len(holds)} claims hold"


def duration(seconds: float) -> str:
    """Seconds as a reader wants them.

    Examples:
        >>> duration(4.21), duration(125), duration(7322)
        ('4.2 s', '2 min 5 s', '2 h 2 min')
    """
    if seconds < 9.95:
        return f"{seconds:.2g} s"
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def _run(folder: Path, path: Path) -> dict[str, Any]:
    """What the index says of the run with this ``config.json``."""
    here = path.parent
    place = here.relative_to(folder).as_posix()
    run: dict[str, Any] = dict.fromkeys((
        "title",
        "claim",
        "preset",
        "seed",
        "seconds",
        "holds",
        "picture",
        "report",
    ))
    run |= {"study": "unreadable", "place": place, "started": ""}
    run["state"] = "config.json cannot be read"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        names = ("study", "title", "claim", "preset", "started", "seconds")
        run |= {name: record[name] for name in names}
        run |= {"seed": record["config"]["seed"], "state": "unfinished"}
        findings = json.loads((here / "findings.json").read_text(encoding="utf-8"))
        holds = [finding["holds"] is True for finding in findings]
        if (here / "report.html").exists():
            run |= {"holds": holds, "state": verdict(holds)}
            run["report"] = f"{quote(place)}/report.html"
            for figure in record["figures"][:1]:
                link = f"{quote(place)}/{quote(figure['name'])}.png"
                run["picture"] = {"link": link, "alt": figure["alt"]}
    except (OSError, ValueError, KeyError, TypeError):
        return run  # with what could be read
    return run


def _inline(drawing: Drawing) -> tuple[Markup, float]:
    """The SVG element, with ids of its own and a title, and its width in points."""
    prefix = re.sub(r"\W", "-", drawing.name)
    svg = drawing.svg[drawing.svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\1{prefix}-", svg)
    svg = svg.replace("*{", f"#{prefix} *{{")  # its style is for this figure only
    head, body = svg.split(">", 1)
    width = re.search(r'\bwidth="([\d.]+)pt"', head)
    head = re.sub(r'\s(width|height)="[^"]*"', "", head)
    head += f' id="{prefix}" role="img" aria-labelledby="{prefix}-title"'
    title = f'<title id="{prefix}-title">{escape(drawing.alt)}</title>'
    return Markup(f"{head}>{title}{body}"), float(width[1]) if width else 0.0


def _settings(name: str, value: Any) -> Iterator[tuple[str, str]]:
    """The fields of a configuration, with dotted names."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _settings(f"{name}.{key}" if name else key, item)
    elif isinstance(value, list):
        yield name, ", ".join(map(str, value))
    else:
        yield name, str(value)


def _linked(text: str) -> Markup:
    """Text in which addresses are links."""
    one = r"\([^\s()]*\)|[^\s(),;"  # parentheses only in pairs
    parts = re.split(rf"(https?://(?:{one}])*(?:{one}.:]))", text)
    return Markup("").join(
        Markup('<a href="{0}">{1}</a>').format(part, part.split("//", 1)[1])
        if place % 2
        else part
        for place, part in enumerate(parts)
    )


def _typeset(text: str) -> str:
    """Numbers with a true minus sign, and 1e-05 as a power of ten."""
    raised = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
    times = "\N{NO-BREAK SPACE}\N{MULTIPLICATION SIGN}\N{NO-BREAK SPACE}"
    text = re.sub(
        r"(?<=\d)e([+-]\d+)",
        lambda power: f"{times}10{str(int(power[1])).translate(raised)}",
        text,
    )
    return re.sub(r"(?<!\w)-(?=\d)", "\N{MINUS SIGN}", text)


PAGES.globals["all"] = all
PAGES.filters.update(
    linked=_linked,
    duration=duration,
    expected=lambda finding: _typeset(expected_text(finding)),
    measured=lambda finding: _typeset(measured_text(finding)),
)
