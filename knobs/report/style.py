"""How every figure looks, and how it becomes bytes that are the same whenever it is drawn."""

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

from knobs.report import svg

WIDTH = 3.35
"""Inches: a column of a paper."""

INK, MUTED, GRID = "#222222", "#6b6b6b", "#dcdcdc"
"""Text and axes, remarks, grid: colours that no data has, so that a page may change them in the dark."""

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6d31", "#7a7a7a")
"""Okabe and Ito's, told apart by colour-blind readers, the yellow left out (it vanishes on white)."""

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


def figure(height: float, width: float = WIDTH) -> Figure:
    """An empty figure; only within `to_bytes`."""
    return Figure(figsize=(width, height), layout="constrained")


def to_bytes(draw: Callable[[], Figure], name: str, *, png: bool) -> dict[str, bytes]:
    """`figures/<name>.svg` and, where wanted, `.png`: no date, no version, ids that depend on the name alone."""
    files: dict[str, bytes] = {}
    with warnings.catch_warnings(), mpl.style.context(["default", {**STYLE, "svg.hashsalt": name}]):
        warnings.simplefilter("ignore")  # a name with letters that the font lacks
        made = draw()
        for kind, blank in (("svg", ("Date", "Creator", "Format", "Type")), ("png", ("Software",))):
            if kind == "svg" or png:
                out = io.BytesIO()
                made.savefig(out, format=kind, metadata=dict.fromkeys(blank), facecolor="white")
                drawn = out.getvalue()
                files[f"figures/{name}.{kind}"] = svg.smaller(drawn) if kind == "svg" else drawn
    return files


def label(metric: str) -> str:
    """`test/accuracy` -> `test accuracy`."""
    split, _, name = metric.rpartition("/")
    words = {"val": "validation", "train": "training", "derived": ""}
    return f"{words.get(split, split).replace('/', ' ')} {name.replace('_', ' ')}".strip()


def is_geometric(levels: Sequence[float]) -> bool:
    """Whether levels are more evenly spaced on a log axis than on a plain one."""
    if len(levels) < 3 or min(levels) <= 0:
        return False

    def unevenness(positions: Iterable[float]) -> float:
        gaps = np.abs(np.array([b - a for a, b in pairwise(positions)]))
        return float(gaps.std() / gaps.mean()) if gaps.mean() else 0.0

    return unevenness(math.log(x) for x in levels) < unevenness(levels)


def spans_decades(values: Sequence[float]) -> bool:
    """Whether a log axis shows these values better."""
    return bool(values) and min(values) > 0 and max(values) / min(values) > 30


def ordered_axis(axes: Axes, positions: Sequence[float], names: Sequence[str]) -> None:
    """An axis of levels that are numbers: a tick each, log where they are geometric."""
    if is_geometric(positions):
        axes.set_xscale("log")
        margin = (max(positions) / min(positions)) ** 0.07
        axes.set_xlim(min(positions) / margin, max(positions) * margin)
    axes.xaxis.set_major_locator(FixedLocator(list(positions)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(list(positions), list(names))


MOST_DIGITS = 24
"""Characters of all tick labels that fit below a panel of half a column."""


def log_axis(axis: Axis, low: float, high: float) -> None:
    """Plain numbers as ticks: powers of ten, and 2 and 5, or 3, times them where there are few and they fit."""
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


def log_if_wide(axes: Axes, values: Sequence[float]) -> None:
    """A log axis upwards where values span decades; a few that are 0 are left to lie below it."""
    above = [value for value in values if value > 0]
    if len(above) > 0.9 * len(values) and spans_decades(above):
        values = above
        axes.set_yscale("log")
        log_axis(axes.yaxis, min(values), max(values))


def shades(count: int) -> list[Any]:
    """Colours for ordered levels, from dark to light, none so dark or light that it is lost on black or white."""
    ramp = mpl.colormaps["viridis"]
    return [ramp(0.3 + 0.47 * (i / max(1, count - 1))) for i in range(count)]


def some(points: Sequence[object]) -> int:
    """Every so-many-th point gets a mark: about ten."""
    return max(1, len(points) // 10)


def short(text: str, most: int = 28) -> str:
    """A name that fits into a figure, on one line."""
    line = "".join(c for c in " ".join(text.split()) if c.isprintable())
    return line if len(line) <= most else line[: most - 1] + "…"


def legend(made: Figure, panels: Iterable[Axes], title: str = "", columns: int = 4) -> None:
    """Above the figure, in one or more rows: every label that some panel has, once."""
    found: dict[str, Any] = {}
    for axes in panels:
        for handle, text in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(text, handle)
    handles, labels = list(found.values()), list(found)
    if len(labels) > 1 or title:
        widest = max(len(text) for text in labels)
        fit = max(1, min(columns, len(labels), 52 // (widest + 6)))
        made.legend(handles, labels, title=title or None, title_fontsize=6.5, loc="outside upper center", ncols=fit)
