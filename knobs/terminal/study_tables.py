"""A study's trials in the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from knobs.numbers import metric_text, recorded_knob_text
from knobs.record.recorded_study import RecordedStudy
from knobs.record.runs import RecordedRun
from knobs.record.schema import Tag
from knobs.terminal.tables import console, plain_table


def show_trials(study: RecordedStudy) -> None:
    """Print all trials of a study, the best first and those without a value last. A star marks the winner."""
    ranked = {trial.key: trial for trial in study.ranked}
    trials = list((ranked | {trial.key: trial for trial in study.trials}).values())
    knobs = study.spaces.names(trial.row for trial in study.trials)
    table = plain_table(f"{study.name}: {len(trials)} trials, {study.parent.state}")
    for title in ("trial", "state", study.metric, *knobs):
        table.add_column(title.replace(".", ".\n"), justify="left" if title in ("trial", "state") else "right")
    for trial in trials:
        label = trial.key + (" *" if trial.tag(Tag.WINNER) == "true" else "")
        table.add_row(label, trial.state, _value(trial, study.metric), *_knobs(trial, knobs))
    console().print(table)


def show_best_trials(study: RecordedStudy, most: int = 5) -> None:
    """Print the best trials of a study side by side, and the test metrics of the first. One must have finished."""
    best = study.ranked[:most]
    table = plain_table(f"{study.name}: the best {len(best)} trials" if len(best) > 1 else f"{study.name}: one trial")
    table.add_column("trial")
    for trial in best:
        table.add_column(trial.key, justify="right", no_wrap=True)
    table.add_row(study.metric, *(_value(trial, study.metric) for trial in best))
    names = study.spaces.names(trial.row for trial in best)
    columns = [_knobs(trial, names) for trial in best]
    for name, *values in zip(names, *columns, strict=True):
        table.add_row(name, *values)
    out = console()
    out.print(table)
    winner = best[0]
    tested = "  ".join(f"{name} {metric_text(value)}" for name, value in winner.tested.items())
    out.print(f"best: {winner.key}, run {winner.row.id}")
    out.print(f"  {study.metric} {_value(winner, study.metric)}  {tested}", soft_wrap=True)


def _value(trial: RecordedRun, metric: str) -> str:
    value = trial.value(metric) if trial.finished else None
    return "-" if value is None else metric_text(value)


def _knobs(trial: RecordedRun, names: Sequence[str]) -> list[str]:
    return [recorded_knob_text(trial.row.params.get(name, "-")) for name in names]
