"""A study as a plan: asks for trials as the feedback lag allows, and continues from what MLflow holds."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from optuna.trial import FrozenTrial, TrialState, create_trial

from knobs.config import RunConfig, Value
from knobs.errors import BadInputError
from knobs.launch.plans.continuing import continued
from knobs.launch.plans.plan import PlannedRun
from knobs.launch.plans.run_names import trial_label, trial_name
from knobs.numbers import metric_text
from knobs.record.knob_range import KnobRange
from knobs.record.runs import changes_since, recorded_config
from knobs.record.schema import Kind, Metric, MlflowTag, Tag
from knobs.record.spaces import Distributions, SpaceStore
from knobs.record.states import STATES
from knobs.record.stores.mlflow_store import Tracker
from knobs.record.stores.optuna_mirror import OptunaMirror
from knobs.record.stores.rows import Row
from knobs.search import PendingTrial, Search, SpaceProbe, Study, finished_trial, noted_from_json, rank_trials
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
        batch_of: Callable[[int], tuple[RunConfig, ...]] = lambda _: (),
    ) -> None:
        """`prefix`: of the labels of trials. `batch_of`: returns the configs of a trial's batch."""
        self.name, self.study, self.tracker, self.cell = name, study, tracker, cell
        self.experiment, self.total, self.deadline = experiment or name, study.possible_trials(total), deadline
        self.tags, self.prefix, self.batch_of = dict(tags or {}), prefix, batch_of
        self.search = Search(study, name)
        self.pending: dict[str, PendingTrial] = {}
        """Trials that were asked for and have not ended, by label."""
        self.resumed: list[PlannedRun] = []
        self.missing: list[int] = []
        """Trials that somebody deleted. They are asked for again, and come out the same."""
        self._blocked: list[tuple[Row, dict[str, Any]]] = []
        """Interrupted trials whose history lacks a missing one, with their chosen values."""
        self.values: dict[int, float] = {}
        """The metric of each finished trial."""
        self.counts: dict[str, int] = {}
        """Ended trials by state."""
        self.configs: dict[int, RunConfig] = {}
        self.changed = Counter[str]()
        """How recorded trials were trained differently from now, and how many."""
        self.opened = False
        self._ahead: set[int] = set()
        """Trials that were taken before their turn, with an earlier one of their batch."""

    def open(self, parent: str, rows: list[Row]) -> None:
        """Take over the study's run and its recorded trials, `rows` by number."""
        self.parent = parent
        self.spaces = SpaceStore(self.tracker, parent)
        waiting: dict[int, FrozenTrial] = {}
        for row in rows:
            self.configs[row.trial] = recorded_config(self.tracker, row)
            space = self._space_of(row)
            chosen = {name: KnobRange.of(name, shape).parse(row.params[name]) for name, shape in space.items()}
            if row.ended:
                state = STATES[row.state]
                curve = dict(self.tracker.curve(row.id, self.study.metric))
                value = row.metrics.get(Metric.BEST + self.study.metric)
                self._count(row.trial, row.state, value)
                attributes = noted_from_json(row.tags.get(Tag.NOTED, ""))
                self.search.history[row.trial] = finished_trial(
                    TrialState[state.optuna], value, chosen, space, attributes, state.trainable, curve
                )
                self._complete_end(row)
            else:
                waiting[row.trial] = create_trial(state=TrialState.WAITING, params=chosen, distributions=space)
                self._blocked.append((row, chosen))
        known = {row.trial for row in rows}
        self.next_number = max(known, default=-1) + 1
        self.missing = [number for number in range(self.next_number) if number not in known]
        ready = [one for one in self._blocked if self.search.knows_enough(one[0].trial)]
        self._blocked = [one for one in self._blocked if one not in ready]
        self.resumed = [self._resume(*one) for one in ready]
        self.mirror = OptunaMirror(self.tracker.places, self.name, self.study)
        self.mirror.sync(self.search.history, waiting, {row.trial: _origin(row.id, row.state) for row in rows})
        self.opened = True

    @property
    def done(self) -> bool:
        """True if no further trial will be asked for."""
        late = self.deadline is not None and time.monotonic() > self.deadline
        left = bool(self.missing or self._blocked) or self.next_number < self.total
        return not self.resumed and (late or not left)

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
        if not self.values:
            return ""
        number = self.best_number()
        return f"best {self.study.metric} {metric_text(self.values[number])} ({trial_label(number)})"

    def ranked(self, among: int | None = None) -> list[int]:
        """Return the finished trials, the best first; only the first `among` trials if given."""
        values = {n: value for n, value in self.values.items() if among is None or n < among}
        return rank_trials(values, self.study.direction)

    def best_number(self, among: int | None = None) -> int:
        """Return the best finished trial; of the first `among` trials if given."""
        return self.ranked(among)[0]

    def budget(self, total: int) -> int:
        """Return how many of the first `total` trials have ended: the ones that the search could choose from."""
        return sum(number < total for number in self.search.history)

    def next(self) -> list[PlannedRun]:
        """Return an interrupted trial, a missing one, or the next one, if its history is complete."""
        if self.resumed:
            return [self.resumed.pop(0)]
        if self.done:
            return []
        if self._blocked and self.search.knows_enough(self._blocked[0][0].trial):
            return [self._resume(*self._blocked.pop(0))]
        if self.missing and self.search.knows_enough(self.missing[0]):
            return self.take(self.missing[0])
        if self.next_number >= self.total or not self.search.knows_enough(self.next_number):
            return []
        return self.take(self.next_number)

    def take(self, number: int) -> list[PlannedRun]:
        """Return a trial, also before its turn; nothing if it was taken already."""
        if number in self.missing:
            self.missing.remove(number)
        elif number < self.next_number or number in self._ahead:
            return []
        else:
            self._ahead.add(number)
        while self.next_number in self._ahead:
            self._ahead.remove(self.next_number)
            self.next_number += 1
        return [self._planned(self._ask(number))]

    def started(self, planned: PlannedRun) -> None:
        """Mark the trial as RUNNING in Optuna's store."""
        self.mirror.started(self.pending[planned.label])

    def end_tags(self, planned: PlannedRun) -> dict[str, str]:
        """Return what sampler and pruner noted on the trial; later trials need it."""
        noted = self.pending[planned.label].noted_to_json()
        return {Tag.NOTED: noted} if noted else {}

    def ended(self, planned: PlannedRun, run: str, state: str, outcome: Outcome) -> None:
        """Add the trial to the history, then to Optuna's store."""
        trial = self.pending.pop(planned.label)
        ends = STATES[state]
        value = outcome.summary.get(Metric.BEST + self.study.metric) if ends.finished else None
        frozen = trial.ended(TrialState[ends.optuna], value, trained=ends.trainable)
        self.search.history[trial.number] = frozen
        self._count(trial.number, state, value)
        self.mirror.ended(trial.number, frozen, _origin(run, state))

    def interrupted(self, planned: PlannedRun) -> None:
        """Mark the trial as WAITING in Optuna's store."""
        self.mirror.waits(self.pending[planned.label].number)

    def _space_of(self, row: Row) -> Distributions:
        """Return the space of a recorded trial. If its artifact is gone, walk the space with the trial's knobs."""
        found = self.spaces.find(row)
        if found is not None:
            return found
        probe = SpaceProbe(self.configs[row.trial].knobs())
        self.study.space(probe, self.study.baseline)
        if self.spaces.key(probe.seen) != row.tags[Tag.SPACE]:
            raise BadInputError(f"the space of {self.name} does not fit its recorded trial {row.trial}")
        return probe.seen

    def _complete_end(self, row: Row) -> None:
        """Complete the end of a recorded trial whose driver died there."""
        if row.status == "RUNNING":
            self.tracker.end(row.id, STATES[row.state].mlflow, {})
        shutil.rmtree(self.tracker.places.scratch / row.id, ignore_errors=True)
        self.changed.update(changes_since(row, self.configs[row.trial], self.tracker))

    def _label(self, number: int) -> str:
        return self.prefix + trial_label(number)

    def _count(self, number: int, state: str, value: float | None) -> None:
        self.counts[state] = self.counts.get(state, 0) + 1
        if STATES[state].finished and value is not None:
            self.values[number] = value

    def _ask(self, number: int, values: dict[str, Any] | None = None) -> PendingTrial:
        try:
            asked = self.search.ask(number, values)
        except ValueError as error:
            if values is None:  # the space raises for this draw
                raise user_error(error, f"the space of {self.name} raises at trial {number}") from error
            raise BadInputError(f"the space of {self.name} does not fit its recorded trials: {error}") from None
        self.pending[self._label(number)] = asked
        return asked

    def _planned(self, asked: PendingTrial) -> PlannedRun:
        self.configs[asked.number] = asked.config
        values: dict[str, Value] = dict(asked.trial.params)
        return PlannedRun(
            kind=Kind.TRIAL,
            label=self._label(asked.number),
            name=trial_name(self._label(asked.number), values),
            config=asked.config,
            tags={
                Tag.STUDY: self.name,
                Tag.TRIAL: str(asked.number),
                Tag.SPACE: self.spaces.key(asked.trial.distributions),
                MlflowTag.PARENT: self.parent,
                **self.tags,
            },
            metric=self.study.metric,
            should_continue=asked.report,
            prunes=self.study.pruner != "none",
            batch=self.batch_of(asked.number),
            cell=self.cell,
        )

    def _resume(self, row: Row, values: dict[str, Any]) -> PlannedRun:
        asked = self._ask(row.trial, values)
        if asked.config != self.configs[row.trial]:
            raise BadInputError(f"{self.name} has changed: trial {row.trial} would now train another config")
        return continued(self._planned(asked), row, self.tracker)


def _origin(run: str, state: str) -> dict[str, str]:
    """Return what Optuna's store holds of a trial besides Optuna's own fields."""
    return {"mlflow_run": run, "state": state}
