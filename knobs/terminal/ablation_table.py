"""An ablation in the terminal: its cells with intervals, and one line per verdict."""

from __future__ import annotations

from knobs.numbers import metric_text, p_text, recorded_knob_text, signed_text
from knobs.record.recorded_ablation import RecordedAblation, RecordedCell
from knobs.record.verdicts import RecordedVerdict
from knobs.terminal.say import say
from knobs.terminal.tables import console, plain_table


def show_ablation(ablation: RecordedAblation) -> None:
    """Print a table of the cells, then the verdicts."""
    metric, factors = ablation.metrics[0], ablation.factors
    table = plain_table(f"{ablation.name}: {metric}, mean and 95% interval")
    for name in (*factors, "mean", "95% interval", "seeds", *ablation.tuned):
        table.add_column(name, justify="left" if name in factors else "right")
    for cell in ablation.cells:
        winner = cell.seeds[0].row.params if cell.seeds else {}
        levels = [cell.levels.get(name, "-") for name in factors]
        knobs = [recorded_knob_text(winner.get(name, "-")) for name in ablation.tuned]
        table.add_row(*levels, *_mean_and_interval(cell, metric), _seed_count(cell, metric), *knobs)
    console().print(table)
    if ablation.verdicts and ablation.verdicts[0].look > 1:
        say(f"look {ablation.verdicts[0].look} at the claims: seeds were added or replaced after a decision, so the")
        say("level of the tests does not hold; a fresh ablation with a planned number of seeds decides")
    for verdict in ablation.verdicts:
        say(f"{verdict.verdict}: {verdict.claim}{_test_result(verdict)}")


def _mean_and_interval(cell: RecordedCell, metric: str) -> tuple[str, str]:
    mean, values = cell.mean(metric), list(cell.values(metric).values())
    if mean is not None:
        interval = f"[{metric_text(float(mean.low))}, {metric_text(float(mean.high))}]"
        return metric_text(float(mean.value)), interval + (" !" if str(mean.doubt) else "")
    return (metric_text(values[0]), "-") if values else ("-", "no run finished")


def _seed_count(cell: RecordedCell, metric: str) -> str:
    finished = len(cell.values(metric))
    lost = sum(seed.ended for seed in cell.seeds) - finished
    return f"{finished}" + (f" ({lost} not finished)" if lost else "")


def _test_result(verdict: RecordedVerdict) -> str:
    note = f" ({verdict.note})" if verdict.note else ""
    if verdict.effect is None or verdict.interval is None or verdict.p is None:
        return note
    low, high = verdict.interval
    effect = f"effect {signed_text(verdict.effect)} [{signed_text(low)}, {signed_text(high)}]"
    return f"\n    {effect}, p {p_text(verdict.p)} (corrected), n {verdict.n}{note}"
