"""Train a small network twice on every device, in workers like those of a study, and compare every value."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from knobs import signals
from knobs.config import RunConfig
from knobs.devices import Device
from knobs.errors import DeviceError
from knobs.launch.pools import LocalPool, WorkerHandle
from knobs.launch.pools.messages import FromWorker, Lost, NewPoint, Ready, RunEnded, Train
from knobs.training import CurvePoint, Outcome, TrainJob

TIMES = 2


@dataclass
class _Trained:
    """What the trainings of one worker gave."""

    points: list[list[CurvePoint]] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)


def check_determinism(config: RunConfig, devices: list[Device], root: Path) -> Iterator[tuple[bool, str]]:
    """Yield whether a device gives the same bits twice, with a line that says so or says why not."""
    with tempfile.TemporaryDirectory(prefix="knobs-doctor-", ignore_cleanup_errors=True) as folder:
        pool = LocalPool(devices, root, Path(folder))
        try:
            yield from _check(config, pool, Path(folder))
        finally:
            with signals.undisturbed():
                pool.close()


def _check(config: RunConfig, pool: LocalPool, folder: Path) -> Iterator[tuple[bool, str]]:
    trained: dict[WorkerHandle, _Trained] = {}
    waiting = len(pool.workers)
    while waiting:
        signals.check()
        for worker, message in pool.wait(0.2):
            found = trained.setdefault(worker, _Trained())
            line = _handle(config, worker, message, found, folder)
            if isinstance(message, Lost):
                try:
                    why = pool.replace(worker)
                except DeviceError as error:
                    why = str(error)
                line = (False, why) if why else None
            if line is not None:
                waiting -= 1
                yield line


def _handle(
    config: RunConfig, worker: WorkerHandle, message: FromWorker, found: _Trained, folder: Path
) -> tuple[bool, str] | None:
    if isinstance(message, NewPoint):
        found.points[-1].append(message.point)
    elif isinstance(message, RunEnded):
        found.outcomes.append(message.outcome)
        if message.outcome.state != "finished":
            return False, f"a small training on {worker.label} {message.outcome.state}: {message.outcome.message}"
        if len(found.outcomes) == TIMES:
            return _compare(worker, found)
    if isinstance(message, Ready | RunEnded):
        found.points.append([])
        name = f"{worker.label.replace(':', '').replace('/', '-')}-{len(found.points)}"
        job = TrainJob(run="doctor", config=config.to_json(), folder=folder / name, cache=folder / "data")
        worker.send(Train((job,)))
    return None


def _compare(worker: WorkerHandle, found: _Trained) -> tuple[bool, str]:
    facts = found.outcomes[0].environment
    curves = [[(point.step, point.values) for point in points] for points in found.points]
    same = all(one == curves[0] for one in curves)
    name = facts["device_name"] if facts["device_name"] != facts["device"] else facts["cpu_capability"]
    advice = "" if same else ": numbers from here are not reproducible; compare torch's build with another machine's"
    return (
        same,
        f"a small training twice on {worker.label} ({name}): {'identical' if same else 'different'} bits{advice}",
    )
