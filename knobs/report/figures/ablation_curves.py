"""Figures of an ablation's runs: learning curves, the gain from more trials, every trial over a tuned knob."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from knobs import stats
from knobs.record.knob_range import KnobRange
from knobs.record.recorded_ablation import RecordedAblation
from knobs.report.ablation.cells import tuned_values
from knobs.report.figures.panels import finish_panels, grid_of
from knobs.report.figures.style import INK, marker_spacing, metric_label, set_log_if_wide, set_log_ticks, short_name


def draw_learning_curves(ablation: RecordedAblation) -> Figure:
    """Draw means over seeds, with bands from the lowest to the highest seed."""
    made, used, by = grid_of(ablation)
    seen: list[float] = []
    for axes, panel in used:
        for drawn in panel.drawn:
            curves = [dict(seed.curve(ablation.metric)) for seed in drawn.cell.seeds if seed.finished]
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
                markevery=marker_spacing(steps),
            )
    for axes, _ in used if ablation.direction == "minimize" else ():
        set_log_if_wide(axes, seen)
    return finish_panels(made, used, by, "optimizer step", metric_label(ablation.metric))


def draw_tuning(ablation: RecordedAblation) -> Figure:
    """Draw the median of the best validation value of n trials, by cell, with bands that hold for all n together."""
    made, used, by = grid_of(ablation)
    for axes, panel in used:
        for drawn in panel.drawn:
            values = tuned_values(drawn.cell, ablation)
            if not values:
                continue
            most = min(len(values), ablation.definition.trials)
            line, low, high = stats.median_best(values, most, direction=ablation.direction)
            x = np.arange(1, most + 1)
            ends = np.clip(low, min(values), None), np.clip(high, None, max(values))
            axes.fill_between(x, *ends, color=drawn.colour, alpha=0.15, lw=0)
            axes.plot(x, line, color=drawn.colour, marker=drawn.marker, ms=2.4, lw=1.1, label=drawn.name)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
    return finish_panels(made, used, by, "trials", f"median best {metric_label(ablation.metric)}")


def draw_nuisance(ablation: RecordedAblation, knob: KnobRange) -> Figure:
    """Draw every trial's validation value over one tuned knob, the winner ringed. The axis is the whole range."""
    made, used, by = grid_of(ablation)
    for axes, panel in used:
        for drawn in panel.drawn:
            tried = [
                (t.chosen[knob.name], value, t is drawn.cell.winners.get(t.row.repetition))
                for t in drawn.cell.trials
                if knob.name in t.chosen and (value := t.value(ablation.metric)) is not None
            ]
            x: list[Any] = [str(place) if knob.choices else place for place, _, _ in tried]
            y = [value for _, value, _ in tried]
            axes.plot(x, y, drawn.marker, color=drawn.colour, ms=3, mew=0, alpha=0.85, label=drawn.name)
            won = [i for i, (_, _, wins) in enumerate(tried) if wins]
            axes.plot([x[i] for i in won], [y[i] for i in won], "o", mfc="none", mec=INK, mew=0.7, ms=6, zorder=5)
        if not knob.choices:
            if knob.log:
                axes.set_xscale("log")
                set_log_ticks(axes.xaxis, knob.low, knob.high)
            axes.set_xlim(*_with_margins(knob))
    return finish_panels(made, used, by, short_name(knob.name, 40), metric_label(ablation.metric))


def _with_margins(knob: KnobRange) -> tuple[float, float]:
    if knob.log:
        margin = float((knob.high / knob.low) ** 0.04)
        return knob.low / margin, knob.high * margin
    return knob.low - 0.04 * (knob.high - knob.low), knob.high + 0.04 * (knob.high - knob.low)
