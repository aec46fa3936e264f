"""What a plan gives to the driver: runs to train, in an order that the plan decides."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from knobs.config import RunConfig
from knobs.record.schema import Tag
from knobs.record.stores.rows import Row
from knobs.training import Outcome


@dataclass(frozen=True, kw_only=True)
class InterruptedRun:
    """A recorded run that has not ended and can continue."""

    id: str
    code: str
    """Hash of the code that trained it so far."""
    fingerprint: str
    identity: str
    """As it was recorded when the run began."""
    attempt: int
    lost_workers: int
    last_step: int
    """Last step of its curves in the store."""
    singles: frozenset[str]
    """Single values that are in the store."""


@dataclass(frozen=True, kw_only=True)
class FinishedRun:
    """A finished run whose test split has yet to be read, with its checkpoint."""

    row: Row
    checkpoint: Path


@dataclass(frozen=True, kw_only=True, eq=False)
class PlannedRun:
    """One run to train."""

    kind: str
    """One of `Kind`."""
    label: str
    """A name that is unique in its plan or cell: `t007`, `s1002`."""
    name: str
    """Name of the MLflow run, at most 18 characters, the varying value first."""
    config: RunConfig
    tags: Mapping[str, str] = field(default_factory=dict)
    """Tags besides those that every run has."""
    metric: str = ""
    """The metric that the display shows and the pruner sees."""
    read_test: bool = False
    """Read the test split at the end."""
    should_continue: Callable[[int, float], bool] | None = None
    """The pruner's answer to the metric's value at a step. None: never prune."""
    prunes: bool = True
    """The training waits for the pruner's answer. False: the pruner ends nothing and only takes note."""
    batch: tuple[RunConfig, ...] = ()
    """Configs of all members of the batch in which it is trained. Empty: trained alone."""
    cell: str = ""
    """The cell of an ablation that it belongs to."""
    continues: InterruptedRun | None = None
    """The recorded run that it continues."""
    reads_test_of: FinishedRun | None = None
    """Train nothing: read the test split of this run."""


def group_batches(planned: Iterable[PlannedRun]) -> list[list[PlannedRun]]:
    """Return runs as they are handed out, in order: the members of one batch together, the others alone."""
    groups: dict[object, list[PlannedRun]] = {}
    for run in planned:
        key = tuple(member.to_json() for member in run.batch) if run.batch else id(run)
        groups.setdefault(key, []).append(run)
    return list(groups.values())


class Plan(Protocol):
    """Gives runs to the driver and is informed of their ends. The driver calls `next` whenever a worker is free."""

    experiment: str
    """Name of the MLflow experiment."""

    @property
    def total(self) -> int:
        """Runs in all, as far as known."""

    @property
    def left(self) -> int:
        """Runs that have not ended, as far as known."""

    @property
    def done(self) -> bool:
        """True if no further run will come."""

    @property
    def waiting(self) -> str:
        """Why there is nothing to train now, for the display."""

    @property
    def headline(self) -> str:
        """The best value so far, for the display."""

    def next(self) -> list[PlannedRun]:
        """Return the next run, or the members of the next batch, for one worker; empty if there is nothing now."""

    def started(self, planned: PlannedRun) -> None:
        """Called when a run is recorded and gets a worker."""

    def end_tags(self, planned: PlannedRun) -> Mapping[str, str]:
        """Return tags to record at the run's end."""

    def ended(self, planned: PlannedRun, run: str, state: str, outcome: Outcome) -> None:
        """Called when a run has ended and is recorded, with its MLflow id and its recorded state."""

    def interrupted(self, planned: PlannedRun) -> None:
        """Called when a run is left to be continued later."""


def parent_name(tags: Mapping[str, str]) -> str:
    """Return the name of the ablation, study or baseline that a run belongs to."""
    return next((tags[tag] for tag in (Tag.ABLATION, Tag.STUDY, Tag.NAME) if tags.get(tag)), "")
