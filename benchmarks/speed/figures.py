"""The figures of `make bench`, drawn like those of reports: the same numbers give the same bytes."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.speed import growth, step_cost
from benchmarks.speed.growth_sizes import SIZES
from knobs.report.figures.style import COLOURS, INK, MUTED, WIDTH, draw_legend, figure_files, new_figure, set_log_ticks

OURS, LOOP = COLOURS[0], COLOURS[1]
SHORT = {
    "bare": "hand-written loop",
    "knobs": "knobs run",
    "seeds": f"each of {step_cost.SEEDS} seeds in a batch",
    "lightning": "Lightning, MLFlowLogger",
}


def cost_ratios(parts: Mapping[str, Any]) -> Figure:
    """Draw the cost of a step and of a study over the hand-written loop's, with range over repeats and aim."""
    made = new_figure(2.1)
    upper, lower = made.subplots(2, 1, height_ratios=[4, 3])
    if "step_cost" in parts:
        aims = {"knobs": 1.25, "seeds": 0.75}
        found = parts["step_cost"]
        rows = [(SHORT[arm], step_cost.ratios(found, arm), aims.get(arm)) for arm in step_cost.NAMES]
        _bars(upper, rows)
    upper.set_xlabel("CPU time of a step / the loop's")
    if "study_cost" in parts:
        repeats = parts["study_cost"]["repeats"]

        def to_loop(name: str) -> list[float]:
            return [taken[name][1] / taken["bare"][1] for taken in repeats if name in taken]

        names = {"bare": "loop + Optuna", "knobs 2": "knobs study", "lightning": "Lightning + Optuna"}
        _bars(lower, [(label, to_loop(name), 1.3 if name == "knobs 2" else None) for name, label in names.items()])
    lower.set_xlabel("wall time of a study / the loop's")
    return made


def _bars(axes: Axes, rows: Sequence[tuple[str, Sequence[float], float | None]]) -> None:
    for i, (name, values, aim) in enumerate(reversed(rows)):
        middle = statistics.median(values)
        colour = OURS if name.startswith(("knobs", "each")) else MUTED
        axes.barh(i, middle, height=0.6, color=colour, alpha=0.8, lw=0)
        axes.plot([min(values), max(values)], [i, i], color=INK, lw=0.9)
        axes.text(max(*values, aim or 0), i, f" {middle:.2f}", va="center", fontsize=6.5)
        if aim is not None:
            axes.plot([aim, aim], [i - 0.42, i + 0.42], color=LOOP, lw=1.1)
    axes.set_yticks(range(len(rows)), [name for name, _, _ in reversed(rows)])
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(0, 1.22 * max(max(values) for _, values, _ in rows))
    axes.grid(axis="x")


def growth_with_size(parts: Mapping[str, Any]) -> Figure:
    """Draw the CPU time of runs of growing size, of knobs and of the loop."""
    made = new_figure(3.0)
    for axes, axis in zip(made.subplots(2, 2).ravel(), SIZES, strict=True):
        runs = [run for run in parts["growth"]["sizes"] if run["axis"] == axis]
        whole = axis == "steps"
        x = [run["steps"] if whole else run["size"] for run in runs]
        ours = [run["driver"] + run["worker"] if whole else run["worker"] / run["steps"] * 1000 for run in runs]
        loop = [run["loop"] if whole else run["loop"] / run["steps"] * 1000 for run in runs]
        axes.plot(x, ours, "o-", color=OURS, ms=2.8, lw=1.1, label="knobs")
        axes.plot(x, loop, "s-", color=LOOP, ms=2.4, lw=1.1, label="hand-written loop")
        axes.set_xscale("log")
        axes.set_yscale("log")
        set_log_ticks(axes.xaxis, min(x), max(x))
        set_log_ticks(axes.yaxis, min(*ours, *loop), max(*ours, *loop))
        axes.set_xlabel(axis)
        axes.set_ylabel("CPU seconds a run" if whole else "CPU ms a step")
        axes.grid()
    draw_legend(made, [axes])
    return made


def growth_with_trials(parts: Mapping[str, Any]) -> Figure:
    """Draw the cost of a trial over trials so far and over runs in the store, and memory over trials."""
    made = new_figure(1.8, 2 * WIDTH)
    panels = made.subplots(1, 3)
    seen = [growth.Seen(**row) for row in parts["growth"]["trials"]]
    looks = {"driver": (OURS, "o-"), "worker": (LOOP, "s-")}
    stored = parts["growth"]["stored"]
    for kind, (colour, line) in looks.items():
        pairs = [(a, b) for a, b in zip(seen, seen[2:], strict=False) if b.trials >= 4]
        cost = [(getattr(b, kind) - getattr(a, kind)) / (b.trials - a.trials) * 1000 for a, b in pairs]
        panels[0].plot([b.trials for _, b in pairs], cost, line, color=colour, ms=2, lw=1.0, label=kind)
        panels[1].plot([row["runs"] for row in stored], [row[kind] for row in stored], line, color=colour, ms=3, lw=1.0)
        memory = [getattr(s, f"{kind}_mib") for s in seen]
        panels[2].plot([s.trials for s in seen], memory, line, color=colour, ms=2, lw=1.0)
    names = (("trials so far", "CPU ms of a trial"), ("runs in the store", "CPU ms of a trial"), ("trials", "MiB"))
    for axes, (x, y), last in zip(panels, names, (seen[-1].trials, stored[-1]["runs"], seen[-1].trials), strict=True):
        axes.set_xscale("log")
        set_log_ticks(axes.xaxis, 1, last)
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        axes.set_ylim(0, 1.06 * axes.get_ylim()[1])
        axes.grid(axis="y")
    draw_legend(made, panels[:1])
    return made


def steps_to_target(parts: Mapping[str, Any]) -> Figure:
    """Draw the fraction of seeds whose search has reached the target, over optimizer steps."""
    made = new_figure(1.9)
    axes = made.add_subplot()
    found = parts["steps_to_target"]
    full, seeds = found["trials"] * found["full"], found["seeds"]
    looks = {"random hit": (LOOP, "random search, its own best"), "tpe": (OURS, "TPE, median pruning")}
    for key, (colour, name) in looks.items():
        reached = sorted(seed[key] for seed in seeds if seed[key] is not None)
        part = [(i + 1) / len(seeds) for i in range(len(reached))]
        axes.step([0, *reached, full], [0, *part, part[-1]], where="post", color=colour, label=name)
    axes.axvline(full / 2, color=INK, lw=0.8, ls=(0, (3, 2)))
    axes.set_xlim(0, full)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("optimizer steps")
    axes.set_ylabel("seeds that have the target")
    axes.grid()
    draw_legend(made, [axes])
    return made


FIGURES = {
    "cost_ratios": (cost_ratios, ("step_cost", "study_cost")),
    "growth_with_size": (growth_with_size, ("growth",)),
    "growth_with_trials": (growth_with_trials, ("growth",)),
    "steps_to_target": (steps_to_target, ("steps_to_target",)),
}
"""The function that draws each figure, and the parts that it shows. It needs at least one of them."""


def draw(parts: Mapping[str, Any]) -> dict[str, bytes]:
    """Return name and bytes of every figure whose parts have numbers."""
    files: dict[str, bytes] = {}
    for name, (maker, needs) in FIGURES.items():
        if any(need in parts for need in needs):
            (drawn,) = figure_files(partial(maker, parts), f"speed-{name}", png=False).values()
            files[f"{name}.svg"] = drawn
    return files
