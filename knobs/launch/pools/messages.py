"""The messages between the driver and its workers. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass

from knobs.code import Reads
from knobs.training import CurvePoint, Outcome, TrainJob

SLOWEST_WRITE = 20e6
"""Bytes per second of a slow disk."""


@dataclass(frozen=True)
class Train:
    """To a worker: train one run, or the members of one batch."""

    jobs: tuple[TrainJob, ...]


@dataclass(frozen=True)
class PruningAnswer:
    """To a worker: whether the run that asked should continue."""

    should_continue: bool


@dataclass(frozen=True)
class Stop:
    """To a worker: save a checkpoint at the next batch boundary and end the training."""


@dataclass(frozen=True)
class Quit:
    """To a worker: end the process."""


@dataclass(frozen=True)
class Ready:
    """From a worker: it takes work. `environment` holds its device, versions and flags."""

    environment: dict[str, str]


@dataclass(frozen=True)
class Beat:
    """From a worker: it is alive."""


@dataclass(frozen=True)
class Leaving:
    """From a worker: it ends after the outcomes that follow."""


@dataclass(frozen=True)
class Outdated:
    """From a worker: it has imported other code than the job names, and trains nothing. It must be replaced."""


@dataclass(frozen=True)
class ReadsFound:
    """From a worker: the reads of a run, besides its data, until its first curve point."""

    run: str
    reads: Reads


@dataclass(frozen=True)
class Saving:
    """From a worker that was told to stop: it writes so many bytes before it ends."""

    size: int

    @property
    def seconds(self) -> float:
        """Seconds that a slow disk takes."""
        return self.size / SLOWEST_WRITE


@dataclass(frozen=True)
class NewPoint:
    """From a worker: a run's values at one step."""

    run: str
    point: CurvePoint


@dataclass(frozen=True)
class PruningQuestion:
    """From a worker: should the run with this value at this step continue? It waits for a `PruningAnswer`."""

    run: str
    step: int
    value: float


@dataclass(frozen=True)
class RunEnded:
    """From a worker: a run ended."""

    run: str
    outcome: Outcome


@dataclass(frozen=True)
class Lost:
    """From the pool: a worker is gone."""

    reason: str
    killed_for_memory: bool = False
    """The kernel reports that it killed the process for memory."""


ToWorker = Train | PruningAnswer | Stop | Quit
RunMessage = ReadsFound | NewPoint | PruningQuestion | RunEnded
FromWorker = Ready | Beat | Leaving | Outdated | Saving | Lost | RunMessage


def has_stopped(message: FromWorker) -> bool:
    """Return whether a worker that was told to stop has done so."""
    return isinstance(message, RunEnded) and message.outcome.state in ("interrupted", "unsaved")
