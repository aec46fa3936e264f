"""The MLflow run of a trial with replicates: it trains nothing itself; its values are means over the runs below it."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Mapping, Sequence

from knobs.config import RunConfig
from knobs.launch.plans.trial_in_training import TrialInTraining
from knobs.numbers import metric_text
from knobs.pages.descriptions import note_tags, paragraphs
from knobs.provenance import short_hash
from knobs.record.curves import Curves, read_curves
from knobs.record.queries import newest_by_number
from knobs.record.runs import config_json
from knobs.record.schema import PROVENANCE, Artifact, Kind, Metric, Tag, is_single, is_test
from knobs.record.states import STATES, StateName
from knobs.record.stores.mlflow_store import Tracker
from knobs.record.stores.rows import Row
from knobs.training import CurvePoint


def open_trial(
    tracker: Tracker, experiment: str, name: str, config: RunConfig, count: int, tags: Mapping[str, str]
) -> str:
    """Create the run of a trial whose replicates are about to train. Return its id."""
    own = {
        Tag.KIND: Kind.TRIAL,
        Tag.STATE: StateName.RUNNING,
        Tag.CONFIG: config.hash(),
        Tag.SEED: str(config.seed),
        Tag.REPLICATES: str(count),
    }
    run = tracker.create(tracker.experiment(experiment), name, {**own, **tags}, config.knobs())
    tracker.upload_texts(run, {Artifact.CONFIG: config_json(config)})
    return run


def end_trial(tracker: Tracker, trial: TrialInTraining, metric: str, tags: Mapping[str, str]) -> str:
    """Write a trial's end: means over its replicates, how they were made, then its state. Return the state."""
    ends = [trial.ends[k] for k in sorted(trial.ends)]
    state, message = trial.outcome()
    rows = [tracker.get(end.run) for end in ends]
    values = list(trial.values().values())
    if state == StateName.FINISHED:
        _write_means(tracker, trial.row, rows, metric, values)
    now = time.time_ns() // 1_000_000
    name = Metric.REPLICATES + metric
    points = [CurvePoint(step=k, values={name: value}, time_ms=now) for k, value in trial.values().items()]
    known = {step for step, _ in tracker.curve(trial.row, name)}  # a killed driver may have written some
    tracker.log(trial.row, [point for point in points if point.step not in known])
    written: dict[str, str] = {
        tag: rows[0].tags[tag] for tag in (*PROVENANCE, Tag.DATA, Tag.EXECUTION) if tag in rows[0].tags
    }
    written |= {Tag.DIGEST: short_hash([row.tags.get(Tag.DIGEST) for row in rows]), Tag.STATE: state, **tags}
    written |= note_tags(_note(trial, state, message, metric, values))
    tracker.end(trial.row, STATES[state].mlflow, written | ({Tag.MESSAGE: message[:500]} if message else {}))
    return state


def mean_of(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean over replicates, and its standard error."""
    return statistics.fmean(values), statistics.stdev(values) / math.sqrt(len(values))


def replicates_by_number(rows: Sequence[Row]) -> list[Row]:
    """Return the replicates of one trial that count, by number: the newest of each. `rows` are newest first."""
    return newest_by_number((row for row in rows if row.kind == Kind.REPLICATE), lambda row: (row.replicate,))


def write_test_means(tracker: Tracker, trial: str, replicates: Sequence[Row]) -> None:
    """Write the means of test metrics to the run of a trial whose replicates have read the test split."""
    tracker.summary(trial, _means([{k: v for k, v in row.metrics.items() if is_test(k)} for row in replicates]))
    tracker.tag(trial, {Tag.TEST_READ: "true"})


def _write_means(tracker: Tracker, trial: str, rows: Sequence[Row], metric: str, values: Sequence[float]) -> None:
    """Write the means of single values and of curves, at the steps that all replicates have."""
    singles = _means([{k: v for k, v in row.metrics.items() if is_single(k)} for row in rows])
    singles[Metric.SECONDS] = sum(row.metrics.get(Metric.SECONDS, 0.0) for row in rows)
    singles[Metric.BEST + metric], singles[Metric.ERROR + metric] = mean_of(values)
    curves = read_curves(tracker, rows)
    there = {step for step, _ in tracker.curve(trial, metric)}
    points = [point for point in _mean_curves([curves[row.id] for row in rows]) if point.step not in there]
    tracker.log(trial, points)
    tracker.summary(trial, singles)


def _means(every: Sequence[Mapping[str, float]]) -> dict[str, float]:
    shared = set.intersection(*(set(values) for values in every)) - {Metric.STEPS_PER_SECOND}
    return {name: statistics.fmean(values[name] for values in every) for name in sorted(shared)}


def _mean_curves(curves: Sequence[Curves]) -> list[CurvePoint]:
    shared = set.intersection(*(set(curve) for curve in curves))
    now, points = time.time_ns() // 1_000_000, dict[int, dict[str, float]]()
    for name in sorted(name for name in shared if not is_single(name)):
        every = [dict(curve[name]) for curve in curves]
        for step in set.intersection(*(set(one) for one in every)):
            points.setdefault(step, {})[name] = statistics.fmean(one[step] for one in every)
    return [CurvePoint(step=step, values=points[step], time_ms=now) for step in sorted(points)]


def _note(trial: TrialInTraining, state: str, message: str, metric: str, values: Sequence[float]) -> str:
    how = state.replace("_", " ").capitalize()
    if state == StateName.FINISHED:
        mean, error = mean_of(values)
        spread = f"the mean of {len(values)} replicates, standard error {metric_text(error)}"
        how = f"{how}: **{metric} {metric_text(mean)}**, {spread}."
    return paragraphs(f"Trial {trial.asked.number}; its replicates are the runs below it.", message or how)
