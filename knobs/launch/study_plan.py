"""A study as a plan: asks for trials as the lag allows, and goes on from what MLflow holds."""

from __future__ import annotations

import ast
import inspect
import json
import shutil
import textwrap
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from optuna.trial import FrozenTrial, TrialState, create_trial

from knobs.config import RunConfig, Value, text_of
from knobs.errors import BadInputError
from knobs.job import Outcome
from knobs.launch.optuna_store import OptunaStore
from knobs.launch.task import ENDS, Task, others, take_up
from knobs.study import Asked, Search, Study, freeze, thaw
from knobs.tracking import Row, Tracker

STATES: dict[str, tuple[TrialState, bool]] = {
    "finished": (TrialState.COMPLETE, True),
    "reused": (TrialState.COMPLETE, True),
    "pruned": (TrialState.PRUNED, True),
    "diverged": (TrialState.PRUNED, False),
    "out_of_memory": (TrialState.PRUNED, False),
    "failed": (TrialState.FAIL, True),
    "lost": (TrialState.FAIL, True),
}
"""`knobs.state` of an ended trial: Optuna's state, and whether its constraint holds."""


class StudyPlan:
    """Trials of one study towards a total, with what was recorded before as history."""

    def __init__(
        self,
        name: str,
        study: Study,
        tracker: Tracker,
        *,
        total: int,
        deadline: float | None = None,
        experiment: str | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        self.name, self.study, self.tracker = name, study, tracker
        self.experiment, self.total, self.deadline = experiment or name, total, deadline
        self.tags = dict(tags or {})
        self.search = Search(study, name)
        self.asked: dict[str, Asked] = {}
        self.resumed: list[Task] = []
        self.objectives: dict[int, float] = {}
        self.counts: dict[str, int] = {}
        self.configs: dict[int, RunConfig] = {}
        self.others = Counter[str]()
        """Recorded trials that were trained by other code, or on other data, than there is now."""
        self.opened = False

    def open(self, parent: str, rows: list[Row]) -> None:
        """Take over the study's parent run and its recorded trials."""
        self.parent = parent
        waiting: dict[int, FrozenTrial] = {}
        trials = {int(row.tags["knobs.trial"]): row for row in rows}
        for number, row in sorted(trials.items()):
            params, shapes, attrs = thaw(row.tags["knobs.optuna"])
            self.configs[number] = RunConfig.from_json(row.tags["knobs.config"])
            if row.state in STATES:
                state, trained = STATES[row.state]
                curve = dict(self.tracker.curve(row.id, self.study.metric))
                value = row.metrics.get(f"best/{self.study.metric}")
                self._note(number, row.state, value)
                self.search.history[number] = freeze(state, value, params, shapes, attrs, trained, curve)
                self._finish_end(row)
            else:
                waiting[number] = create_trial(state=TrialState.WAITING, params=params, distributions=shapes)
                self.resumed.append(self._task_again(number, row, params))
        self.next_number = len(trials)
        self.store = OptunaStore(self.tracker.places, self.name, self.study)
        self.store.sync(self.search.history, waiting, {int(n): _origin(row.id, row.state) for n, row in trials.items()})
        self.opened = True

    @property
    def done(self) -> bool:
        """No further trial will be asked for."""
        late = self.deadline is not None and time.monotonic() > self.deadline
        return not self.resumed and (late or self.next_number >= self.total)

    @property
    def left(self) -> int:
        """Trials to the total that have not ended."""
        return self.total - len(self.search.history)

    @property
    def waiting(self) -> str:
        """The trial for which the lag waits."""
        missing = next((n for n in range(self.next_number) if n not in self.search.history), None)
        return f"waits for t{missing:03d} (lag {self.study.lag})" if missing is not None else ""

    @property
    def headline(self) -> str:
        """The best trial so far."""
        if not self.objectives:
            return ""
        number = self.best_number()
        return f"best {self.study.metric} {self.objectives[number]:.4f} (t{number:03d})"

    def best_number(self, among: int | None = None) -> int:
        """The best finished trial, of the first `among` where given; the earlier of two equal ones."""
        sign = -1 if self.study.direction == "maximize" else 1
        numbers = [n for n in self.objectives if among is None or n < among]
        return min(numbers, key=lambda n: (sign * self.objectives[n], n))

    def budget(self, total: int) -> int:
        """Ended trials among the first `total`: what the search could choose from."""
        return sum(number < total for number in self.search.history)

    def next(self) -> list[Task]:
        """An interrupted trial first, then the next number if its history is complete."""
        if self.resumed:
            return [self.resumed.pop(0)]
        if self.done or not self.search.knows_enough(self.next_number):
            return []
        asked = self._ask(self.next_number)
        self.next_number += 1
        return [self._task(asked)]

    def started(self, task: Task) -> None:
        """RUNNING in Optuna's store."""
        self.store.started(self.asked[task.label])

    def end_tags(self, task: Task, outcome: Outcome) -> dict[str, str]:
        """What a later launch needs to know this trial."""
        del outcome
        return {"knobs.optuna": self.asked[task.label].to_json()}

    def ended(self, task: Task, outcome: Outcome) -> None:
        """Into the history, then into Optuna's store."""
        asked = self.asked.pop(task.label)
        state, trained = STATES[outcome.state]
        value = outcome.summary.get(f"best/{self.study.metric}") if state == TrialState.COMPLETE else None
        curve = dict(asked.trial.study.get_trials(deepcopy=False)[asked.number].intermediate_values)
        frozen = asked.frozen(state, value, trained, curve)
        self.search.history[asked.number] = frozen
        shown = "reused" if task.reused_from and state == TrialState.COMPLETE else outcome.state
        self._note(asked.number, shown, value)
        self.store.ended(asked.number, frozen, _origin(task.run, shown))

    def interrupted(self, task: Task) -> None:
        """WAITING in Optuna's store."""
        self.store.waits(self.asked[task.label].number)

    def _finish_end(self, row: Row) -> None:
        """Of a recorded trial that ended: what its driver may have been killed before."""
        if row.status == "RUNNING":
            self.tracker.end(row.id, ENDS[row.state], {})
        shutil.rmtree(self.tracker.places.scratch / row.id, ignore_errors=True)
        config = self.configs[int(row.tags["knobs.trial"])]
        self.others.update(others(row, config, self.tracker))

    def _note(self, number: int, state: str, value: float | None) -> None:
        self.counts[state] = self.counts.get(state, 0) + 1
        if state in ("finished", "reused") and value is not None:
            self.objectives[number] = value

    def _ask(self, number: int, params: dict[str, Any] | None = None) -> Asked:
        try:
            asked = self.search.ask(number, params)
        except ValueError as error:  # Optuna's: the space no longer fits the recorded trials
            raise BadInputError(f"the space of {self.name} does not fit its recorded trials: {error}") from None
        self.asked[_label(number)] = asked
        return asked

    def _task(self, asked: Asked) -> Task:
        tags = {
            "knobs.kind": "trial",
            "knobs.study": self.name,
            "knobs.trial": str(asked.number),
            "knobs.optuna": asked.to_json(),
            "mlflow.parentRunId": self.parent,
            **self.tags,
        }
        self.configs[asked.number] = asked.config
        name = run_name(_label(asked.number), asked.trial.params)
        return Task(_label(asked.number), asked.config, name, tags, report=asked.report, metric=self.study.metric)

    def _task_again(self, number: int, row: Row, params: dict[str, Any]) -> Task:
        asked = self._ask(number, params)
        recorded = RunConfig.from_json(row.tags["knobs.config"])
        if asked.config != recorded:
            raise BadInputError(f"{self.name} was changed: trial {number} would now train another config")
        task = self._task(asked)
        take_up(task, row, self.tracker)
        return task


def _origin(run: str, state: str) -> dict[str, str]:
    """What Optuna's store says of a trial beside what Optuna knows."""
    return {"mlflow_run": run, "state": state}


def identity(study: Study) -> dict[str, Any]:
    """`Study.identity`, and the code of its space without comments: what recorded trials must agree with."""
    source = textwrap.dedent(inspect.getsource(study.space))
    return {**study.identity(), "space code": ast.dump(ast.parse(source))}


def changes(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    """Dotted names at which two identities differ, with both values where they are short."""
    found: list[str] = []
    for key in sorted({*old, *new}):
        a, b = old.get(key), new.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            found += changes(a, b, f"{prefix}{key}.")
        elif a != b:
            texts = f": {json.dumps(a)} -> {json.dumps(b)}"
            found.append(f"{prefix}{key}{texts if len(texts) < 90 else ''}")
    return found


SHORT = {
    "width": "w",
    "depth": "d",
    "lr": "lr",
    "dropout": "p",
    "weight_decay": "wd",
    "batch_size": "b",
    "momentum": "m",
}


def run_name(label: str, params: dict[str, Value]) -> str:
    """At most 18 characters, as MLflow shows them: the label, then what varies, as much as fits."""
    order = ["width", "depth", "activation", "lr"]
    leaves = sorted(params.items(), key=lambda item: _rank(item[0].rpartition(".")[2], order))
    name = label
    for knob, value in leaves:
        leaf = knob.rpartition(".")[2]
        text = f"{value:.2g}".replace("e-0", "e-") if isinstance(value, float) else text_of(value)
        piece = text if isinstance(value, str) else f"{SHORT.get(leaf, leaf[:3])}{text}"
        if len(name) + 1 + len(piece) <= 18:
            name += f" {piece}"
    return name


def _rank(leaf: str, order: list[str]) -> int:
    return order.index(leaf) if leaf in order else len(order)


def _label(number: int) -> str:
    return f"t{number:03d}"
