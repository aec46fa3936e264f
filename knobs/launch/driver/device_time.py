"""How much device time was used, and how much was idle."""

from __future__ import annotations

import time
from collections.abc import Container, Iterable

from knobs.launch.pools import WorkerHandle


class DeviceTime:
    """Adds up busy and idle device time in seconds. A ready device is idle if there is more to do."""

    def __init__(self) -> None:
        self.busy = self.idle = 0.0
        self._last = time.monotonic()

    def add(self, workers: Iterable[WorkerHandle], training: Container[WorkerHandle], *, more: bool) -> None:
        """Add the time since the last call."""
        now = time.monotonic()
        passed, self._last = now - self._last, now
        for worker in workers:
            if worker in training:
                self.busy += passed
            elif worker.ready and more:
                self.idle += passed

    @property
    def idle_share(self) -> float:
        """Idle device time as a share of all device time."""
        return self.idle / (self.idle + self.busy) if self.idle + self.busy else 0.0
