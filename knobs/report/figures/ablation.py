"""The figures of an ablation's results; its factors decide which kinds there are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from knobs.numbers import heat_map_text
from knobs.record.recorded_ablation import RecordedAblation, RecordedReference
from knobs.report.ablation.cells import CellNumbers
from knobs.report.figures.panels import ordered_factor
from knobs.report.figures.style import (
    COLOURS,
    HEAT,
    MARKERS,
    MUTED,
    draw_legend,
    metric_label,
    new_figure,
    set_level_axis,
    set_log_if_wide,
    short_name,
)

MOST_LINES = 8
CLOSE = 0.06
"""Share of an axis within which two labels would overlap."""

ROW = 7.5
"""Points from one row of labels to the next."""

DOTTED = (0, (1, 1.5))
SMALL: dict[str, Any] = {"textcoords": "offset points", "va": "bottom", "color": MUTED, "fontsize": 6}


def draw_main(ablation: RecordedAblation, rows: Sequence[CellNumbers]) -> Figure:
    """Draw lines with bands over an ordered factor, or if there is none, an interval per cell in rows."""
    ordered = ordered_factor(ablation)
    if ordered is None:
        return _draw_intervals(ablation, rows)
    others = [name for name in ablation.factors if name != ordered[0]]
    apart = ""
    if (
        math.prod(len(ablation.factors[name]) for name in others) > MOST_LINES
    ):  # one panel per level of the smallest factor
        apart = min(others, key=lambda name: len(ablation.factors[name]))
    return _draw_lines(ablation, rows, *ordered, [name for name in others if name != apart], apart)


def _draw_lines(
    ablation: RecordedAblation,
    rows: Sequence[CellNumbers],
    by: str,
    positions: Sequence[float],
    lines: Sequence[str],
    apart: str,
) -> Figure:
    """Draw a line per combination of the factors `lines` over factor `by`, in a panel per level of `apart` if given."""
    panels = ablation.factors[apart] if apart else [""]
    across = min(3, len(panels))
    down = -(-len(panels) // across)
    made = new_figure(2.3 if down == 1 else 0.6 + 1.5 * down)
    every = made.subplots(down, across, sharex=True, sharey=True, squeeze=False).ravel()
    values = [value for cell in ablation.cells for value in cell.values(ablation.shown).values()]
    names = list(dict.fromkeys(" ".join(row.cell.levels[name] for name in lines) for row in rows))
    for axes, level in zip(every, panels, strict=False):
        here = [row for row in rows if not apart or row.cell.levels[apart] == level]
        set_level_axis(axes, positions, ablation.factors[by])
        for i, name in enumerate(names):
            members = [row for row in here if " ".join(row.cell.levels[n] for n in lines) == name]
            aside = i - (len(names) - 1) / 2
            _draw_line(
                axes, ablation, members, by, positions, aside, (COLOURS[i % 8], MARKERS[i % 8]), short_name(name)
            )
        axes.set_title(short_name(level, 24))
        axes.grid(axis="y")
        set_log_if_wide(axes, values)
        _draw_references(axes, ablation, named=not apart)
    for axes in every[len(panels) :]:
        axes.remove()
    x = short_name(by, 50) + (" (log)" if every[0].get_xscale() == "log" else "")
    if apart:
        made.supxlabel(x, fontsize=7)
        made.supylabel(metric_label(ablation.shown), fontsize=7)
    else:
        every[0].set_xlabel(x)
        every[0].set_ylabel(metric_label(ablation.shown))
    draw_legend(made, every[: len(panels)])
    return made


def _draw_line(
    axes: Axes,
    ablation: RecordedAblation,
    members: Sequence[CellNumbers],
    by: str,
    positions: Sequence[float],
    aside: float,
    look: tuple[str, str],
    name: str,
) -> None:
    """Draw a line of means with its band, and every seed."""
    colour, marker = look
    spots = []
    for row in members:
        index = ablation.factors[by].index(row.cell.levels[by])
        place = _place_beside(positions, index, aside, axes.get_xscale() == "log")
        if row.mean is None:
            continue
        spots.append((place, row.mean))
        seeds = list(row.cell.values(ablation.shown).values())
        axes.plot([place] * len(seeds), seeds, "o", color=colour, ms=1.8, alpha=0.45, mew=0, zorder=3)
    spots.sort(key=lambda spot: spot[0])
    x = [place for place, _ in spots]
    low = [m.value if m.low is None else m.low for _, m in spots]
    high = [m.value if m.high is None else m.high for _, m in spots]
    axes.fill_between(x, low, high, color=colour, alpha=0.15, lw=0)
    axes.plot(x, [m.value for _, m in spots], color=colour, marker=marker, label=name or None, zorder=4)


def _place_beside(positions: Sequence[float], index: int, aside: float, log: bool) -> float:
    """Return a level's place on the axis, moved aside a little so that lines do not hide each other's marks."""
    if log:
        return float(positions[index] * (max(positions) / min(positions)) ** (0.008 * aside))
    return positions[index] + 0.008 * aside * (max(positions) - min(positions))


def _draw_intervals(ablation: RecordedAblation, rows: Sequence[CellNumbers]) -> Figure:
    made = new_figure(0.75 + 0.2 * len(rows) + ROW / 72 * len(_drawn_references(ablation)))
    axes = made.add_subplot()
    first = next(iter(ablation.factors))
    levels = ablation.factors[first]
    for i, row in enumerate(rows):
        place = len(rows) - 1 - i
        colour = (
            COLOURS[levels.index(row.cell.levels[first]) % len(COLOURS)] if len(ablation.factors) > 1 else COLOURS[0]
        )
        if row.mean is None:
            axes.text(0.5, place, "no run finished", color=MUTED, va="center", transform=axes.get_yaxis_transform())
            continue
        seeds = list(row.cell.values(ablation.shown).values())
        axes.plot(seeds, [place - 0.22] * len(seeds), "|", color=colour, ms=3.2, alpha=0.6, mew=0.6)
        if row.mean.low is not None and row.mean.high is not None:
            axes.plot([row.mean.low, row.mean.high], [place, place], color=colour, lw=2.2, alpha=0.45)
        axes.plot([row.mean.value], [place], "o", color=colour)
    base = next(row.mean for row in rows if row.cell is ablation.baseline)
    if base is not None:
        axes.axvline(base.value, color=MUTED, lw=0.6, ls=(0, (3, 2)), zorder=0)
    names = [short_name(r.cell.name, 30) + (" (baseline)" if r.cell is ablation.baseline else "") for r in rows]
    axes.set_yticks(range(len(rows)), names[::-1])
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(metric_label(ablation.shown))
    axes.grid(axis="x")
    _draw_upright_references(axes, ablation)
    return made


def heat_factors(ablation: RecordedAblation) -> tuple[str, str] | None:
    """Return the factors of a heat map: two crossed factors with at least three levels each; None if there are none."""
    factors = ablation.factors
    if ablation.definition.design != "crossed" or len(factors) != 2 or min(map(len, factors.values())) < 3:
        return None
    down, across = factors
    return down, across


def draw_heat(ablation: RecordedAblation, rows: Sequence[CellNumbers], down: str, across: str) -> Figure:
    """Draw the means over two crossed factors as a heat map."""
    names = ablation.factors[down], ablation.factors[across]
    grid = np.full((len(names[0]), len(names[1])), np.nan)
    for row in rows:
        if row.mean is not None:
            grid[names[0].index(row.cell.levels[down]), names[1].index(row.cell.levels[across])] = row.mean.value
    made = new_figure(0.75 + 0.3 * len(names[0]))
    axes = made.add_subplot()
    shown = axes.pcolormesh(grid, cmap=HEAT, edgecolors="white", linewidth=1.0)
    low, high = np.nanmin(grid), np.nanmax(grid)
    for (i, j), value in np.ndenumerate(grid):
        text = "-" if np.isnan(value) else heat_map_text(value)
        bright = not np.isnan(value) and high > low and (value - low) / (high - low) > 0.55
        colour = MUTED if np.isnan(value) else "#000000" if bright else "#ffffff"
        axes.text(j + 0.5, i + 0.5, text, ha="center", va="center", color=colour, fontsize=6.5)
    axes.set_xticks(np.arange(len(names[1])) + 0.5, [short_name(n, 14) for n in names[1]])
    axes.set_yticks(np.arange(len(names[0])) + 0.5, [short_name(n, 18) for n in names[0]])
    axes.invert_yaxis()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel(short_name(across, 40))
    axes.set_ylabel(short_name(down, 24))
    bar = made.colorbar(shown, ax=axes, fraction=0.05, pad=0.02)
    bar.outline.set_visible(False)
    bar.set_label(metric_label(ablation.shown))
    return made


def _drawn_references(ablation: RecordedAblation) -> list[RecordedReference]:
    """Return the references in the figure's metric, the lowest first."""
    return sorted((line for line in ablation.references if line.metric == ablation.shown), key=lambda line: line.value)


def _draw_references(axes: Axes, ablation: RecordedAblation, *, named: bool = True) -> None:
    """Draw references as dotted horizontal lines. Lines that lie close together share a label."""
    lines = _drawn_references(ablation)
    for line in lines:
        axes.axhline(line.value, color=MUTED, lw=0.8, ls=DOTTED, zorder=1)
    low, high = axes.get_ylim()
    groups: list[list[RecordedReference]] = []
    for line in lines if named else ():
        near = groups and line.value - groups[-1][-1].value < CLOSE * (high - low)
        groups[-1].append(line) if near else groups.append([line])
    for group in groups:
        name = short_name(", ".join(line.name for line in group), 34 if len(group) == 1 else 48)
        place: dict[str, Any] = {"xycoords": axes.get_yaxis_transform(), "xytext": (0, 1.5), "ha": "right"}
        axes.annotate(name, (1.0, group[-1].value), **place, **SMALL)


def _draw_upright_references(axes: Axes, ablation: RecordedAblation) -> None:
    """Draw references as dotted vertical lines. Each name has a row of its own above, the outermost on top."""
    lines = _drawn_references(ablation)
    for line in lines:
        axes.axvline(line.value, color=MUTED, lw=0.8, ls=DOTTED, zorder=1)
    middle = sum(axes.get_xlim()) / 2
    left = [line for line in lines if line.value <= middle]
    for row, line in enumerate([*lines[len(left) :], *reversed(left)]):
        side = 0 if line in left else 1
        leader: dict[str, Any] = {
            "arrowstyle": "-",
            "lw": 0.5,
            "color": MUTED,
            "shrinkA": 0,
            "shrinkB": 0,
            "relpos": (side, 0),
        }
        place: dict[str, Any] = {"xycoords": axes.get_xaxis_transform(), "xytext": (2 - 4 * side, 1.5 + ROW * row)}
        ha = "right" if side else "left"
        axes.annotate(short_name(line.name, 34), (line.value, 1.0), **place, ha=ha, arrowprops=leader, **SMALL)
