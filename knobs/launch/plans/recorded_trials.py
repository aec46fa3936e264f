"""The recorded trials of a study, as its next launch takes them over."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from optuna.trial import FrozenTrial, TrialState, create_trial

from knobs.config import RunConfig
from knobs.errors import BadInputError
from knobs.launch.plans.replicated_trials import replicates_by_number
from knobs.record.knob_range import KnobRange
from knobs.record.queries import runs_under
from knobs.record.runs import changes_since, recorded_config
from knobs.record.schema import Metric, Tag
from knobs.record.spaces import Distributions, SpaceStore
from knobs.record.states import STATES
from knobs.record.stores.mlflow_store import Tracker
from knobs.record.stores.rows import Row
from knobs.search import SpaceProbe, Study, finished_trial, noted_from_json


@dataclass(frozen=True)
class RecordedTrial:
    """A trial of the record."""

    row: Row
    config: RunConfig
    chosen: dict[str, Any]
    """The values that the search chose."""
    frozen: FrozenTrial
    """The trial as later trials see it; WAITING if it has not ended."""
    value: float | None
    changes: Sequence[str]
    """How it was trained differently from now, if it has ended."""


def read_trial(name: str, study: Study, tracker: Tracker, spaces: SpaceStore, row: Row) -> RecordedTrial:
    """Return a recorded trial. Complete its end if its driver died there.

    Raise `BadInputError` if the space of the study does not fit it.
    """
    config = recorded_config(tracker, row)
    space = _space_of(name, study, spaces, row, config)
    chosen = {knob: KnobRange.of(knob, shape).parse(row.params[knob]) for knob, shape in space.items()}
    if not row.ended:
        frozen = create_trial(state=TrialState.WAITING, params=chosen, distributions=space)
        return RecordedTrial(row, config, chosen, frozen, None, ())
    state, value = STATES[row.state], row.metrics.get(Metric.BEST + study.metric)
    curve = dict(tracker.curve(row.id, (Metric.REPLICATES if row.replicated else "") + study.metric))
    noted = noted_from_json(row.tags.get(Tag.NOTED, ""))
    frozen = finished_trial(TrialState[state.optuna], value, chosen, space, noted, state.trainable, curve)
    if row.status == "RUNNING":
        tracker.end(row.id, state.mlflow, {})
    trained = recorded_replicates(tracker, row) or [row]
    for one in trained:
        shutil.rmtree(tracker.places.scratch / one.id, ignore_errors=True)
    return RecordedTrial(row, config, chosen, frozen, value, changes_since(trained[0], config, tracker))


def recorded_replicates(tracker: Tracker, row: Row) -> list[Row]:
    """Return the recorded replicates of a trial, by number; nothing if it has none."""
    return replicates_by_number(runs_under(tracker, row.id, row.experiment)) if row.replicated else []


def _space_of(name: str, study: Study, spaces: SpaceStore, row: Row, config: RunConfig) -> Distributions:
    """Return the space of a recorded trial. If its artifact is gone, walk the space with the trial's knobs."""
    found = spaces.find(row)
    if found is not None:
        return found
    probe = SpaceProbe(config.knobs())
    study.space(probe, study.baseline)
    if spaces.key(probe.seen) != row.tags[Tag.SPACE]:
        raise BadInputError(f"the space of {name} does not fit its recorded trial {row.trial}")
    return probe.seen
