"""Figures of how an ablation's runs went: learning curves, what more tuning would have found, every trial."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from knobs import stats
from knobs.report import style
from knobs.report.panels import finish, grid_of
from knobs.report.record import AblationRecord, CellRecord
from knobs.report.space import Knob
from knobs.report.style import INK, label, short


def learning_curves(record: AblationRecord) -> Figure:
    """Mean over seeds with a band from the lowest to the highest seed."""
    made, used, by = grid_of(record)
    seen: list[float] = []
    for axes, panel in used:
        for drawn in panel.drawn:
            curves = [dict(seed.curve(record.metric)) for seed in drawn.cell.seeds if seed.finished]
            steps = sorted(set.intersection(*(set(c) for c in curves))) if curves else []
            values = np.array([[c[s] for s in steps] for c in curves]).reshape(len(curves), len(steps))
            if steps:
                axes.fill_between(steps, values.min(0), values.max(0), color=drawn.colour, alpha=0.18, lw=0)
            mean = values.mean(0) if steps else np.array([])
            seen += values.ravel().tolist()
            axes.plot(
                steps,
                mean,
                color=drawn.colour,
                marker=drawn.marker,
                ms=2.2,
                lw=1.1,
                label=drawn.name,
                markevery=style.some(steps),
            )
    for axes, _ in used if not record.maximize else ():
        style.log_if_wide(axes, seen)
    return finish(made, used, by, "optimizer step", label(record.metric))


def tuning(record: AblationRecord) -> Figure:
    """Expected best validation value of n trials; a trial without a value counts as the cell's worst."""
    made, used, by = grid_of(record)
    for axes, panel in used:
        for drawn in panel.drawn:
            values = tuned_values(drawn.cell, record)
            best = stats.expected_best(values, direction=record.told["direction"]) if values else np.array([])
            x = np.arange(1, len(best) + 1)
            axes.plot(x, best, color=drawn.colour, marker=drawn.marker, ms=2.4, lw=1.1, label=drawn.name)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
    return finish(made, used, by, "trials", f"expected best {label(record.metric)}")


def tuned_values(cell: CellRecord, record: AblationRecord) -> list[float]:
    """Validation values of a cell's ended trials; one that has none counts as the worst that was seen."""
    ended = [trial for trial in cell.trials if trial.ended]
    found = [v for t in ended if t.finished and (v := t.value(record.metric)) is not None]
    if not found:
        return []
    worst = min(found) if record.maximize else max(found)
    return found + [worst] * (len(ended) - len(found))


def nuisance(record: AblationRecord, knob: Knob) -> Figure:
    """Every trial's validation value over one tuned knob, the winner ringed; the axis is the whole space."""
    made, used, by = grid_of(record)
    for axes, panel in used:
        for drawn in panel.drawn:
            tried = [
                (t.asked[0][knob.name], value, t is drawn.cell.winner)
                for t in drawn.cell.trials
                if knob.name in t.asked[0] and (value := t.value(record.metric)) is not None
            ]
            x: list[Any] = [str(place) if knob.choices else place for place, _, _ in tried]
            y = [value for _, value, _ in tried]
            axes.plot(x, y, drawn.marker, color=drawn.colour, ms=3, mew=0, alpha=0.85, label=drawn.name)
            won = [i for i, (_, _, wins) in enumerate(tried) if wins]
            axes.plot([x[i] for i in won], [y[i] for i in won], "o", mfc="none", mec=INK, mew=0.7, ms=6, zorder=5)
        if not knob.choices:
            if knob.log:
                axes.set_xscale("log")
                style.log_axis(axes.xaxis, knob.low, knob.high)
            axes.set_xlim(*_widened(knob))
    return finish(made, used, by, short(knob.name, 40), label(record.metric))


def _widened(knob: Knob) -> tuple[float, float]:
    if knob.log:
        margin = float((knob.high / knob.low) ** 0.04)
        return knob.low / margin, knob.high * margin
    return knob.low - 0.04 * (knob.high - knob.low), knob.high + 0.04 * (knob.high - knob.low)
