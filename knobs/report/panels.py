"""How an ablation's cells are laid out in figures of many lines: which factor tells lines apart, which panels."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from knobs.report import style
from knobs.report.record import AblationRecord, CellRecord
from knobs.report.style import COLOURS, MARKERS, figure, short


@dataclass(frozen=True)
class Drawn:
    """One cell in a figure."""

    name: str
    cell: CellRecord
    colour: Any
    marker: str


@dataclass(frozen=True)
class Panel:
    """Cells that share axes."""

    title: str
    drawn: Sequence[Drawn]


def ordered_factor(record: AblationRecord) -> tuple[str, list[float]] | None:
    """The factor of numbers with the most levels, and those numbers in order; none in a one-at-a-time design."""
    if record.told["design"] != "crossed":
        return None
    numeric = [f for f in record.told["factors"] if f["positions"] and f["positions"] == sorted(set(f["positions"]))]
    if not numeric:
        return None
    chosen = max(numeric, key=lambda f: len(f["levels"]))
    return chosen["name"], [float(p) for p in chosen["positions"]]


def panels(record: AblationRecord) -> tuple[str, list[Panel]]:
    """How curves are laid out: the factor that tells lines apart, and a panel a combination of the others."""
    factors = record.factors
    if record.told["design"] == "one_at_a_time":
        base = record.baseline.levels
        found = []
        for name in factors:
            same = [c for c in record.cells if all(c.levels[f] == base[f] for f in factors if f != name)]
            found.append(Panel(short(name), _drawn([(c.levels[name], c) for c in same], ordered=False)))
        return "", found
    ordered = ordered_factor(record)
    by = ordered[0] if ordered else max(factors, key=lambda name: len(factors[name]))
    others = [name for name in factors if name != by]
    found = []
    for levels in itertools.product(*(factors[name] for name in others)):
        rest = dict(zip(others, levels, strict=True))
        same = [c for c in record.cells if all(c.levels[n] == level for n, level in rest.items())]
        same.sort(key=lambda c: factors[by].index(c.levels[by]))
        if same:
            positions = [factors[by].index(c.levels[by]) for c in same]
            drawn = _drawn([(c.levels[by], c) for c in same], ordered is not None, positions, len(factors[by]))
            found.append(Panel(short(" ".join(levels)), drawn))
    return by, found


def _drawn(
    cells: Sequence[tuple[str, CellRecord]], ordered: bool, positions: Sequence[int] = (), count: int = 0
) -> list[Drawn]:
    places = positions or range(len(cells))
    colours = style.shades(count or len(cells)) if ordered else COLOURS
    return [
        Drawn(short(name, 20), cell, colours[i % len(colours)], MARKERS[i % len(MARKERS)])
        for i, (name, cell) in zip(places, cells, strict=True)
    ]


def grid_of(record: AblationRecord) -> tuple[Figure, list[tuple[Axes, Panel]], str]:
    """An empty figure with a panel for each combination, two in a row, on shared axes."""
    by, found = panels(record)
    across = min(2, len(found))
    down = -(-len(found) // across)
    made = figure(0.55 + (1.75 if down == 1 else 1.35 * down))
    every = made.subplots(down, across, sharex=True, sharey=True, squeeze=False).ravel()
    for axes in every[len(found) :]:
        axes.remove()
    for axes, panel in zip(every, found, strict=False):
        axes.set_title(panel.title if len(found) > 1 else "")
        axes.grid(axis="y")
    return made, list(zip(every, found, strict=False)), by


def finish(made: Figure, used: Sequence[tuple[Axes, Panel]], by: str, x: str, y: str) -> Figure:
    """Axis titles, and the one legend that holds for all panels."""
    made.supxlabel(x, fontsize=7)
    made.supylabel(y, fontsize=7)
    if not by:
        for axes, _ in used:
            axes.legend(loc="best")
        return made
    style.legend(made, [axes for axes, _ in used], short(by, 40), columns=6)
    return made
