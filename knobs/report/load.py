"""What a report is made of, read from the tracking store and nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from knobs import definition, histories
from knobs.errors import BadInputError
from knobs.recorded import ENDED, FINISHED, metric_key, parent_of
from knobs.report.space import Knob, knob_of
from knobs.tracking import Row, Tracker


@dataclass(frozen=True)
class Ran:
    """One recorded training: its row, its curves, and a name for it that is the same in every store."""

    key: str
    """`plain 16/s1002`, `plain 16/t003`, `t003`."""
    row: Row
    history: Mapping[str, histories.Points]
    """Every recorded value by metric."""

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
        return self.row.tags.get(f"knobs.{name}", "")

    def value(self, metric: str) -> float | None:
        """`val/accuracy`, `train/loss` at the chosen checkpoint; `test/accuracy` where the test split was read."""
        return self.row.metrics.get(metric_key(metric))

    def curve(self, metric: str) -> histories.Points:
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

    @property
    def shown(self) -> str:
        """What is reported: the tuning metric of the test split."""
        return self.metric.replace("val/", "test/", 1)

    @property
    def factors(self) -> dict[str, list[str]]:
        """Levels by factor, in the definition's order."""
        return {factor["name"]: list(factor["levels"]) for factor in self.told["factors"]}

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


def load(tracker: Tracker, name: str) -> AblationRecord | StudyRecord:
    """The ablation or the study of this name. Raises `BadInputError` for an unknown one, or another version's."""
    parent, where = parent_of(tracker, name, ("ablation", "study"))
    told = _definition(tracker, parent, name)
    readers = tracker.search("tags.`knobs.test_read` = 'true'", where)
    if told["kind"] == "ablation":
        cells = _cells(tracker, where, told)
        return AblationRecord(name, told, parent, readers, cells, _references(tracker, where, told))
    rows = tracker.search(f"tags.`mlflow.parentRunId` = '{parent.id}' and tags.`knobs.kind` = 'trial'", where)
    past = histories.read(tracker, rows)
    trials = [Ran(f"t{int(row.tags['knobs.trial']):03d}", row, past[row.id]) for row in _by(rows, "knobs.trial")]
    return StudyRecord(name, told, parent, readers, trials, _space(told["space"], trials))


def _definition(tracker: Tracker, parent: Row, name: str) -> dict[str, Any]:
    command = {"ablation": "ablate", "study": "study"}[parent.tags["knobs.kind"]]
    try:
        text = tracker.artifact(parent.id, definition.FILE).read_text(encoding="utf-8")
    except (BadInputError, OSError):
        raise BadInputError(
            f"{name} was recorded without its definition: by an older knobs, or its files were moved\n"
            f"`knobs {command} {name}` writes it again; what has ended is not trained again"
        ) from None
    return definition.from_json(text, name)


def _cells(tracker: Tracker, where: str, told: Mapping[str, Any]) -> list[CellRecord]:
    rows = tracker.search("tags.`knobs.kind` = 'cell'", where)
    current = {row.tags["knobs.cell"]: row for row in reversed(rows) if "knobs.retired" not in row.tags}
    found: list[tuple[Mapping[str, Any], list[Row], list[Row]]] = []
    for entry in told["cells"]:
        cell = current.get(entry["name"])
        under = tracker.search(f"tags.`mlflow.parentRunId` = '{cell.id}'", where) if cell else []
        seeds = [r for r in under if r.tags.get("knobs.kind") == "seed" and "knobs.superseded" not in r.tags]
        trials = [r for r in under if r.tags.get("knobs.kind") == "trial"]
        within = [r for r in _by(trials, "knobs.trial") if int(r.tags["knobs.trial"]) < told["trials"]]
        found.append((entry, within, _by(seeds, "knobs.seed")))
    past = histories.read(tracker, [row for _, trials, seeds in found for row in (*trials, *seeds)])
    cells = []
    for entry, trials, seeds in found:
        name = entry["name"]
        tried = [Ran(f"{name}/t{int(row.tags['knobs.trial']):03d}", row, past[row.id]) for row in trials]
        fresh = [Ran(f"{name}/s{row.tags['knobs.seed']}", row, past[row.id]) for row in seeds]
        cells.append(CellRecord(name, entry["levels"], tried, fresh, _space(entry["space"], tried)))
    return cells


def _references(tracker: Tracker, where: str, told: Mapping[str, Any]) -> list[Line]:
    rows = tracker.search("tags.`knobs.kind` = 'reference'", where)
    newest = {row.tags["knobs.reference"]: row for row in reversed(rows)}
    return [
        Line(entry["name"], entry["metric"], row.metrics[entry["metric"]], entry["source"], row)
        for entry in told["references"]
        if (row := newest.get(entry["name"])) is not None and entry["metric"] in row.metrics
    ]


def _space(told: Mapping[str, Any], trials: Sequence[Ran]) -> dict[str, Knob]:
    """Every knob that was asked for in any trial; conditional ones are known from trials only."""
    found = {name: knob_of(name, entry) for name, entry in told.items()}
    for trial in trials:
        found = {**trial.asked[1], **found}
    return dict(sorted(found.items()))


def _by(rows: Sequence[Row], tag: str) -> list[Row]:
    """In order of a number; one row each, the newest."""
    newest = {int(row.tags[tag]): row for row in reversed(rows)}
    return [newest[number] for number in sorted(newest)]
