"""A study as it was recorded."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from knobs.record.definition import StudyDefinition
from knobs.record.knob_range import KnobRange
from knobs.record.recorded import Recorded, every_range
from knobs.record.runs import RecordedRun, RunReader
from knobs.record.schema import Tag
from knobs.record.spaces import SpaceStore
from knobs.record.stores.mlflow_store import Tracker
from knobs.record.stores.rows import Row
from knobs.search import rank_trials


class RecordedStudy(Recorded):
    """A study and its trials."""

    def __init__(self, tracker: Tracker, parent: Row, definition: StudyDefinition, rows: Sequence[Row]) -> None:
        super().__init__(tracker, definition.name, parent)
        self.definition = definition
        self.metric, self.direction = definition.metric, definition.direction
        self.spaces = SpaceStore(tracker, parent.id)
        reader = RunReader(tracker, rows)
        self.trials = [RecordedRun(f"t{row.trial:03d}", row, reader, self.spaces) for row in rows]

    @property
    def runs(self) -> list[RecordedRun]:
        """Every trial, by number."""
        return self.trials

    @cached_property
    def space(self) -> dict[str, KnobRange]:
        """Every knob that the search varied in any trial, by name."""
        return every_range(self.definition.space, self.trials)

    @property
    def searched(self) -> list[str]:
        """The knobs that the search varied in any trial, in the order in which the space suggests them."""
        rows = [trial.row for trial in self.trials if Tag.SPACE in trial.row.tags]
        names = dict.fromkeys(name for row in rows for name in self.spaces.find(row) or {})
        return list(names) or list(self.definition.space)

    @property
    def finished(self) -> list[RecordedRun]:
        """The trials with a value, by number."""
        return [t for t in self.trials if t.finished and t.value(self.metric) is not None]

    @property
    def ranked(self) -> list[RecordedRun]:
        """The finished trials, the best first."""
        values = {t.row.trial: value for t in self.finished if (value := t.value(self.metric)) is not None}
        by_number = {t.row.trial: t for t in self.trials}
        return [by_number[number] for number in rank_trials(values, self.direction)]

    @property
    def missing(self) -> list[str]:
        """What has yet to run, in words."""
        ended = sum(t.ended for t in self.trials)
        state = [] if self.parent.finished else ["the study was interrupted"]
        return state + ([f"{ended} of {len(self.trials)} trials ended"] if ended < len(self.trials) else [])
