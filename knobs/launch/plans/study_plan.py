"""A study as a plan: asks for trials as the feedback lag allows, and continues from what MLflow holds."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from optuna.trial import TrialState

from knobs.config import RunConfig
from knobs.errors import BadInputError
from knobs.launch.plans.continuing import can_continue, continued
from knobs.launch.plans.plan import PlannedRun, group_batches
from knobs.launch.plans.recorded_trials import RecordedTrial, read_trial, recorded_replicates
from knobs.launch.plans.replicated_trials import end_trial
from knobs.launch.plans.run_names import trial_label
from knobs.launch.plans.trial_batches import TrialBatches
from knobs.launch.plans.trial_in_training import ReplicateEnd, TrialInTraining
from knobs.launch.plans.trial_results import TrialResults
from knobs.launch.plans.trial_runs import TrialRuns, replicate_number, trial_number
from knobs.numbers import metric_text
from knobs.record.schema import Kind, Metric, Tag
from knobs.record.spaces import SpaceStore
from knobs.record.states import STATES, StateName
from knobs.record.stores.mlflow_store import Tracker
from knobs.record.stores.optuna_mirror import OptunaMirror
from knobs.record.stores.rows import Row
from knobs.search import PendingTrial, Search, Study
from knobs.training import Outcome
from knobs.user_code import user_error


class StudyPlan:
    """The trials of one study up to a total. Recorded trials are its history."""

    def __init__(
        self,
        name: str,
        study: Study,
        tracker: Tracker,
        *,
        total: int,
        deadline: float | None = None,
        experiment: str | None = None,
        cell: str = "",
        tags: Mapping[str, str] | None = None,
        prefix: str = "",
    ) -> None:
        """`prefix`: of the labels of trials. See `train_together` for batches."""
        self.name, self.study, self.tracker = name, study, tracker
        self.experiment, self.total, self.deadline = experiment or name, study.possible_trials(total), deadline
        self.search = Search(study, name)
        self.siblings: Sequence[StudyPlan] = [self]
        """The plans whose runs may train together with this one's."""
        self.runs = TrialRuns(
            study=study,
            tracker=tracker,
            name=name,
            experiment=self.experiment,
            cell=cell,
            tags=tags or {},
            prefix=prefix,
            batches=TrialBatches([self.search], range(0), ""),
        )
        self.training: dict[int, TrialInTraining] = {}
        """Trials that were asked for and have not ended."""
        self.resumed: list[PlannedRun] = []
        self.missing: list[int] = []
        """Trials that somebody deleted. They are asked for again, and come out the same."""
        self._blocked: list[RecordedTrial] = []
        """Interrupted trials whose history lacks a missing one."""
        self.results = TrialResults(study.direction)
        self.configs: dict[int, RunConfig] = {}
        self.changed = Counter[str]()
        """How recorded trials were trained differently from now, and how many."""
        self.opened = False
        self._ahead: set[int] = set()
        """Trials that were taken before their turn, with an earlier one of their batch."""

    def train_together(self, batches: TrialBatches, siblings: Sequence[StudyPlan], index: int) -> None:
        """Let runs train in these batches. `siblings` are the plans of its searches, this one at `index`."""
        self.siblings, self.runs.batches, self.runs.index = siblings, batches, index

    def open(self, parent: str, rows: list[Row]) -> None:
        """Take over the study's run and its recorded trials, `rows` by number."""
        self.parent, self.runs.spaces = parent, SpaceStore(self.tracker, parent)
        every = [read_trial(self.name, self.study, self.tracker, self.runs.spaces, row) for row in rows]
        for trial in every:
            self.configs[trial.row.trial] = trial.config
            if trial.row.ended:
                self.results.add(trial.row.trial, trial.row.state, trial.value)
                self.search.history[trial.row.trial] = trial.frozen
                self.changed.update(trial.changes)
        left = [trial for trial in every if not trial.row.ended]
        known = {row.trial for row in rows}
        self.next_number = max(known, default=-1) + 1
        self.missing = [number for number in range(self.next_number) if number not in known]
        self.mirror = OptunaMirror(self.tracker.places, self.name, self.study)
        waiting = {trial.row.trial: trial.frozen for trial in left}
        self.mirror.sync(self.search.history, waiting, {row.trial: _origin(row.id, row.state) for row in rows})
        ready = [trial for trial in left if self._knows(trial.row.trial)]
        self._blocked = [trial for trial in left if trial not in ready]
        self.resumed = [run for trial in ready for run in self._resume(trial)]
        self.opened = True

    @property
    def done(self) -> bool:
        """True if no further run will come."""
        late = self.deadline is not None and time.monotonic() > self.deadline
        left = bool(self.missing or self._blocked) or self.next_number < self.total
        open_trials = any(trial.waiting_replicates for trial in self.training.values())
        return not self.resumed and not open_trials and (late or not left)

    @property
    def left(self) -> int:
        """Trials to the total that have not ended."""
        return self.total - len(self.search.history)

    @property
    def waiting(self) -> str:
        """The trial that the feedback lag waits for."""
        missing = next((n for n in range(self.next_number) if n not in self.search.history), None)
        return f"waits for {trial_label(missing)} (lag {self.study.feedback_lag})" if missing is not None else ""

    @property
    def headline(self) -> str:
        """The best trial so far."""
        if not self.results.values:
            return ""
        number = self.results.best_number()
        return f"best {self.study.metric} {metric_text(self.results.values[number])} ({trial_label(number)})"

    def budget(self, total: int) -> int:
        """Return how many of the first `total` trials have ended: the ones that the search could choose from."""
        return sum(number < total for number in self.search.history)

    def next(self) -> list[PlannedRun]:
        """Return the next run with the others of its batch, if its history is complete."""
        while not self.resumed and not self.done and self._blocked and self._knows(self._blocked[0].row.trial):
            self.resumed = self._resume(self._blocked.pop(0))
        if self.resumed:
            group = group_batches(self.resumed)[0]
            self.resumed = [run for run in self.resumed if run not in group]
            return group
        first = self._next_new()
        if not first:
            return []
        members = self.runs.members(self.training[trial_number(first[0])], replicate_number(first[0]))
        return first + [
            run for other in members for run in self.siblings[other.search].take(other.number, other.replicate)
        ]

    def _next_new(self) -> list[PlannedRun]:
        """Return a replicate of a trial that has begun, a missing trial, or the next one."""
        for number, trial in self.training.items():
            if (replicate := trial.next_replicate()) is not None:
                return self.take(number, replicate)
        if self.done:
            return []
        if self.missing and self._knows(self.missing[0]):
            return self.take(self.missing[0])
        if self.next_number >= self.total or not self._knows(self.next_number):
            return []
        return self.take(self.next_number)

    def take(self, number: int, replicate: int = 0) -> list[PlannedRun]:
        """Return a run of a trial, also before its turn; nothing if it was taken already."""
        if number not in self.training:
            if number in self.missing:
                self.missing.remove(number)
            elif number < self.next_number or number in self._ahead or number >= self.total:
                return []
            else:
                self._ahead.add(number)
            while self.next_number in self._ahead:
                self._ahead.remove(self.next_number)
                self.next_number += 1
            self._begin(self._ask(number))
        trial = self.training[number]
        if replicate in trial.handed:
            return []
        trial.handed.add(replicate)
        return [self.runs.run_of(trial, replicate)]

    def started(self, planned: PlannedRun) -> None:
        """Mark the trial as RUNNING in Optuna's store."""
        trial = self.training[trial_number(planned)]
        if not trial.started:
            trial.started = True
            self.mirror.started(trial.asked)

    def end_tags(self, planned: PlannedRun) -> dict[str, str]:
        """Return what sampler and pruner noted on the trial; later trials need it."""
        return {} if planned.kind == Kind.REPLICATE else _noted(self.training[trial_number(planned)])

    def ended(self, planned: PlannedRun, run: str, state: str, outcome: Outcome) -> None:
        """Note the end of a run. If it was the last of its trial, add that to the history and to Optuna's store."""
        trial = self.training[trial_number(planned)]
        value = outcome.summary.get(Metric.BEST + self.study.metric) if STATES[state].finished else None
        if planned.kind != Kind.REPLICATE:
            self._end(trial, run, state, value)
            return
        trial.note_end(replicate_number(planned), ReplicateEnd(run, state, value, outcome.message))
        if trial.is_over:
            self._end_replicated(trial)

    def interrupted(self, planned: PlannedRun) -> None:
        """Mark the trial as WAITING in Optuna's store."""
        self.mirror.waits(trial_number(planned))

    def close(self) -> None:
        """Leave trials whose replicates have not all ended to be continued later."""
        for trial in self.training.values():
            if trial.row:
                status = STATES[StateName.INTERRUPTED].mlflow
                self.tracker.end(trial.row, status, {Tag.STATE: StateName.INTERRUPTED})
            if trial.row and trial.started:
                self.mirror.waits(trial.asked.number)

    def _knows(self, number: int) -> bool:
        return self.search.knows_enough(number)

    def _end_replicated(self, trial: TrialInTraining) -> None:
        """Write the means over a trial's replicates to its run, and end it."""
        state = end_trial(self.tracker, trial, self.study.metric, _noted(trial))
        value = self.tracker.get(trial.row).metrics.get(Metric.BEST + self.study.metric)
        self._end(trial, trial.row, state, value)

    def _end(self, trial: TrialInTraining, run: str, state: str, value: float | None) -> None:
        number, ends = trial.asked.number, STATES[state]
        del self.training[number]
        frozen = trial.asked.ended(TrialState[ends.optuna], value, trained=ends.trainable)
        self.search.history[number] = frozen
        self.results.add(number, state, value)
        self.mirror.ended(number, frozen, _origin(run, state))

    def _ask(self, number: int, values: dict[str, Any] | None = None) -> PendingTrial:
        try:
            return self.search.ask(number, values)
        except ValueError as error:
            if values is None:  # the space raises for this draw
                raise user_error(error, f"the space of {self.name} raises at trial {number}") from error
            raise BadInputError(f"the space of {self.name} does not fit its recorded trials: {error}") from None

    def _begin(self, asked: PendingTrial, row: str = "") -> TrialInTraining:
        self.configs[asked.number] = asked.config
        self.training[asked.number] = trial = self.runs.begin(asked, row)
        return trial

    def _resume(self, recorded: RecordedTrial) -> list[PlannedRun]:
        """Take up an interrupted trial. Return its runs that continue; end it if all have ended."""
        row = recorded.row
        asked = self._ask(row.trial, recorded.chosen)
        if asked.config != recorded.config:
            raise BadInputError(f"{self.name} has changed: trial {row.trial} would now train another config")
        trial = self._begin(asked, row.id if row.replicated else "")
        if not row.replicated:
            trial.handed.add(0)
            return [continued(self.runs.run_of(trial, 0), row, self.tracker)]
        self.tracker.reopen(row.id, {Tag.STATE: StateName.RUNNING})
        resumed = []
        for found in recorded_replicates(self.tracker, row):
            trial.handed.add(found.replicate)
            if can_continue(found):
                resumed.append(continued(self.runs.run_of(trial, found.replicate), found, self.tracker))
            else:
                value = found.metrics.get(Metric.BEST + self.study.metric) if found.finished else None
                end = ReplicateEnd(found.id, found.state, value, found.tags.get(Tag.MESSAGE, ""))
                trial.note_end(found.replicate, end)
        if trial.is_over:
            self.mirror.started(asked)
            self._end_replicated(trial)
        return resumed


def _noted(trial: TrialInTraining) -> dict[str, str]:
    noted = trial.asked.noted_to_json()
    return {Tag.NOTED: noted} if noted else {}


def _origin(run: str, state: str) -> dict[str, str]:
    """Return what Optuna's store holds of a trial besides Optuna's own fields."""
    return {"mlflow_run": run, "state": state}
