"""What a plan hands to the driver: one run to be trained, and how far it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from knobs import data, provenance
from knobs.config import RunConfig
from knobs.errors import BadInputError
from knobs.job import Outcome, Record
from knobs.tracking import Row, Tracker, is_single

ENDS: dict[str, str] = {
    "finished": "FINISHED",
    "reused": "FINISHED",
    "pruned": "KILLED",
    "interrupted": "KILLED",
    "diverged": "FAILED",
    "out_of_memory": "FAILED",
    "failed": "FAILED",
    "lost": "FAILED",
}
"""`knobs.state` and the MLflow status that goes with it."""


@dataclass
class Task:
    """One run. The first block is the plan's, the second the driver's."""

    label: str
    """How it is shown while it runs: `t007`."""
    config: RunConfig
    name: str
    """The MLflow run's name, at most 18 characters, what varies first."""
    tags: dict[str, str]
    """`knobs.*` tags beside those that every run has."""
    test: bool = False
    """Whether the test split is read."""
    report: Callable[[int, float], bool] | None = None
    """A pruner's answer to the metric at a step; none: never pruned."""
    metric: str = ""
    """The metric that is shown, and reported where `report` is set."""
    seeds: tuple[int, ...] = ()
    """Of all members of the population in which it is trained; empty: alone."""
    evaluate: Path | None = None
    """Do not train: read the test split of `run` with this checkpoint."""
    closed: str = ""
    """State of a run that has ended already and is only added to."""

    run: str = ""
    """The MLflow run's id, once it has one."""
    fingerprint: str = ""
    """Of its data; known once a run is open or taken up."""
    identity: str = ""
    """Equal in runs that must come out the same; known once this launch has opened the run."""
    attempt: int = 0
    deaths: int = 0
    """Dispatches so far, and workers lost under it."""
    recorded: int = -1
    """Last step in the store; records up to it are replays."""
    summarised: set[str] = field(default_factory=set)
    """Single values that are in the store."""
    pending: list[Record] = field(default_factory=list)
    step: int = 0
    value: float | None = None
    reused_from: str = ""
    carried: dict[str, float] = field(default_factory=dict)
    """Single values of the reused run, where the test split has yet to be read."""

    @property
    def execution(self) -> str:
        """How it is trained, as it is recorded and part of the digest."""
        return POPULATION + ",".join(map(str, self.seeds)) if self.seeds else "solo"


POPULATION = "population of seeds "


def members(execution: str) -> tuple[int, ...]:
    """The seeds that a recorded execution names; empty: alone."""
    return tuple(map(int, execution.removeprefix(POPULATION).split(","))) if execution.startswith(POPULATION) else ()


def together(tasks: Iterable[Task]) -> list[list[Task]]:
    """Tasks as they are handed out, in their order: those of one population at once, the others alone."""
    groups: dict[object, list[Task]] = {}
    for task in tasks:
        key = (task.seeds, task.config.with_knobs({"seed": 0}).to_json()) if task.seeds else id(task)
        groups.setdefault(key, []).append(task)
    return list(groups.values())


def take_up(task: Task, row: Row, tracker: Tracker) -> None:
    """Let a task go on with a recorded run that has not ended; until it does, nothing is RUNNING."""
    code = provenance.training_code_hash(task.config.model.kind, task.config.data.kind)
    if row.tags.get("knobs.code") != code:
        raise BadInputError(
            f"run {row.id} ({row.name}) was interrupted under other code of its model, data set or engine\n"
            f"two ways on: put that code back, or train anew (--fresh, or --as NAME for a study)"
        )
    task.fingerprint = data.prepare(task.config.data, tracker.places.cache)
    if row.tags.get("knobs.data_fingerprint") != task.fingerprint:
        raise BadInputError(
            f"run {row.id} ({row.name}) was interrupted when its data set had other contents\n"
            f"two ways on: put those files back, or train anew (--fresh, or --as NAME for a study)"
        )
    if row.status == "RUNNING":
        tracker.end(row.id, ENDS["interrupted"], {"knobs.state": "interrupted"})
    task.summarised = {name for name in row.metrics if is_single(name)}
    task.run, task.name, task.seeds = row.id, row.name, members(row.tags.get("knobs.execution", ""))
    task.attempt, task.deaths = int(row.tags.get("knobs.attempt", "0")), int(row.tags.get("knobs.deaths", "0"))
    points = tracker.curve(row.id, "train/loss")
    task.recorded = points[-1][0] if points else -1


def others(row: Row, config: RunConfig, tracker: Tracker) -> list[str]:
    """How a recorded run was trained, where that is not how it would be now."""
    code = provenance.training_code_hash(config.model.kind, config.data.kind)
    now = data.known(config.data, tracker.places.cache)
    found = ["by other code"] if row.tags.get("knobs.code") != code else []
    return [*found, "on other data"] if now and row.tags.get("knobs.data_fingerprint") != now else found


def unfinished(row: Row) -> bool:
    """Whether a recorded run is waiting to be gone on with."""
    return row.state == "interrupted" or row.state.startswith("attempt")


class Plan(Protocol):
    """Where tasks come from and where their ends are told. The driver asks `next` whenever a device is free."""

    experiment: str
    """Name of the MLflow experiment."""

    @property
    def total(self) -> int:
        """Tasks in all, as far as known."""

    def next(self) -> list[Task]:
        """The next task, or tasks of one population, for one device; empty: nothing now (see `done`, `waiting`)."""

    @property
    def left(self) -> int:
        """Tasks that have not ended, as far as known."""

    @property
    def done(self) -> bool:
        """No further task will come."""

    @property
    def waiting(self) -> str:
        """Why there is nothing now, for the display."""

    def started(self, task: Task) -> None:
        """The task has a run and a device."""

    def end_tags(self, task: Task, outcome: Outcome) -> dict[str, str]:
        """Tags that belong to the run's end."""

    def ended(self, task: Task, outcome: Outcome) -> None:
        """The task's run has ended and is in the record."""

    def interrupted(self, task: Task) -> None:
        """The task's run is left to be gone on with."""

    @property
    def headline(self) -> str:
        """Best so far, for the display."""
