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
    replicated = any(trial.row.replicated for trial in trials)
    for title in ("trial", "state", study.metric, *["standard.error"] * replicated, *knobs):
        table.add_column(title.replace(".", ".\n"), justify="left" if title in ("trial", "state") else "right")
    for trial in trials:
        label = trial.key + (" *" if trial.tag(Tag.WINNER) == "true" else "")
        error = [_error(study, trial)] if replicated else []
        table.add_row(label, trial.state, _value(trial, study.metric), *error, *_knobs(trial, knobs))
    console().print(table)
    _show_confirmations(study)


def show_best_trials(study: RecordedStudy, most: int = 5) -> None:
    """Print the best trials of a study side by side, and the test metrics of the first. One must have finished."""
    best = study.ranked[:most]
    table = plain_table(f"{study.name}: the best {len(best)} trials" if len(best) > 1 else f"{study.name}: one trial")
    table.add_column("trial")
    for trial in best:
        table.add_column(trial.key, justify="right", no_wrap=True)
    table.add_row(study.metric, *(_value(trial, study.metric) for trial in best))
    if any(trial.row.replicated for trial in best):
        table.add_row("standard error", *(_error(study, trial) for trial in best))
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
    _show_confirmations(study)


def _show_confirmations(study: RecordedStudy) -> None:
    """Print the mean of each metric over the winner's fresh seeds, and how far the search's own value was from it."""
    out = console()
    for number, found in enumerate(study.confirmations):
        if not number:
            count = len(found.values)
            out.print(f"on {count} fresh seed{'s' * (count > 1)}, with 95% intervals:")
        line = f"  {found.metric} {metric_text(found.values[0])}"
        if found.mean is not None:
            low, high = metric_text(float(found.mean.low)), metric_text(float(found.mean.high))
            line = f"  {found.metric} {metric_text(float(found.mean.value))} [{low}, {high}]"
        if found.searched is not None and found.better_by is not None:
            word = "better" if found.better_by >= 0 else "worse"
            line += f"; the search's {metric_text(found.searched)} is {abs(found.better_by):.1f} sd {word}"
        out.print(line, soft_wrap=True, markup=False)


def _value(trial: RecordedRun, metric: str) -> str:
    value = trial.value(metric) if trial.finished else None
    return "-" if value is None else metric_text(value)


def _error(study: RecordedStudy, trial: RecordedRun) -> str:
    error = study.error(trial)
    return "-" if error is None else metric_text(error)


def _knobs(trial: RecordedRun, names: Sequence[str]) -> list[str]:
    return [recorded_knob_text(trial.row.params.get(name, "-")) for name in names]
