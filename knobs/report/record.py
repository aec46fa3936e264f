"""An ablation or a study as it was recorded: plain data, in an order that is the same in every store."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from knobs.histories import Points
from knobs.recorded import ENDED, FINISHED, metric_key
from knobs.report.space import Knob, knob_of
from knobs.tracking import Row

MADE = frozenset(
    {
        "git_commit",
        "git_dirty",
        "diff",
        "code",
        "packages",
        "machine",
        "threads",
        "device",
        "device_name",
        "torch",
        "cpu_capability",
    }
)
"""Tags that say how values came about: of a reused run, how they did in the run that was trained."""


@dataclass(frozen=True)
class Ran:
    """One recorded training: its row, its curves, and a name for it that is the same in every store."""

    key: str
    """`plain 16/s1002`, `plain 16/t003`, `t003`."""
    row: Row
    history: Mapping[str, Points]
    """Every recorded value by metric."""
    trained: Row | None = None
    """Of a reused run: the one whose values it has."""

    @property
    def state(self) -> str:
        """How it ended."""
        return self.row.state

    @property
    def ended(self) -> bool:
        """It will not go on."""
        return self.row.state in ENDED

    @property
    def finished(self) -> bool:
        """It has values at the checkpoint that validation chose."""
        return self.row.state in FINISHED

    def tag(self, name: str) -> str:
        """A `knobs.` tag; empty where the run has none."""
        made = self.trained if self.trained and name in MADE else self.row
        return made.tags.get(f"knobs.{name}", "")

    def value(self, metric: str) -> float | None:
        """`val/accuracy`, `train/loss` at the chosen checkpoint; `test/accuracy` where the test split was read."""
        return self.row.metrics.get(metric_key(metric))

    def curve(self, metric: str) -> Points:
        """Step and value of a curve."""
        return self.history.get(metric, [])

    @cached_property
    def asked(self) -> tuple[dict[str, Any], dict[str, Knob]]:
        """Of a trial: the values that the sampler chose, and the space that it chose from."""
        read = json.loads(self.row.tags.get("knobs.optuna", '{"params": {}, "distributions": {}}'))
        return read["params"], {name: knob_of(name, json.loads(d)) for name, d in read["distributions"].items()}


@dataclass(frozen=True)
class CellRecord:
    """One cell: what tuned it, and its fresh seeds."""

    name: str
    levels: Mapping[str, str]
    trials: Sequence[Ran]
    """By number."""
    seeds: Sequence[Ran]
    """By seed; those of an earlier winner left out."""
    space: Mapping[str, Knob]
    sample: str = ""
    """What the data set made of the first seed's network in words."""

    @property
    def winner(self) -> Ran | None:
        """The trial whose knobs the seeds have; none where no seed was trained."""
        chosen = {seed.tag("winner_trial") for seed in self.seeds}
        return next((trial for trial in self.trials if trial.tag("trial") in chosen), None)

    def values(self, metric: str) -> dict[int, float]:
        """Seed -> value, of the seeds that finished."""
        found = {int(s.tag("seed")): s.value(metric) for s in self.seeds if s.finished}
        return {seed: value for seed, value in found.items() if value is not None}

    @property
    def runs(self) -> list[Ran]:
        """Trials, then seeds."""
        return [*self.trials, *self.seeds]


@dataclass(frozen=True)
class Line:
    """A reference: a number that was not trained here."""

    name: str
    metric: str
    value: float
    source: str
    row: Row


@dataclass(frozen=True)
class Record:
    """What is common to an ablation and a study."""

    name: str
    told: Mapping[str, Any]
    """The definition, as the launch wrote it."""
    parent: Row
    test_readers: Sequence[Row]
    """Every run of the experiment that read the test split."""
    packages: Mapping[str, Mapping[str, str]]
    """Each set of packages that a run was made with, by its hash."""
    machines: Mapping[str, Mapping[str, str]]
    """Each machine, by its hash."""

    @property
    def metric(self) -> str:
        """What validation was asked for."""
        return str(self.told["metric"])

    @property
    def maximize(self) -> bool:
        """Whether more is better."""
        return bool(self.told["direction"] == "maximize")


@dataclass(frozen=True)
class AblationRecord(Record):
    """An ablation as recorded."""

    cells: Sequence[CellRecord]
    references: Sequence[Line]
    decided: Sequence[str]
    """The verdicts as they were recorded when the ablation ended: a word a claim."""

    @property
    def shown(self) -> str:
        """What tables and figures show."""
        return str(self.told["shown"])

    @property
    def factors(self) -> dict[str, list[str]]:
        """Levels by factor, in the definition's order."""
        return {factor["name"]: list(factor["levels"]) for factor in self.told["factors"]}

    @property
    def spaces(self) -> dict[str, dict[Knob, list[str]]]:
        """By tuned knob: each space that it has, and the cells where it has that one."""
        found: dict[str, dict[Knob, list[str]]] = {}
        for cell in self.cells:
            for name, knob in cell.space.items():
                found.setdefault(name, {}).setdefault(knob, []).append(cell.name)
        return dict(sorted(found.items()))

    @property
    def baseline(self) -> CellRecord:
        """What the other cells are compared with."""
        return next(cell for cell in self.cells if cell.name == self.told["baseline"])

    @property
    def missing(self) -> list[str]:
        """What has yet to run, a phrase a cell; nothing where the ablation is complete."""
        found = []
        for cell in self.cells:
            ended = sum(trial.ended for trial in cell.trials)
            seeds = sum(seed.ended for seed in cell.seeds)
            hopeless = ended >= self.told["trials"] and not any(trial.finished for trial in cell.trials)
            if ended < self.told["trials"]:
                found.append(f"{cell.name}: {ended} of {self.told['trials']} trials")
            elif seeds < self.told["seeds"] and not hopeless:
                found.append(f"{cell.name}: {seeds} of {self.told['seeds']} seeds")
        return found

    @property
    def runs(self) -> list[Ran]:
        """Every training behind the report."""
        return [run for cell in self.cells for run in cell.runs]


@dataclass(frozen=True)
class StudyRecord(Record):
    """A study as recorded."""

    trials: Sequence[Ran]
    """By number."""
    space: Mapping[str, Knob] = field(default_factory=dict)

    @property
    def finished(self) -> list[Ran]:
        """Trials with a value, by number."""
        return [t for t in self.trials if t.finished and t.value(self.metric) is not None]

    @property
    def ranked(self) -> list[Ran]:
        """Finished trials, the best first, the earlier of two equal ones before."""
        sign = -1 if self.maximize else 1
        return sorted(self.finished, key=lambda t: (sign * (t.value(self.metric) or 0.0), int(t.tag("trial"))))

    @property
    def missing(self) -> list[str]:
        """What has yet to run."""
        ended = sum(t.ended for t in self.trials)
        state = [] if self.parent.state == "finished" else ["the study was interrupted"]
        return state + ([f"{ended} of {len(self.trials)} trials ended"] if ended < len(self.trials) else [])

    @property
    def runs(self) -> list[Ran]:
        """Every training behind the report."""
        return list(self.trials)
