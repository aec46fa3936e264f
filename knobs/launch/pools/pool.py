"""The protocol that an engine implements: a pool of workers that train for the driver.

`tests/launch/test_pool_contract.py` runs over every engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from knobs.launch.pools.messages import FromWorker, ToWorker


class WorkerHandle(Protocol):
    """The driver's end of one worker. A worker holds one device and trains one run, or one batch of runs, at a time."""

    @property
    def label(self) -> str:
        """The device as users see it: `cpu:0`, `cuda:1/0`."""

    @property
    def card(self) -> str:
        """Id of the physical device, equal for workers that share one; empty if nothing is shared."""

    @property
    def ready(self) -> bool:
        """True if it takes work."""

    def send(self, message: ToWorker) -> bool:
        """Send a message. Return false if the worker is gone; `Pool.wait` then reports `Lost`."""


class Pool(Protocol):
    """The workers of one engine."""

    @property
    def workers(self) -> Sequence[WorkerHandle]:
        """The workers, those that are still starting included."""

    def wait(self, timeout: float) -> Sequence[tuple[WorkerHandle, FromWorker]]:
        """Return the messages of workers, in order; empty after `timeout` seconds of silence.

        A worker that died, or was silent for too long, is reported as `Lost` after its last message.
        """

    def replace(self, worker: WorkerHandle) -> str:
        """End a worker and start another one on its device.

        If the device failed three times in a row, leave it out and return the reason; raise `DeviceError` if no device
        is left.
        """

    def drop(self, worker: WorkerHandle) -> None:
        """End a worker and start no other one."""

    def close(self) -> None:
        """End all workers."""
