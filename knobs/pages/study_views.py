"""The views of a study in MLflow's pages: its trials, and its experiment's other runs. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from knobs.pages.views import MANY_RUNS, View, metric, param, tag
from knobs.record.recorded_study import RecordedStudy
from knobs.record.runs import RecordedRun
from knobs.record.schema import Kind, Metric, MlflowTag, Tag, has_tag
from knobs.record.states import StateName
from knobs.search import rank_trials


def trials_view(study: RecordedStudy) -> View:
    """Return the view of a study's trials, the best first, as a table and as charts."""
    objective = Metric.BEST + study.metric
    rows = [trial.row for trial in study.trials]
    first = study.searched
    knobs = varying_knobs(study.trials, first) if len(rows) > 1 else tuple(first)
    finished = [row for row in rows if objective in row.metrics]
    everywhere = tuple(knob for knob in knobs if all(knob in row.params for row in finished))
    curves = tuple(dict.fromkeys((study.metric, "val/loss", Metric.TRAIN_LOSS)))
    return View(
        key="knobs-trials",
        title="Trials, best first",
        filters=f"{has_tag(MlflowTag.PARENT, study.parent.id)} and {has_tag(Tag.KIND, Kind.TRIAL)}",
        order_by=metric(objective),
        ascending=study.direction == "minimize",
        columns=(metric(objective), *map(param, knobs), tag(Tag.STATE)),
        curves=curves,
        parallel=everywhere,
        objective=objective,
        many=len(rows) > MANY_RUNS,
        folded=chart_sections({name for row in rows for name in row.metrics} - {*curves}),
    )


def replicates_view(study: RecordedStudy) -> View:
    """Return the view of a study's replicates, those of a trial below it; the trial shows their means."""
    objective = Metric.BEST + study.metric
    rows = [run.row for found in study.replicates.values() for run in found]
    knobs = varying_knobs(study.trials, study.searched) if len(study.trials) > 1 else tuple(study.searched)
    return View(
        key="knobs-replicates",
        title="Trials with their replicates",
        filters=f"{has_tag(Tag.STUDY, study.name)} and {has_tag(Tag.KIND, Kind.REPLICATE)}",
        order_by=metric(objective),
        ascending=study.direction == "minimize",
        columns=(metric(objective), tag(Tag.SEED), *map(param, knobs), tag(Tag.STATE)),
        group_by=(tag(Tag.TRIAL),),
        objective=objective,
        many=len(rows) > MANY_RUNS,
    )


def runs_view(objectives: Sequence[str]) -> View:
    """Return the view of studies, fresh seeds and single runs, newest first. `objectives` are canonical."""
    states = ("done", StateName.FINISHED, StateName.REUSED, StateName.PRUNED, StateName.DIVERGED, StateName.FAILED)
    counts = [metric(Metric.TRIALS + state) for state in states]
    tested = [name.replace(Metric.BEST + Metric.VAL, Metric.TEST) for name in objectives]
    return View(
        key="knobs-studies",
        title="Studies and single runs",
        filters=f"{tag(Tag.KIND)} != '{Kind.TRIAL}' and {tag(Tag.KIND)} != '{Kind.REPLICATE}'",
        order_by="attributes.start_time",
        columns=(*objectives, *tested, *counts, tag(Tag.STATE)),
    )


def best_and_baseline(study: RecordedStudy, count: int = 5) -> list[str]:
    """Return the ids of the best trials, the best first, and of the baseline if it is not among them."""
    objective = Metric.BEST + study.metric
    rows = {trial.row.trial: trial.row for trial in study.trials}
    values = {number: row.metrics[objective] for number, row in rows.items() if objective in row.metrics}
    chosen = rank_trials(values, study.direction)[:count]
    return [rows[number].id for number in (chosen if 0 in chosen or 0 not in rows else [*chosen, 0])]


def varying_knobs(runs: Sequence[RecordedRun], first: Sequence[str]) -> tuple[str, ...]:
    """Return the knobs that differ between runs: those in `first` in their order, then the others.

    A knob outside `first` that has one value for each kind of its part adds nothing to the kind and is left out.
    """
    rows = [run.row for run in runs]
    found = [knob for knob in first if len({row.params.get(knob) for row in rows}) > 1]
    for knob in sorted({knob for row in rows for knob in row.params} - {*first}):
        kind = f"{knob.partition('.')[0]}.kind"
        values: dict[str | None, set[str]] = {}
        for row in rows:
            if knob in row.params:
                values.setdefault(None if kind == knob else row.params.get(kind), set()).add(row.params[knob])
        if any(len(several) > 1 for several in values.values()):
            found.append(knob)
    return tuple(found)


def chart_sections(metrics: Iterable[str]) -> tuple[str, ...]:
    """Return the sections into which MLflow's page sorts the charts of these metrics: what precedes the last slash."""
    named = {"": "Model metrics", Metric.SYSTEM.rstrip("/"): "System metrics"}
    prefixes = sorted({name.rpartition("/")[0] for name in metrics})
    return tuple(named.get(prefix, prefix) for prefix in prefixes)
