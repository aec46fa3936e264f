"""What stands between a training and whoever asked for it: snapshots when due, records out, the pruner's answers."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any, Protocol

from knobs import checkpoint
from knobs.job import Job, Record

if TYPE_CHECKING:
    from pathlib import Path

    from knobs.learner import Learner, Numbers

CHECKPOINT_SECONDS = float(os.environ.get("KNOBS_CHECKPOINT_SECONDS", "10"))
"""Seconds of training between resumable checkpoints; a shorter run has none but on a signal."""


class Channel(Protocol):
    """The runner's way out: where records go and where questions are answered."""

    @property
    def stopping(self) -> bool:
        """Asked for from outside: save and end at the next batch boundary."""

    def record(self, record: Record) -> None:
        """Hand on the values at one step."""

    def goes_on(self, step: int, value: float) -> bool:
        """Whether a training with this value at this step is worth going on with."""


class PrunedError(Exception):
    """The pruner said stop."""


class StoppedError(Exception):
    """A signal asked to stop; a snapshot is saved at `path`."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self.path = path


class Watch:
    """Saves snapshots when due, hands on records, asks the pruner."""

    learner: Learner

    def __init__(self, job: Job, channel: Channel) -> None:
        self.job, self.channel = job, channel
        self.log: list[str] = []
        self.due = time.monotonic() + CHECKPOINT_SECONDS
        self.saved: list[Path] = []
        self.records: list[Record] = []

    def between_steps(self) -> None:
        """Save what is due. Raises `StoppedError` where a stop was asked for."""
        if self.channel.stopping:
            self.save()
            raise StoppedError(self.saved[-1])
        if time.monotonic() >= self.due:
            self.save()

    def validated(self, step: int, values: Numbers) -> bool:
        """Hand on the values. Raises `PrunedError` where the pruner says stop."""
        record = Record(step=step, values=values, time_ms=time.time_ns() // 1_000_000)
        self.tell(record)
        if self.job.asks is not None and not self.channel.goes_on(step, values[self.job.asks]):
            raise PrunedError
        return True

    def tell(self, record: Record) -> None:
        """Hand on a record and keep it."""
        self.records.append(record)
        self.channel.record(record)

    def told(self) -> list[Any]:
        """What was told so far, in primitives."""
        return [vars(record) for record in self.records]

    def tell_again(self, told: list[Any]) -> None:
        """Of a checkpoint: the driver may have died before it wrote these records, and drops what it has."""
        for record in told:
            self.tell(Record(**record))

    def save(self) -> None:
        """Keep the two newest: should the newest be damaged, the one before it still goes on."""
        path = self.job.folder / f"step-{self.learner.progress.step:012d}.ckpt"
        checkpoint.save({"config": self.job.config, "records": self.told(), **self.learner.snapshot()}, path)
        if path not in self.saved:
            self.saved.append(path)
        for old in self.saved[:-2]:
            old.unlink(missing_ok=True)
        self.saved = self.saved[-2:]
        self.log.append(f"checkpoint at step {self.learner.progress.step}")
        self.due = time.monotonic() + CHECKPOINT_SECONDS
