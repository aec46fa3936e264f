"""The figures of a study: how the search went, which knobs mattered, where the good values lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from knobs.importance import Importance
from knobs.report import style
from knobs.report.record import Ran, StudyRecord
from knobs.report.space import Knob
from knobs.report.style import COLOURS, INK, MARKERS, MUTED, figure, label, short

FINISHED, PRUNED, LOST = COLOURS[0], COLOURS[4], COLOURS[1]
TOP = 4
"""Knobs with a slice of their own."""


def history(record: StudyRecord) -> Figure:
    """Every trial in order: finished ones at their value, pruned ones at their last, diverged ones at the edge."""
    made = figure(2.1)
    axes = made.add_subplot()
    numbers, values = _points(record.finished, record.metric)
    pruned = [t for t in record.trials if t.state == "pruned" and record.metric in t.row.metrics]
    lost = [int(t.tag("trial")) for t in record.trials if t.ended and not t.finished and t.state != "pruned"]
    size = 3 if len(record.trials) <= 100 else 1.8
    if pruned:
        x = [int(t.tag("trial")) for t in pruned]
        y = [t.row.metrics[record.metric] for t in pruned]
        axes.plot(x, y, "x", color=PRUNED, ms=size, mew=0.8, label="pruned (last value)")
    axes.plot(numbers, values, "o", color=FINISHED, ms=size, mew=0, alpha=0.85, label="finished")
    if values:
        best = np.maximum.accumulate(values) if record.maximize else np.minimum.accumulate(values)
        axes.step(numbers, best, where="post", color=INK, lw=0.9, label="best so far")
    if lost:
        at = axes.get_xaxis_transform()
        axes.plot(lost, [0.02] * len(lost), "^", color=LOST, ms=3.5, mew=0, transform=at, label="diverged or failed")
    every = [*values, *(t.row.metrics[record.metric] for t in pruned)]
    style.log_if_wide(axes, every)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("trial")
    axes.set_ylabel(label(record.metric))
    axes.grid(axis="y")
    style.legend(made, [axes], columns=2)
    return made


def importances(found: Mapping[str, Importance]) -> Figure:
    """A bar a knob, with its interval over resampled trials."""
    shown = list(found.items())[:12]
    made = figure(0.55 + 0.19 * len(shown))
    axes = made.add_subplot()
    for i, (_, share) in enumerate(reversed(shown)):
        axes.barh(i, share.value, height=0.6, color=FINISHED, alpha=0.8, lw=0)
        axes.plot([share.low, share.high], [i, i], color=INK, lw=0.9)
    axes.set_yticks(range(len(shown)), [short(name, 30) for name, _ in reversed(shown)])
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(0, None)
    axes.set_xlabel("importance (PED-ANOVA)")
    axes.grid(axis="x")
    return made


def slices(record: StudyRecord, knobs: Sequence[Knob]) -> Figure:
    """Every finished trial over each of these knobs; darker is later; the best is ringed."""
    across = min(2, len(knobs))
    down = -(-len(knobs) // across)
    made = figure(0.25 + 1.45 * down)
    panels = made.subplots(down, across, sharey=True, squeeze=False).ravel()
    for axes in panels[len(knobs) :]:
        axes.remove()
    ramp, size = mpl.colormaps["viridis"], 3.2 if len(record.trials) <= 100 else 2.2
    best = record.ranked[0] if record.ranked else None
    count = max(1, len(record.trials) - 1)
    for axes, knob in zip(panels, knobs, strict=False):
        tried = [t for t in record.finished if knob.name in t.asked[0]]
        places = _places(knob, [t.asked[0][knob.name] for t in tried])
        for t, x in zip(tried, places, strict=True):
            late = 0.77 - 0.47 * int(t.tag("trial")) / count
            axes.plot(x, t.value(record.metric), "o", color=ramp(late), ms=size, mew=0, alpha=0.9)
            if t is best:
                axes.plot(x, t.value(record.metric), "o", mfc="none", mec=INK, mew=0.8, ms=6)
        _knob_axis(axes, knob, "x")
        axes.set_xlabel(short(knob.name, 26))
        axes.grid(axis="y")
        style.log_if_wide(axes, [v for t in tried if (v := t.value(record.metric)) is not None])
    made.supylabel(label(record.metric), fontsize=7)
    return made


def interactions(record: StudyRecord, pairs: Sequence[tuple[Knob, Knob]]) -> Figure:
    """Pairs of knobs, each trial coloured by its value: the best stand out in a corner, a band, or nowhere."""
    across = min(2, len(pairs))
    down = -(-len(pairs) // across)
    made = figure(0.25 + 1.5 * down)
    panels = made.subplots(down, across, squeeze=False).ravel()
    for axes in panels[len(pairs) :]:
        axes.remove()
    values = [v for t in record.finished if (v := t.value(record.metric)) is not None]
    # ranks, not values: one bad trial would leave all others in one colour
    order = np.argsort(np.argsort(values)) / max(1, len(values) - 1)
    rank = {t.key: float(o if record.maximize else 1 - o) for t, o in zip(record.finished, order, strict=True)}
    for axes, (a, b) in zip(panels, pairs, strict=False):
        tried = [t for t in record.finished if a.name in t.asked[0] and b.name in t.asked[0]]
        tried.sort(key=lambda t: rank[t.key])
        x = _places(a, [t.asked[0][a.name] for t in tried])
        y = _places(b, [t.asked[0][b.name] for t in tried])
        shades = [rank[t.key] for t in tried]
        axes.scatter(x, y, c=shades, cmap=style.HEAT, vmin=0, vmax=1, s=11, lw=0.3, edgecolors=MUTED)
        _knob_axis(axes, a, "x")
        _knob_axis(axes, b, "y")
        axes.set_xlabel(short(a.name, 26))
        axes.set_ylabel(short(b.name, 22))
    scale = mpl.cm.ScalarMappable(Normalize(0, 1), mpl.colormaps[style.HEAT])
    bar = made.colorbar(scale, ax=list(panels[: len(pairs)]), fraction=0.035, aspect=40, pad=0.02, ticks=[0, 1])
    bar.ax.set_yticklabels(["worst", "best"])
    bar.outline.set_visible(False)
    return made


def curves(record: StudyRecord, drawn: Sequence[tuple[str, Ran]]) -> Figure:
    """Learning curves of a few trials."""
    made = figure(2.1)
    axes = made.add_subplot()
    for i, (name, trial) in enumerate(drawn):
        points = trial.curve(record.metric)
        x, y = [step for step, _ in points], [value for _, value in points]
        look: dict[str, Any] = {
            "color": COLOURS[i % len(COLOURS)],
            "marker": MARKERS[i % len(MARKERS)],
            "markevery": style.some(x),
        }
        axes.plot(x, y, ms=2.6, lw=1.1, label=name, **look)
    axes.set_xlabel("optimizer step")
    axes.set_ylabel(label(record.metric))
    axes.grid(axis="y")
    style.legend(made, [axes], columns=3)
    return made


def _points(trials: Sequence[Ran], metric: str) -> tuple[list[int], list[float]]:
    pairs = [(int(t.tag("trial")), value) for t in trials if (value := t.value(metric)) is not None]
    return [number for number, _ in pairs], [value for _, value in pairs]


def _places(knob: Knob, values: Sequence[Any]) -> list[float]:
    """Where values lie on the axis: choices side by side, each choice's trials spread a little, in order."""
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


def _knob_axis(axes: Axes, knob: Knob, which: str) -> None:
    axis = axes.xaxis if which == "x" else axes.yaxis
    limits = axes.set_xlim if which == "x" else axes.set_ylim
    if knob.choices:
        axis.set_ticks(list(range(len(knob.choices))), [short(str(c), 10) for c in knob.choices])
        limits(-0.6, len(knob.choices) - 0.4)
        if which == "x" and len(knob.choices) > 3:
            axes.tick_params(axis="x", labelsize=5.5)
        return
    if knob.log:
        (axes.set_xscale if which == "x" else axes.set_yscale)("log")
        style.log_axis(axis, knob.low, knob.high)
        margin = float((knob.high / knob.low) ** 0.05)
        limits(knob.low / margin, knob.high * margin)
    else:
        margin = 0.05 * (knob.high - knob.low)
        limits(knob.low - margin, knob.high + margin)
