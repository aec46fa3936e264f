"""The figures of an ablation, chosen for its question."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from knobs.report import style
from knobs.report.cells import CellNumbers
from knobs.report.panels import ordered_factor
from knobs.report.record import AblationRecord
from knobs.report.style import COLOURS, MARKERS, MUTED, figure, label, short

MOST_LINES = 8


def main(record: AblationRecord, rows: Sequence[CellNumbers]) -> Figure:
    """Lines with bands over an ordered factor where there is one, else intervals, a row a cell."""
    ordered = ordered_factor(record)
    combinations = len(record.cells) // max(1, len(record.factors[ordered[0]])) if ordered else 0
    if ordered and combinations <= MOST_LINES:
        return _lines(record, rows, *ordered)
    return _intervals(record, rows)


def _lines(record: AblationRecord, rows: Sequence[CellNumbers], by: str, positions: Sequence[float]) -> Figure:
    made = figure(2.3)
    axes = made.add_subplot()
    factors = record.factors
    others = [name for name in factors if name != by]
    groups: dict[str, list[CellNumbers]] = {}
    for row in rows:
        groups.setdefault(" ".join(row.cell.levels[n] for n in others), []).append(row)
    style.ordered_axis(axes, positions, factors[by])
    log = axes.get_xscale() == "log"
    for i, (name, members) in enumerate(groups.items()):
        colour, marker = COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]
        spots = []
        for row in members:
            place = _beside(positions, factors[by].index(row.cell.levels[by]), i - (len(groups) - 1) / 2, log)
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
        axes.plot(x, [m.value for _, m in spots], color=colour, marker=marker, label=short(name) or None, zorder=4)
    axes.set_xlabel(short(by, 50) + (" (log)" if log else ""))
    axes.set_ylabel(label(record.shown))
    axes.grid(axis="y")
    style.log_if_wide(axes, [v for cell in record.cells for v in cell.values(record.shown).values()])
    _references(axes, record, vertical=False)
    style.legend(made, axes)
    return made


def _beside(positions: Sequence[float], index: int, aside: float, log: bool) -> float:
    """A level's place on the axis, moved aside a little so that lines do not hide each other's marks."""
    if log:
        return float(positions[index] * (max(positions) / min(positions)) ** (0.008 * aside))
    return positions[index] + 0.008 * aside * (max(positions) - min(positions))


def _intervals(record: AblationRecord, rows: Sequence[CellNumbers]) -> Figure:
    made = figure(0.75 + 0.2 * len(rows))
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
    _references(axes, record, vertical=True)
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


def _references(axes: Axes, record: AblationRecord, *, vertical: bool) -> None:
    for line in record.references:
        if line.metric != record.shown:
            continue
        (axes.axvline if vertical else axes.axhline)(line.value, color=MUTED, lw=0.8, ls=(0, (1, 1.5)), zorder=1)
        name = short(line.name, 34)
        look: dict[str, Any] = {"textcoords": "offset points", "va": "bottom", "color": MUTED, "fontsize": 6}
        if vertical:
            across = axes.get_xaxis_transform()
            axes.annotate(name, (line.value, 1.0), xycoords=across, xytext=(1.5, 1), rotation=30, ha="left", **look)
        else:
            across = axes.get_yaxis_transform()
            axes.annotate(name, (1.0, line.value), xycoords=across, xytext=(0, 1.5), ha="right", **look)
