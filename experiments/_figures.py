"""How the figures of all studies look: sizes, type, lines, colors."""

from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import matplotlib as mpl
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.typing import ColorType
from numpy.typing import ArrayLike

BLUE, ORANGE, GREEN, VERMILLION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PURPLE, SKY, BLACK, GRAY = "#CC79A7", "#56B4E9", "#000000", "#7F7F7F"
PALETTE = (BLUE, VERMILLION, GREEN, ORANGE, PURPLE, SKY, BLACK)
"""Okabe and Ito's colors, which the color-blind tell apart too (yellow left out)."""

STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": cycler(color=PALETTE),
    "lines.linewidth": 1.4,
    "lines.markersize": 4,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "savefig.facecolor": "white",
    "svg.fonttype": "path",  # the same on every screen, whatever fonts it has
    "svg.hashsalt": "jaxdl",  # the same file from the same figure
}


class Plot(NamedTuple):
    """One figure of a study, and what is said of it."""

    figure: Figure
    caption: str  # below the figure
    alt: str  # for who cannot see it: what it shows, in a sentence or two


def style() -> AbstractContextManager[None]:
    """Draw in the house style inside this context.

    A study's ``plot`` is called inside it.

    Returns:
        A context manager.

    Examples:
        >>> with style():
        ...     mpl.rcParams["font.size"]
        9.0
    """
    return mpl.rc_context(STYLE)


def figure(
    rows: int = 1,
    columns: int = 1,
    *,
    width: float | None = None,
    height: float | None = None,
    **subplots: Any,
) -> tuple[Figure, Any]:
    """A figure in the house style, with axes.

    Args:
        rows: Rows of axes.
        columns: Columns of axes.
        width: Inches; by default 4.8 for one column of axes and 7.2 for more, which
            fill a text column and a page.
        height: Inches; by default 3.1 for each row, or 2.6 beside other axes.
        **subplots: As in ``Figure.subplots``: ``sharex``, ``squeeze`` and so on.

    Returns:
        The figure and its axes: one, or an array as from ``Figure.subplots``.

    Examples:
        >>> drawing, axes = figure(1, 2, sharey=True)
        >>> drawing.get_size_inches().tolist(), axes.shape
        ([7.2, 2.6], (2,))
    """
    width = width or (4.8 if columns == 1 else 7.2)
    height = height or rows * (3.1 if columns == 1 else 2.6)
    with style():
        drawing = Figure(figsize=(width, height), layout="constrained")
        return drawing, drawing.subplots(rows, columns, **subplots)


def band(
    axes: Axes,
    x: ArrayLike,
    low: ArrayLike,
    mid: ArrayLike,
    high: ArrayLike,
    *,
    label: str | None = None,
    color: ColorType | None = None,
    **line: Any,
) -> None:
    """Draw a line with a band around it, as a median between two quantiles.

    Args:
        axes: Where to draw.
        x: ``(n,)`` abscissae.
        low: ``(n,)`` lower edge of the band.
        mid: ``(n,)`` the line.
        high: ``(n,)`` upper edge.
        label: For the legend.
        color: Of both; by default the axes' next color.
        **line: As in ``Axes.plot``: ``marker``, ``linestyle`` and so on.

    Examples:
        >>> drawing, axes = figure()
        >>> band(axes, [1, 2], [0, 1], [1, 2], [2, 3], label="risk")
        >>> len(axes.lines), len(axes.collections)
        (1, 1)
    """
    (drawn,) = axes.plot(x, mid, label=label, color=color, **line)
    axes.fill_between(
        x, low, high, color=drawn.get_color(), alpha=0.2, linewidth=0, zorder=1
    )
