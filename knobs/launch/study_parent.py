"""The MLflow run of a study: opened before its trials, closed after them."""

from __future__ import annotations

import json

from knobs.errors import BadInputError
from knobs.launch.plans.run_names import shortened
from knobs.launch.plans.study_plan import StudyPlan
from knobs.provenance import short_hash
from knobs.record.queries import current, runs_of_kind
from knobs.record.schema import DONE, Artifact, Kind, Metric, Tag
from knobs.record.states import STATES, StateName
from knobs.record.stores.mlflow_store import Tracker
from knobs.record.stores.rows import Row
from knobs.search import Study, identity_changes, study_identity


def open_study(tracker: Tracker, name: str, study: Study, *, fresh: bool) -> Row:
    """Return the study's run, created or reopened. Raise `BadInputError` if the recorded study has other settings.

    `fresh` sets the recorded study aside.
    """
    experiment = tracker.experiment(name)
    recorded = current(runs_of_kind(tracker, Kind.STUDY, experiment))
    identity = json.loads(json.dumps(study_identity(study)))
    params = {"metric": study.metric, "direction": study.direction}
    if fresh:
        for row in recorded:
            tracker.tag(row.id, {Tag.RETIRED: "true"})
    elif recorded:
        row = recorded[0]
        if row.tags[Tag.IDENTITY] != short_hash(identity):
            raise BadInputError(
                f"{name} was started with other settings{_changes(tracker, row, identity)}\n"
                f"two ways to go on: record it under a new name (--as NAME), or set the old trials aside (--fresh)"
            )
        tracker.params(row.id, params)  # a driver killed at its start may not have written them
        tracker.reopen(row.id, {Tag.STATE: StateName.RUNNING})
        tracker.upload_texts(row.id, {Artifact.IDENTITY: json.dumps(identity, indent=1)})
        return row
    tags = {
        Tag.KIND: Kind.STUDY,
        Tag.STUDY: name,
        Tag.IDENTITY: short_hash(identity),
        Tag.STATE: StateName.RUNNING,
        **({Tag.FRESH: "true"} if fresh else {}),  # a later launch that continues it reuses nothing either
    }
    run = tracker.create(experiment, shortened(name), tags, params)
    tracker.upload_texts(run, {Artifact.IDENTITY: json.dumps(identity, indent=1)})
    return tracker.get(run)


def close_study(tracker: Tracker, plan: StudyPlan, parent: str, state: str) -> None:
    """Write what the study came to."""
    plan.close()
    tags, done = {Tag.STATE: state}, len(plan.search.history)
    summary = {Metric.TRIALS + name: float(count) for name, count in plan.results.counts.items()}
    summary[Metric.TRIALS + DONE] = float(done)
    if plan.results.values:
        best = plan.results.best_number()
        summary[Metric.BEST + plan.study.metric] = plan.results.values[best]
        tags[Tag.BEST_TRIAL] = str(best)
    if plan.opened:
        tracker.summary(parent, summary, done)
    tracker.end(parent, STATES[state].mlflow, tags)


def _changes(tracker: Tracker, row: Row, identity: dict[str, object]) -> str:
    """Return the first settings that differ from the recorded ones, in words."""
    text = tracker.text(row, Artifact.IDENTITY)
    if text is None:
        return ""
    changes = identity_changes(json.loads(text), identity)
    more = f" and {len(changes) - 3} more" if len(changes) > 3 else ""
    return f": {'; '.join(changes[:3])}{more}"
