"""The figures of an ablation, chosen for its question."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from knobs.report import style
from knobs.report.cells import CellNumbers
from knobs.report.panels import ordered_factor
from knobs.report.record import AblationRecord, Line
from knobs.report.style import COLOURS, MARKERS, MUTED, figure, label, short

MOST_LINES = 8
CLOSE = 0.06
"""Part of an axis within which two labels would overlap."""

ROW = 7.5
"""Points from a label's row to the next."""

DOTTED = (0, (1, 1.5))
SMALL: dict[str, Any] = {"textcoords": "offset points", "va": "bottom", "color": MUTED, "fontsize": 6}


def main(record: AblationRecord, rows: Sequence[CellNumbers]) -> Figure:
    """Lines with bands over an ordered factor where there is one, else intervals, a row a cell."""
    ordered = ordered_factor(record)
    if ordered is None:
        return _intervals(record, rows)
    others = [name for name in record.factors if name != ordered[0]]
    apart = ""
    if math.prod(len(record.factors[name]) for name in others) > MOST_LINES:  # a panel a level of the smallest factor
        apart = min(others, key=lambda name: len(record.factors[name]))
    return _lines(record, rows, *ordered, [name for name in others if name != apart], apart)


def _lines(
    record: AblationRecord,
    rows: Sequence[CellNumbers],
    by: str,
    positions: Sequence[float],
    lines: Sequence[str],
    apart: str,
) -> Figure:
    """Over factor `by`: a line a combination of the factors `lines`, a panel a level of `apart` where there is one."""
    panels = record.factors[apart] if apart else [""]
    across = min(3, len(panels))
    down = -(-len(panels) // across)
    made = figure(2.3 if down == 1 else 0.6 + 1.5 * down)
    every = made.subplots(down, across, sharex=True, sharey=True, squeeze=False).ravel()
    values = [value for cell in record.cells for value in cell.values(record.shown).values()]
    names = list(dict.fromkeys(" ".join(row.cell.levels[name] for name in lines) for row in rows))
    for axes, level in zip(every, panels, strict=False):
        here = [row for row in rows if not apart or row.cell.levels[apart] == level]
        style.ordered_axis(axes, positions, record.factors[by])
        for i, name in enumerate(names):
            members = [row for row in here if " ".join(row.cell.levels[n] for n in lines) == name]
            aside = i - (len(names) - 1) / 2
            _line(axes, record, members, by, positions, aside, (COLOURS[i % 8], MARKERS[i % 8]), short(name))
        axes.set_title(short(level, 24))
        axes.grid(axis="y")
        style.log_if_wide(axes, values)
        _references(axes, record, named=not apart)
    for axes in every[len(panels) :]:
        axes.remove()
    x = short(by, 50) + (" (log)" if every[0].get_xscale() == "log" else "")
    if apart:
        made.supxlabel(x, fontsize=7)
        made.supylabel(label(record.shown), fontsize=7)
    else:
        every[0].set_xlabel(x)
        every[0].set_ylabel(label(record.shown))
    style.legend(made, every[: len(panels)])
    return made


def _line(
    axes: Axes,
    record: AblationRecord,
    members: Sequence[CellNumbers],
    by: str,
    positions: Sequence[float],
    aside: float,
    look: tuple[str, str],
    name: str,
) -> None:
    """Means with their band, and every seed."""
    colour, marker = look
    spots = []
    for row in members:
        index = record.factors[by].index(row.cell.levels[by])
        place = _beside(positions, index, aside, axes.get_xscale() == "log")
        if row.mean is None:
            continue
        spots.append((place, row.mean))
        seeds = list(row.cell.values(record.shown).values())
        axes.plot([place] * len(seeds), seeds, "o", color=colour, ms=1.8, alpha=0.45, mew=0, zorder=3)
    spots.sort(key=lambda spot: spot[0])
    x = [place for place, _ in spots]
    low = [m.value if m.low is None else m.low for _, m in spots]
    high = [m.value if m.high is None else m.high for _, m in spots]
    axes.fill_between(x, low, high, color=colour, alpha=0.15, lw=0)
    axes.plot(x, [m.value for _, m in spots], color=colour, marker=marker, label=name or None, zorder=4)


def _beside(positions: Sequence[float], index: int, aside: float, log: bool) -> float:
    """A level's place on the axis, moved aside a little so that lines do not hide each other's marks."""
    if log:
        return float(positions[index] * (max(positions) / min(positions)) ** (0.008 * aside))
    return positions[index] + 0.008 * aside * (max(positions) - min(positions))


def _intervals(record: AblationRecord, rows: Sequence[CellNumbers]) -> Figure:
    made = figure(0.75 + 0.2 * len(rows) + ROW / 72 * len(_cited(record)))
    axes = made.add_subplot()
    first = next(iter(record.factors))
    levels = record.factors[first]
    for i, row in enumerate(rows):
        place = len(rows) - 1 - i
        colour = COLOURS[levels.index(row.cell.levels[first]) % len(COLOURS)] if len(record.factors) > 1 else COLOURS[0]
        if row.mean is None:
            axes.text(0.5, place, "no run finished", color=MUTED, va="center", transform=axes.get_yaxis_transform())
            continue
        seeds = list(row.cell.values(record.shown).values())
        axes.plot(seeds, [place - 0.22] * len(seeds), "|", color=colour, ms=3.2, alpha=0.6, mew=0.6)
        if row.mean.low is not None and row.mean.high is not None:
            axes.plot([row.mean.low, row.mean.high], [place, place], color=colour, lw=2.2, alpha=0.45)
        axes.plot([row.mean.value], [place], "o", color=colour)
    base = next(row.mean for row in rows if row.cell is record.baseline)
    if base is not None:
        axes.axvline(base.value, color=MUTED, lw=0.6, ls=(0, (3, 2)), zorder=0)
    names = [short(r.cell.name, 30) + (" (baseline)" if r.cell is record.baseline else "") for r in rows]
    axes.set_yticks(range(len(rows)), names[::-1])
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(label(record.shown))
    axes.grid(axis="x")
    _upright_references(axes, record)
    return made


def heat_factors(record: AblationRecord) -> tuple[str, str] | None:
    """The two crossed factors of a heat map, where there are two with at least three levels each."""
    factors = record.factors
    if record.told["design"] != "crossed" or len(factors) != 2 or min(map(len, factors.values())) < 3:
        return None
    down, across = factors
    return down, across


def heat(record: AblationRecord, rows: Sequence[CellNumbers], down: str, across: str) -> Figure:
    """Means of two crossed factors at a glance."""
    names = record.factors[down], record.factors[across]
    grid = np.full((len(names[0]), len(names[1])), np.nan)
    for row in rows:
        if row.mean is not None:
            grid[names[0].index(row.cell.levels[down]), names[1].index(row.cell.levels[across])] = row.mean.value
    made = figure(0.75 + 0.3 * len(names[0]))
    axes = made.add_subplot()
    shown = axes.pcolormesh(grid, cmap=style.HEAT, edgecolors="white", linewidth=1.0)
    low, high = np.nanmin(grid), np.nanmax(grid)
    for (i, j), value in np.ndenumerate(grid):
        text = "-" if np.isnan(value) else f"{value:.3f}" if abs(value) >= 0.01 else f"{value:.2g}"
        bright = not np.isnan(value) and high > low and (value - low) / (high - low) > 0.55
        colour = MUTED if np.isnan(value) else "#000000" if bright else "#ffffff"
        axes.text(j + 0.5, i + 0.5, text, ha="center", va="center", color=colour, fontsize=6.5)
    axes.set_xticks(np.arange(len(names[1])) + 0.5, [short(n, 14) for n in names[1]])
    axes.set_yticks(np.arange(len(names[0])) + 0.5, [short(n, 18) for n in names[0]])
    axes.invert_yaxis()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel(short(across, 40))
    axes.set_ylabel(short(down, 24))
    bar = made.colorbar(shown, ax=axes, fraction=0.05, pad=0.02)
    bar.outline.set_visible(False)
    bar.set_label(label(record.shown))
    return made


def _cited(record: AblationRecord) -> list[Line]:
    """References in the figure's metric, the lowest first."""
    return sorted((line for line in record.references if line.metric == record.shown), key=lambda line: line.value)


def _references(axes: Axes, record: AblationRecord, *, named: bool = True) -> None:
    """Dotted lines across; those that lie close together share a label."""
    lines = _cited(record)
    for line in lines:
        axes.axhline(line.value, color=MUTED, lw=0.8, ls=DOTTED, zorder=1)
    low, high = axes.get_ylim()
    groups: list[list[Line]] = []
    for line in lines if named else ():
        near = groups and line.value - groups[-1][-1].value < CLOSE * (high - low)
        groups[-1].append(line) if near else groups.append([line])
    for group in groups:
        name = short(", ".join(line.name for line in group), 34 if len(group) == 1 else 48)
        place: dict[str, Any] = {"xycoords": axes.get_yaxis_transform(), "xytext": (0, 1.5), "ha": "right"}
        axes.annotate(name, (1.0, group[-1].value), **place, **SMALL)


def _upright_references(axes: Axes, record: AblationRecord) -> None:
    """Dotted lines down, each with its name in a row of its own above: towards the middle, the outermost on top."""
    lines = _cited(record)
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
        axes.annotate(short(line.name, 34), (line.value, 1.0), **place, ha=ha, arrowprops=leader, **SMALL)
