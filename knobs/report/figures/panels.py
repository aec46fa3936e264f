"""The layout of an ablation's cells in figures of many lines: the factor of the lines, the panels of the others."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from knobs.record.recorded_ablation import RecordedAblation
from knobs.record.recorded_cell import RecordedCell
from knobs.report.figures.style import COLOURS, MARKERS, draw_legend, level_colours, new_figure, short_name


@dataclass(frozen=True)
class Drawn:
    """One cell in a figure."""

    name: str
    cell: RecordedCell
    colour: Any
    marker: str


@dataclass(frozen=True)
class Panel:
    """Cells that share axes."""

    title: str
    drawn: Sequence[Drawn]


def ordered_factor(ablation: RecordedAblation) -> tuple[str, list[float]] | None:
    """Return the ordered factor with the most levels, and its levels as numbers.

    None if no factor has increasing numbers as levels, or if the design is one-at-a-time.
    """
    if ablation.definition.design != "crossed":
        return None
    ordered = [
        (factor.name, list(factor.positions))
        for factor in ablation.definition.factors
        if factor.positions and list(factor.positions) == sorted(set(factor.positions))
    ]
    return max(ordered, key=lambda one: len(one[1]), default=None)


def panels_of(ablation: RecordedAblation) -> tuple[str, list[Panel]]:
    """Return the factor that distinguishes lines, and a panel per combination of the other factors' levels.

    In a one-at-a-time design there is a panel per factor, and the factor of the lines is empty.
    """
    factors = ablation.factors
    if ablation.definition.design == "one_at_a_time":
        base = ablation.baseline.levels
        found = []
        for name in factors:
            same = [c for c in ablation.cells if all(c.levels[f] == base[f] for f in factors if f != name)]
            found.append(Panel(short_name(name), _drawn([(c.levels[name], c) for c in same], ordered=False)))
        return "", found
    ordered = ordered_factor(ablation)
    by = ordered[0] if ordered else max(factors, key=lambda name: len(factors[name]))
    others = [name for name in factors if name != by]
    found = []
    for levels in itertools.product(*(factors[name] for name in others)):
        rest = dict(zip(others, levels, strict=True))
        same = [c for c in ablation.cells if all(c.levels[n] == level for n, level in rest.items())]
        same.sort(key=lambda c: factors[by].index(c.levels[by]))
        if same:
            positions = [factors[by].index(c.levels[by]) for c in same]
            drawn = _drawn([(c.levels[by], c) for c in same], ordered is not None, positions, len(factors[by]))
            found.append(Panel(short_name(" ".join(levels)), drawn))
    return by, found


def _drawn(
    cells: Sequence[tuple[str, RecordedCell]], ordered: bool, positions: Sequence[int] = (), count: int = 0
) -> list[Drawn]:
    places = positions or range(len(cells))
    colours = level_colours(count or len(cells)) if ordered else COLOURS
    return [
        Drawn(short_name(name, 20), cell, colours[i % len(colours)], MARKERS[i % len(MARKERS)])
        for i, (name, cell) in zip(places, cells, strict=True)
    ]


def grid_of(ablation: RecordedAblation) -> tuple[Figure, list[tuple[Axes, Panel]], str]:
    """Return an empty figure, its axes with their panels (two in a row, axes shared), and the factor of the lines."""
    by, found = panels_of(ablation)
    across = min(2, len(found))
    down = -(-len(found) // across)
    made = new_figure(0.55 + (1.75 if down == 1 else 1.35 * down))
    every = made.subplots(down, across, sharex=True, sharey=True, squeeze=False).ravel()
    for axes in every[len(found) :]:
        axes.remove()
    for axes, panel in zip(every, found, strict=False):
        axes.set_title(panel.title if len(found) > 1 else "")
        axes.grid(axis="y")
    return made, list(zip(every, found, strict=False)), by


def finish_panels(made: Figure, used: Sequence[tuple[Axes, Panel]], by: str, x: str, y: str) -> Figure:
    """Add the titles `x` and `y` of the axes, and the legend, which all panels share if lines stand for factor `by`."""
    made.supxlabel(x, fontsize=7)
    made.supylabel(y, fontsize=7)
    if not by:
        for axes, _ in used:
            axes.legend(loc="best")
        return made
    draw_legend(made, [axes for axes, _ in used], short_name(by, 40), columns=6)
    return made
