"""Continue a recorded run that was interrupted."""

from __future__ import annotations

from dataclasses import replace

from knobs.code import training_code_hash
from knobs.data import prepare
from knobs.errors import BadInputError
from knobs.launch.plans.plan import InterruptedRun, PlannedRun
from knobs.record.runs import recorded_batch, recorded_reads
from knobs.record.schema import Metric, Tag, is_single
from knobs.record.states import STATES, StateName
from knobs.record.stores.mlflow_store import Tracker
from knobs.record.stores.rows import Row

_WAYS = "two ways to go on: restore the {what}, or train anew (--fresh, or --as NAME for a study)"


def can_continue(row: Row) -> bool:
    """Return whether a recorded run has not ended."""
    return not row.ended


def continued(planned: PlannedRun, row: Row, tracker: Tracker) -> PlannedRun:
    """Return the planned run so that it continues a recorded one. Until it does, the recorded run is not RUNNING.

    Raise `BadInputError` if its code or its data have changed since.
    """
    code = training_code_hash(planned.config.content())
    if row.tags.get(Tag.CODE) != code:
        raise BadInputError(
            f"the code of run {row.id} ({row.name}), of its model, data set, optimizer, schedule or of knobs, has "
            f"changed since it was interrupted\n{_WAYS.format(what='code')}"
        )
    fingerprint = prepare(planned.config.data, tracker.places.cache)
    if row.tags.get(Tag.DATA) != fingerprint:
        raise BadInputError(
            f"the data set of run {row.id} ({row.name}) has changed since it was interrupted\n"
            f"{_WAYS.format(what='files')}"
        )
    if difference := recorded_reads(tracker, row).difference():
        raise BadInputError(
            f"{difference}, which run {row.id} ({row.name}) reads, has changed since it was interrupted\n"
            f"{_WAYS.format(what='old one')}"
        )
    if row.status == STATES[StateName.RUNNING].mlflow:
        tracker.end(row.id, STATES[StateName.INTERRUPTED].mlflow, {Tag.STATE: StateName.INTERRUPTED})
    points = tracker.curve(row.id, Metric.TRAIN_LOSS)
    recorded = InterruptedRun(
        id=row.id,
        code=code,
        fingerprint=fingerprint,
        identity=row.tags.get(Tag.IDENTITY, ""),
        attempt=int(row.tags.get(Tag.ATTEMPT, "0")),
        lost_workers=int(row.tags.get(Tag.LOST_WORKERS, "0")),
        last_step=points[-1][0] if points else -1,
        singles=frozenset(name for name in row.metrics if is_single(name)),
    )
    batch = recorded_batch(planned.config, row.tags.get(Tag.EXECUTION, ""))
    return replace(planned, name=row.name, batch=batch, continues=recorded)
