"""Opened runs that wait for a worker: those whose worker was lost, and those that need a card for themselves."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence

from knobs.launch.driver.open_run import OpenRun
from knobs.launch.pools import WorkerHandle

Training = Mapping[WorkerHandle, Sequence[OpenRun]]
"""The runs that each busy worker trains."""


class WaitingRuns:
    """Runs that will be trained again. A run that needs a card alone waits until its neighbours have ended."""

    def __init__(self) -> None:
        self._again: deque[list[OpenRun]] = deque()
        self._alone: deque[OpenRun] = deque()

    def __bool__(self) -> bool:
        return bool(self._again or self._alone)

    def add(self, runs: list[OpenRun]) -> None:
        """Add a run, or the members of a batch, that any worker may train."""
        self._again.append(runs)

    def add_alone(self, run: OpenRun) -> None:
        """Add a run that ran out of memory; its neighbours on the card may have taken the memory."""
        run.alone = True
        self._alone.append(run)

    def take(self, worker: WorkerHandle) -> list[OpenRun]:
        """Return the runs that this worker trains next; empty if none waits for it."""
        if self._alone and worker.card:
            return [self._alone.popleft()]
        return self._again.popleft() if self._again else []

    def needs_card_of(self, worker: WorkerHandle, training: Training) -> bool:
        """Return whether a worker must stay idle: a run needs its card alone, and trains there or waits to."""
        beside = [run for other, runs in training.items() if other.card == worker.card for run in runs]
        return bool(worker.card) and (any(run.alone for run in beside) or bool(self._alone and beside))

    def clear(self) -> Iterator[OpenRun]:
        """Remove and yield all runs."""
        while self._again:
            yield from self._again.popleft()
        while self._alone:
            yield self._alone.popleft()
