"""The look of all figures, and how a figure becomes bytes that are the same each time it is drawn."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any

import matplotlib as mpl
import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

from knobs.report.figures.svg import shrink_svg

WIDTH = 3.35
"""Width of a figure in inches: a column of a paper."""

INK, MUTED, GRID = "#222222", "#6b6b6b", "#dcdcdc"
"""Colours of text and axes, of remarks, of the grid. No data has them, so a dark page can replace them."""

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6d31", "#7a7a7a")
"""Okabe and Ito's colours, which colour-blind readers can distinguish, without yellow (it vanishes on white)."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")

HEAT = "cividis"

STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 7,
    "axes.labelsize": 7,
    "axes.titlesize": 7,
    "axes.linewidth": 0.6,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "grid.color": GRID,
    "grid.linewidth": 0.5,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.minor.size": 1.5,
    "ytick.minor.size": 1.5,
    "text.color": INK,
    "legend.fontsize": 6.5,
    "legend.frameon": False,
    "legend.handlelength": 1.6,
    "legend.columnspacing": 1.2,
    "legend.borderaxespad": 0.2,
    "lines.linewidth": 1.3,
    "lines.markersize": 3.6,
    "figure.dpi": 100,
    "savefig.dpi": 300,
    "svg.fonttype": "path",
    "path.simplify": False,
    "text.parse_math": False,
}


def new_figure(height: float, width: float = WIDTH) -> Figure:
    """Return an empty figure of this size in inches. Call this only in functions that `figure_files` calls."""
    return Figure(figsize=(width, height), layout="constrained")


def figure_files(draw: Callable[[], Figure], name: str, *, png: bool) -> dict[str, bytes]:
    """Return `figures/<name>.svg`, and `.png` if wanted. They hold no date and no version; ids depend on the name."""
    files: dict[str, bytes] = {}
    with warnings.catch_warnings(), mpl.style.context(["default", {**STYLE, "svg.hashsalt": name}]):
        warnings.simplefilter("ignore")  # a name may have letters that the font lacks
        made = draw()
        for kind, blank in (("svg", ("Date", "Creator", "Format", "Type")), ("png", ("Software",))):
            if kind == "svg" or png:
                out = io.BytesIO()
                made.savefig(out, format=kind, metadata=dict.fromkeys(blank), facecolor="white")
                drawn = out.getvalue()
                files[f"figures/{name}.{kind}"] = shrink_svg(drawn) if kind == "svg" else drawn
    return files


def metric_label(metric: str) -> str:
    """Return a metric in words: `test accuracy` for `test/accuracy`."""
    split, _, name = metric.rpartition("/")
    words = {"val": "validation", "train": "training", "derived": ""}
    return f"{words.get(split, split).replace('/', ' ')} {name.replace('_', ' ')}".strip()


def is_geometric(levels: Sequence[float]) -> bool:
    """Return whether levels are more evenly spaced on a log axis than on a linear one."""
    if len(levels) < 3 or min(levels) <= 0:
        return False

    def unevenness(positions: Iterable[float]) -> float:
        gaps = np.abs(np.array([b - a for a, b in pairwise(positions)]))
        return float(gaps.std() / gaps.mean()) if gaps.mean() else 0.0

    return unevenness(math.log(x) for x in levels) < unevenness(levels)


def spans_decades(values: Sequence[float]) -> bool:
    """Return whether a log axis shows these values better than a linear one."""
    return bool(values) and min(values) > 0 and max(values) / min(values) > 30


def set_level_axis(axes: Axes, positions: Sequence[float], names: Sequence[str]) -> None:
    """Make the x axis one of levels that are numbers: a tick per level, log if the levels are geometric."""
    if is_geometric(positions):
        axes.set_xscale("log")
        margin = (max(positions) / min(positions)) ** 0.07
        axes.set_xlim(min(positions) / margin, max(positions) * margin)
    axes.xaxis.set_major_locator(FixedLocator(list(positions)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(list(positions), list(names))


MOST_DIGITS = 24
"""Characters of all tick labels together that fit below a panel of half a column."""


def set_log_ticks(axis: Axis, low: float, high: float) -> None:
    """Set plain numbers as ticks: powers of ten; on a short axis also 2 and 5, or 3, times them, if they fit."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    apart = max(1, (last - first) // 6)  # no more than seven or so
    decades = range(first, last + 1, apart)
    ticks: list[float] = []
    for steps in ((1, 2, 5), (1, 3), (1,)) if math.log10(high / low) < 1.7 else ((1,),):
        ticks = [tick for d in decades for s in steps if low * 0.999 <= (tick := s * 10.0**d) <= high * 1.001]
        if sum(len(f"{tick:g}") for tick in ticks) <= MOST_DIGITS:
            break
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    between = [s * 10.0**d for d in decades for s in range(2, 10)] if apart == 1 else []
    axis.set_minor_locator(FixedLocator(between))
    axis.set_minor_formatter(NullFormatter())


def set_log_if_wide(axes: Axes, values: Sequence[float]) -> None:
    """Make the y axis a log axis if the values span decades. A few values may be 0; the axis leaves them out."""
    above = [value for value in values if value > 0]
    if len(above) > 0.9 * len(values) and spans_decades(above):
        values = above
        axes.set_yscale("log")
        set_log_ticks(axes.yaxis, min(values), max(values))


def level_colours(count: int) -> list[Any]:
    """Return colours for ordered levels, from dark to light. All are visible on black and on white."""
    ramp = mpl.colormaps["viridis"]
    return [ramp(0.3 + 0.47 * (i / max(1, count - 1))) for i in range(count)]


def marker_spacing(points: Sequence[object]) -> int:
    """Return how many points apart markers are, so that a line has about ten."""
    return max(1, len(points) // 10)


def short_name(text: str, most: int = 28) -> str:
    """Return a name on one line, cut after `most` letters to fit into a figure."""
    line = "".join(c for c in " ".join(text.split()) if c.isprintable())
    return line if len(line) <= most else line[: most - 1] + "…"


def draw_legend(made: Figure, panels: Iterable[Axes], title: str = "", columns: int = 4) -> None:
    """Draw a legend above the figure that holds every label of the panels once."""
    found: dict[str, Any] = {}
    for axes in panels:
        for handle, text in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(text, handle)
    handles, labels = list(found.values()), list(found)
    if len(labels) > 1 or title:
        widest = max(len(text) for text in labels)
        fit = max(1, min(columns, len(labels), 52 // (widest + 6)))
        made.legend(handles, labels, title=title or None, title_fontsize=6.5, loc="outside upper center", ncols=fit)
