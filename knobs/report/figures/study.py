"""The figures of a study: its trials in order, learning curves, importances, values over knobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from knobs.record.knob_range import KnobRange
from knobs.record.recorded_study import RecordedStudy
from knobs.record.runs import RecordedRun
from knobs.record.states import StateName
from knobs.report.figures.style import (
    COLOURS,
    HEAT,
    INK,
    MARKERS,
    MUTED,
    draw_legend,
    marker_spacing,
    metric_label,
    new_figure,
    set_log_if_wide,
    set_log_ticks,
    short_name,
)
from knobs.search import Importance

FINISHED_COLOUR, PRUNED_COLOUR, LOST_COLOUR = COLOURS[0], COLOURS[4], COLOURS[1]
TOP = 4
"""The most knobs that have a slice of their own."""


def draw_history(study: RecordedStudy) -> Figure:
    """Draw every trial in order: a finished one at its value, a pruned one at its last, a lost one at the bottom."""
    made = new_figure(2.1)
    axes = made.add_subplot()
    numbers, values = _points(study.finished, study.metric)
    pruned = [t for t in study.trials if t.state == StateName.PRUNED and study.metric in t.row.metrics]
    lost = [t.row.trial for t in study.trials if t.ended and not t.finished and t.state != StateName.PRUNED]
    size = 3 if len(study.trials) <= 100 else 1.8
    if pruned:
        x = [t.row.trial for t in pruned]
        y = [t.row.metrics[study.metric] for t in pruned]
        axes.plot(x, y, "x", color=PRUNED_COLOUR, ms=size, mew=0.8, label="pruned (last value)")
    axes.plot(numbers, values, "o", color=FINISHED_COLOUR, ms=size, mew=0, alpha=0.85, label="finished")
    if values:
        best = np.maximum.accumulate(values) if study.direction == "maximize" else np.minimum.accumulate(values)
        axes.step(numbers, best, where="post", color=INK, lw=0.9, label="best so far")
    if lost:
        at = axes.get_xaxis_transform()
        axes.plot(
            lost, [0.02] * len(lost), "^", color=LOST_COLOUR, ms=3.5, mew=0, transform=at, label="diverged or failed"
        )
    every = [*values, *(t.row.metrics[study.metric] for t in pruned)]
    set_log_if_wide(axes, every)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("trial")
    axes.set_ylabel(metric_label(study.metric))
    axes.grid(axis="y")
    draw_legend(made, [axes], columns=2)
    return made


def draw_importances(found: Mapping[str, Importance]) -> Figure:
    """Draw a bar per knob, with its interval over resampled trials."""
    shown = list(found.items())[:12]
    made = new_figure(0.55 + 0.19 * len(shown))
    axes = made.add_subplot()
    for i, (_, share) in enumerate(reversed(shown)):
        axes.barh(i, share.value, height=0.6, color=FINISHED_COLOUR, alpha=0.8, lw=0)
        axes.plot([share.low, share.high], [i, i], color=INK, lw=0.9)
    axes.set_yticks(range(len(shown)), [short_name(name, 30) for name, _ in reversed(shown)])
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(0, None)
    axes.set_xlabel("importance (PED-ANOVA)")
    axes.grid(axis="x")
    return made


def draw_slices(study: RecordedStudy, knobs: Sequence[KnobRange]) -> Figure:
    """Draw every finished trial over each of these knobs. Later trials are darker; the best is ringed."""
    across = min(2, len(knobs))
    down = -(-len(knobs) // across)
    made = new_figure(0.25 + 1.45 * down)
    panels = made.subplots(down, across, sharey=True, squeeze=False).ravel()
    for axes in panels[len(knobs) :]:
        axes.remove()
    ramp, size = mpl.colormaps["viridis"], 3.2 if len(study.trials) <= 100 else 2.2
    best = study.ranked[0] if study.ranked else None
    count = max(1, len(study.trials) - 1)
    for axes, knob in zip(panels, knobs, strict=False):
        tried = [t for t in study.finished if knob.name in t.chosen]
        places = _places(knob, [t.chosen[knob.name] for t in tried])
        for t, x in zip(tried, places, strict=True):
            late = 0.77 - 0.47 * t.row.trial / count
            axes.plot(x, t.value(study.metric), "o", color=ramp(late), ms=size, mew=0, alpha=0.9)
            if t is best:
                axes.plot(x, t.value(study.metric), "o", mfc="none", mec=INK, mew=0.8, ms=6)
        _set_knob_axis(axes, knob, "x")
        axes.set_xlabel(short_name(knob.name, 26))
        axes.grid(axis="y")
        set_log_if_wide(axes, [v for t in tried if (v := t.value(study.metric)) is not None])
    made.supylabel(metric_label(study.metric), fontsize=7)
    return made


def draw_interactions(study: RecordedStudy, pairs: Sequence[tuple[KnobRange, KnobRange]]) -> Figure:
    """Draw trials over pairs of knobs, coloured by their rank: the best ones may lie in a corner or in a band."""
    across = min(2, len(pairs))
    down = -(-len(pairs) // across)
    made = new_figure(0.25 + 1.5 * down)
    panels = made.subplots(down, across, squeeze=False).ravel()
    for axes in panels[len(pairs) :]:
        axes.remove()
    values = [v for t in study.finished if (v := t.value(study.metric)) is not None]
    # ranks, not values: with values, one bad trial would give all others the same colour
    order = np.argsort(np.argsort(values)) / max(1, len(values) - 1)
    rank = {
        t.key: float(o if study.direction == "maximize" else 1 - o) for t, o in zip(study.finished, order, strict=True)
    }
    for axes, (a, b) in zip(panels, pairs, strict=False):
        tried = [t for t in study.finished if a.name in t.chosen and b.name in t.chosen]
        tried.sort(key=lambda t: rank[t.key])
        x = _places(a, [t.chosen[a.name] for t in tried])
        y = _places(b, [t.chosen[b.name] for t in tried])
        shades = [rank[t.key] for t in tried]
        axes.scatter(x, y, c=shades, cmap=HEAT, vmin=0, vmax=1, s=11, lw=0.3, edgecolors=MUTED)
        _set_knob_axis(axes, a, "x")
        _set_knob_axis(axes, b, "y")
        axes.set_xlabel(short_name(a.name, 26))
        axes.set_ylabel(short_name(b.name, 22))
    scale = mpl.cm.ScalarMappable(Normalize(0, 1), mpl.colormaps[HEAT])
    bar = made.colorbar(scale, ax=list(panels[: len(pairs)]), fraction=0.035, aspect=40, pad=0.02, ticks=[0, 1])
    bar.ax.set_yticklabels(["worst", "best"])
    bar.outline.set_visible(False)
    return made


def draw_curves(study: RecordedStudy, drawn: Sequence[tuple[str, RecordedRun]]) -> Figure:
    """Draw the learning curves of trials, each with its label."""
    made = new_figure(2.1)
    axes = made.add_subplot()
    for i, (name, trial) in enumerate(drawn):
        points = trial.curve(study.metric)
        x, y = [step for step, _ in points], [value for _, value in points]
        look: dict[str, Any] = {
            "color": COLOURS[i % len(COLOURS)],
            "marker": MARKERS[i % len(MARKERS)],
            "markevery": marker_spacing(x),
        }
        axes.plot(x, y, ms=2.6, lw=1.1, label=name, **look)
    axes.set_xlabel("optimizer step")
    axes.set_ylabel(metric_label(study.metric))
    axes.grid(axis="y")
    draw_legend(made, [axes], columns=3)
    return made


def _points(trials: Sequence[RecordedRun], metric: str) -> tuple[list[int], list[float]]:
    pairs = [(t.row.trial, value) for t in trials if (value := t.value(metric)) is not None]
    return [number for number, _ in pairs], [value for _, value in pairs]


def _places(knob: KnobRange, values: Sequence[Any]) -> list[float]:
    """Return the places of values on the axis: choices side by side, the trials of a choice spread a little."""
    if not knob.choices:
        return [float(value) for value in values]
    seen: dict[str, int] = {}
    totals = {str(v): sum(str(w) == str(v) for w in values) for v in values}
    places = []
    for value in values:
        key = str(value)
        index = seen[key] = seen.get(key, -1) + 1
        spread = 0.5 * (index / (totals[key] - 1) - 0.5) if totals[key] > 1 else 0.0
        places.append([str(c) for c in knob.choices].index(key) + spread)
    return places


def _set_knob_axis(axes: Axes, knob: KnobRange, which: str) -> None:
    axis = axes.xaxis if which == "x" else axes.yaxis
    limits = axes.set_xlim if which == "x" else axes.set_ylim
    if knob.choices:
        axis.set_ticks(list(range(len(knob.choices))), [short_name(str(c), 10) for c in knob.choices])
        limits(-0.6, len(knob.choices) - 0.4)
        if which == "x" and len(knob.choices) > 3:
            axes.tick_params(axis="x", labelsize=5.5)
        return
    if knob.log:
        (axes.set_xscale if which == "x" else axes.set_yscale)("log")
        set_log_ticks(axis, knob.low, knob.high)
        margin = float((knob.high / knob.low) ** 0.05)
        limits(knob.low / margin, knob.high * margin)
    else:
        margin = 0.05 * (knob.high - knob.low)
        limits(knob.low - margin, knob.high + margin)
