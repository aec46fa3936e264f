"""A study as it was recorded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from knobs import stats
from knobs.config import as_tuple
from knobs.record.definition import StudyDefinition
from knobs.record.knob_range import KnobRange
from knobs.record.queries import newest_by_number, runs_of_kind
from knobs.record.recorded import Recorded, every_range
from knobs.record.runs import RecordedRun, RunReader
from knobs.record.schema import Kind, Metric, MlflowTag, Tag, is_test
from knobs.record.spaces import SpaceStore
from knobs.record.stores.mlflow_store import Tracker
from knobs.record.stores.rows import Row
from knobs.search import rank_trials


@dataclass(frozen=True)
class Confirmation:
    """A metric of the winner's fresh seeds, beside the search's own value."""

    metric: str
    values: Sequence[float]
    mean: stats.Estimate | None
    """Their mean with its 95% interval; None if there is one seed."""
    searched: float | None
    """The winner's value in the search; None for a metric that the search did not see."""
    better_by: float | None
    """By how many standard deviations of the seeds the search's value is better than their mean."""


class RecordedStudy(Recorded):
    """A study, its trials with their replicates, and the fresh seeds of its winner."""

    def __init__(self, tracker: Tracker, parent: Row, definition: StudyDefinition, rows: Sequence[Row]) -> None:
        super().__init__(tracker, definition.name, parent)
        self.definition = definition
        self.metric, self.direction = definition.metric, definition.direction
        self.spaces = SpaceStore(tracker, parent.id)
        reader = RunReader(tracker, rows)
        self.trials = [RecordedRun(f"t{row.trial:03d}", row, reader, self.spaces) for row in rows]

    @property
    def runs(self) -> list[RecordedRun]:
        """Every trial by number, then every replicate, then the winner's fresh seeds."""
        return [*self.trials, *(run for found in self.replicates.values() for run in found), *self.fresh_seeds]

    @cached_property
    def replicates(self) -> dict[int, list[RecordedRun]]:
        """The replicates by number, of each trial that has some."""
        trials = {trial.row.id: trial.row for trial in self.trials if trial.row.replicated}
        if not trials:
            return {}
        rows = runs_of_kind(self.tracker, Kind.REPLICATE, self.parent.experiment)
        rows = [row for row in rows if row.tags.get(MlflowTag.PARENT) in trials]
        counted = newest_by_number(rows, lambda row: (row.trial, row.replicate))
        reader, found = RunReader(self.tracker, counted), dict[int, list[RecordedRun]]()
        for row in counted:
            found.setdefault(row.trial, []).append(RecordedRun(f"t{row.trial:03d}.{row.replicate}", row, reader))
        return found

    @cached_property
    def fresh_seeds(self) -> list[RecordedRun]:
        """The winner's fresh seeds, by seed; empty if nobody asked for some."""
        if not self.ranked:
            return []
        best = self.ranked[0]
        rows = [
            row
            for row in runs_of_kind(self.tracker, Kind.SEED, self.parent.experiment)
            if row.tags.get(MlflowTag.PARENT) == self.parent.id and Tag.SUPERSEDED not in row.tags
        ]
        own = [row for row in rows if row.tags.get(Tag.WINNER_TRIAL) == str(best.row.trial)]
        counted = newest_by_number(own, lambda row: (row.seed,))
        reader = RunReader(self.tracker, counted)
        return [RecordedRun(f"{best.key}/s{row.seed}", row, reader) for row in counted]

    @property
    def confirmations(self) -> list[Confirmation]:
        """The study's metric and the test metrics over the winner's fresh seeds that finished."""
        finished = [seed for seed in self.fresh_seeds if seed.finished]
        tested = sorted({name for seed in finished for name in seed.row.metrics if is_test(name)})
        found = [self._confirmation(name, finished) for name in (self.metric, *tested)]
        return [one for one in found if one.values]

    def _confirmation(self, metric: str, seeds: Sequence[RecordedRun]) -> Confirmation:
        values = [value for seed in seeds if (value := seed.value(metric)) is not None]
        searched = None if is_test(metric) or not self.ranked else self.ranked[0].value(metric)
        if len(values) < 2:
            return Confirmation(metric, values, None, searched, None)
        mean = stats.mean_interval(values, bounds=self.definition.bounds(metric))
        sd = float(mean.se) * len(values) ** 0.5
        better_by = None
        if searched is not None and sd > 0:
            better_by = (searched - float(mean.value)) / sd * (1 if self.direction == "maximize" else -1)
        return Confirmation(metric, values, mean, searched, better_by)

    def replicate_knobs(self, run: RecordedRun) -> dict[str, Any]:
        """Return the knob, besides the seed, in which a replicate differs from its trial."""
        made = self.definition.replicates
        if run.row.kind != Kind.REPLICATE or not made["knob"]:
            return {}
        return {made["knob"]: as_tuple(made["values"][run.row.replicate // made["seeds"]])}

    def error(self, trial: RecordedRun) -> float | None:
        """Return the standard error of a trial's value over its replicates; None if it has none."""
        return trial.row.metrics.get(Metric.ERROR + self.metric)

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
