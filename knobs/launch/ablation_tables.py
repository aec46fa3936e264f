"""An ablation in the terminal, from the record: its cells with intervals, and every verdict in a line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from knobs.launch.recorded_ablation import RecordedAblation, RecordedCell
from knobs.launch.session import say
from knobs.launch.tables import console, short
from knobs.numerals import metric_text, signed
from knobs.recorded import ENDED


def show(ablation: RecordedAblation) -> None:
    """The table, then the verdicts."""
    metric, factors = ablation.metrics[0], ablation.factors
    title = f"{ablation.name}: {metric}, mean and 95% interval"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name in (*factors, "mean", "95% interval", "seeds", *ablation.tuned):
        table.add_column(name, justify="left" if name in factors else "right")
    for cell in ablation.cells:
        winner = cell.seeds[0].params if cell.seeds else {}
        levels = [cell.levels.get(name, "-") for name in factors]
        knobs = [short(winner.get(name, "-")) for name in ablation.tuned]
        table.add_row(*levels, *_interval(cell, metric), _count(cell, metric), *knobs)
    console().print(table)
    for entry in ablation.verdicts:
        say(f"{entry['verdict']}: {entry['claim']}{_numbers(entry)}")


def _interval(cell: RecordedCell, metric: str) -> tuple[str, str]:
    found = cell.mean(metric)
    if found is None:
        return "-", "no run finished"
    value, low, high, doubtful = found
    if low is None or high is None:
        return metric_text(value), "-"
    return metric_text(value), f"[{metric_text(low)}, {metric_text(high)}]{' !' if doubtful else ''}"


def _count(cell: RecordedCell, metric: str) -> str:
    finished = len(cell.values(metric))
    lost = sum(seed.state in ENDED for seed in cell.seeds) - finished
    return f"{finished}" + (f" ({lost} not finished)" if lost else "")


def _numbers(verdict: Mapping[str, Any]) -> str:
    note = f" ({verdict['note']})" if verdict["note"] else ""
    if "effect" not in verdict:
        return note
    more = verdict["needed_more_seeds"]
    wanted = f"; about {more} more seeds would decide it" if more else ""
    low, high = verdict["interval"]
    effect = f"effect {signed(verdict['effect'])} [{signed(low)}, {signed(high)}]"
    return f"\n    {effect}, p {verdict['p']:.2g} (corrected), n {verdict['n']}{wanted}{note}"
