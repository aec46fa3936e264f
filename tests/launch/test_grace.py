"""After a signal, a driver waits for its workers: longer if they save more."""

import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from memory_pool import MemoryPool, MemoryWorker, QuietDisplay
from written_records import BASELINE, new_tracker

from knobs.errors import InterruptedBySignal
from knobs.launch.driver import Driver
from knobs.launch.plans import FixedPlan, PlannedRun
from knobs.launch.pools.messages import SLOWEST_WRITE, FromWorker, Saving
from knobs.record.schema import Kind


class SlowDisk(MemoryWorker):
    """A worker that says how much it saves once it must stop, and takes as long as a slow disk."""

    size, said, done_at = 600_000_000, False, float("inf")
    clock: ClassVar[list[float]] = [0.0]

    def next_message(self) -> Any:
        """Return the next message."""
        if not self.stopping or self.clock[0] >= self.done_at:
            return super().next_message()
        if self.said:
            return None
        self.said, self.done_at = True, self.clock[0] + self.size / SLOWEST_WRITE
        return Saving(self.size)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_driver_waits_longer_for_a_worker_that_saves_more(
    workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = MemoryPool(workers)
    pool.workers = [SlowDisk(worker.label, worker.train) for worker in pool.workers]
    clock = SlowDisk.clock

    def passing(timeout: float) -> list[tuple[MemoryWorker, FromWorker]]:
        clock[0] += 0.5
        if clock[0] % 100 == 5:
            raise InterruptedBySignal(signal.SIGINT)
        return MemoryPool.wait(pool, timeout)

    given = {"kind": Kind.RUN, "metric": "val/loss"}
    runs = [PlannedRun(config=BASELINE.with_knobs({"seed": n}), label=f"r{n}", name=f"r{n}", **given) for n in range(9)]
    plan = FixedPlan("slow disk", runs)
    clock[0] = 0.0
    monkeypatch.setattr(pool, "wait", passing)
    monkeypatch.setattr("knobs.launch.driver.driver.time", SimpleNamespace(monotonic=lambda: clock[0]))
    with pytest.raises(InterruptedBySignal):
        Driver(new_tracker(tmp_path), pool, QuietDisplay(), fresh=True).run(plan)
    assert clock[0] > 600 / 20
    assert not any(worker.jobs for worker in pool.workers), "the driver left before its workers had saved themselves"
