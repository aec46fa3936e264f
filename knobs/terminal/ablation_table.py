"""An ablation in the terminal: its cells with intervals, and one line per verdict."""

from __future__ import annotations

from knobs.numbers import metric_text, p_text, recorded_knob_text, signed_text
from knobs.record.recorded_ablation import RecordedAblation
from knobs.record.recorded_cell import RecordedCell
from knobs.record.verdicts import RecordedVerdict
from knobs.terminal.say import say
from knobs.terminal.tables import console, plain_table


def show_ablation(ablation: RecordedAblation) -> None:
    """Print a table of the cells, then the verdicts."""
    metric, factors = ablation.metrics[0], ablation.factors
    table = plain_table(f"{ablation.name}: {metric}, mean and 95% interval")
    unit = f"{ablation.definition.unit}s"
    for name in (*factors, "mean", "95% interval", unit, *ablation.tuned):
        table.add_column(name, justify="left" if name in factors else "right")
    for cell in ablation.cells:
        levels = [cell.levels.get(name, "-") for name in factors]
        knobs = [_tuned_text(cell, name) for name in ablation.tuned]
        table.add_row(*levels, *_mean_and_interval(cell, metric), _count(cell, metric), *knobs)
    console().print(table)
    if ablation.verdicts and ablation.verdicts[0].look > 1:
        say(f"look {ablation.verdicts[0].look} at the claims: runs were added or replaced after a decision, so the")
        say("level of the tests does not hold; a fresh ablation with a planned number of repetitions decides")
    for verdict in ablation.verdicts:
        say(f"{verdict.verdict}: {verdict.claim}{_test_result(verdict)}")


def _mean_and_interval(cell: RecordedCell, metric: str) -> tuple[str, str]:
    mean, values = cell.mean(metric), list(cell.values(metric).values())
    if mean is not None:
        interval = f"[{metric_text(float(mean.low))}, {metric_text(float(mean.high))}]"
        return metric_text(float(mean.value)), interval + (" !" if str(mean.doubt) else "")
    return (metric_text(values[0]), "-") if values else ("-", "no run finished")


def _count(cell: RecordedCell, metric: str) -> str:
    return f"{len(cell.values(metric))}" + (f" ({cell.lost} not finished)" if cell.lost else "")


def _tuned_text(cell: RecordedCell, knob: str) -> str:
    """Return the values of a tuned knob in the winners: one, or the lowest and the highest."""
    texts = list(dict.fromkeys(seed.row.params.get(knob, "-") for seed in cell.seeds))
    if len(texts) < 2:
        return recorded_knob_text(texts[0]) if texts else "-"
    try:
        ordered = sorted(texts, key=float)
    except ValueError:
        return ", ".join(map(recorded_knob_text, texts))
    return f"{recorded_knob_text(ordered[0])} to {recorded_knob_text(ordered[-1])}"


def _test_result(verdict: RecordedVerdict) -> str:
    note = f" ({verdict.note})" if verdict.note else ""
    if verdict.effect is None or verdict.interval is None or verdict.p is None:
        return note
    low, high = verdict.interval
    effect = f"effect {signed_text(verdict.effect)} [{signed_text(low)}, {signed_text(high)}]"
    return f"\n    {effect}, p {p_text(verdict.p)} (corrected), n {verdict.n}{note}"
