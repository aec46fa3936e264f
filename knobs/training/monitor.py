"""The link between one training and the process that requested it: curve points, pruning, stopping, checkpoints."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Protocol

from knobs.devices import device_kind
from knobs.training.checkpoint import tensor_bytes
from knobs.training.messages import CurvePoint
from knobs.training.snapshots import SnapshotWriter

if TYPE_CHECKING:
    from pathlib import Path

    from knobs.training.learner import Learner
    from knobs.training.messages import TrainJob
    from knobs.training.state import Numbers


class Channel(Protocol):
    """A training's connection to the process that requested it."""

    @property
    def stopping(self) -> bool:
        """True if the training must save a checkpoint and end before its next step."""

    def saving(self, size: int) -> None:
        """Say that so many bytes are written before the training ends: a stop waits longer for more."""

    def record(self, point: CurvePoint) -> None:
        """Send one curve point."""

    def should_continue(self, step: int, value: float) -> bool:
        """Return the pruner's decision about a training with this value at this step."""


class PrunedError(Exception):
    """The pruner ended the training."""


class StoppedError(Exception):
    """A signal ended the training; its checkpoint is at `path`."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self.path = path


class RunMonitor:
    """The listener of one run: it writes checkpoints when due, sends curve points and reports to the pruner."""

    learner: Learner

    def __init__(self, job: TrainJob, channel: Channel) -> None:
        self.job, self.channel = job, channel
        self.log: list[str] = []
        self.snapshots = SnapshotWriter(self.log)
        self.points: list[CurvePoint] = []

    def between_steps(self) -> None:
        """Start to write a checkpoint if one is due. If the channel is stopping, write one and raise `StoppedError`."""
        if self.channel.stopping:
            path = self.start_snapshot(last=True)
            self.snapshots.finish()
            raise StoppedError(path)
        if time.monotonic() >= self.snapshots.due:
            self.start_snapshot()

    def after_validation(self, step: int, values: Numbers, *, last: bool) -> None:
        """Send the values as a curve point. Raise `PrunedError` if the pruner ends the training before its end."""
        self.send_point(CurvePoint(step=step, values=values, time_ms=_now_ms()))
        metric = self.job.pruning_metric
        if metric is not None and not last and not self.channel.should_continue(step, values[metric]):
            raise PrunedError

    def send_point(self, point: CurvePoint) -> None:
        """Send a curve point and keep it."""
        self.points.append(point)
        self.channel.record(point)

    def points_so_far(self) -> list[Any]:
        """Return all curve points, as primitives."""
        return [vars(point) for point in self.points]

    def resend_points(self, saved: list[Any]) -> None:
        """Send a checkpoint's curve points again; the driver ignores those it already stored."""
        for point in saved:
            self.send_point(CurvePoint(**point))

    def start_snapshot(self, *, last: bool = False) -> Path:
        """Start to write a checkpoint and return its path. `last`: the training ends with it."""
        learner = self.learner
        path = self.job.folder / f"step-{learner.state.step:012d}.ckpt"
        state = {"config": self.job.config, "points": self.points_so_far(), **learner.snapshot()}
        if last:
            self.channel.saving(tensor_bytes(state) * (2 if self.snapshots.busy else 1))
        self.snapshots.start(state, path, device_kind(learner.device.type))
        return path


class BatchMonitor(RunMonitor):
    """The listener of a batch of runs: it serves each member's channel, if the member has a job."""

    def __init__(self, job: TrainJob, jobs: dict[int, TrainJob], channels: dict[int, Channel], count: int) -> None:
        super().__init__(job, next(iter(channels.values())))
        self.jobs, self.channels = jobs, channels
        self.member_points: list[list[CurvePoint]] = [[] for _ in range(count)]

    def after_member_validation(self, index: int, step: int, values: Numbers, *, last: bool) -> bool:
        """Send one member's values as a curve point. Return false if the pruner ends it before its end."""
        self.send_member_point(index, CurvePoint(step=step, values=values, time_ms=_now_ms()))
        metric = self.jobs[index].pruning_metric if index in self.jobs else None
        return metric is None or last or self.channels[index].should_continue(step, values[metric])

    def send_member_point(self, index: int, point: CurvePoint) -> None:
        """Send one member's curve point and keep it."""
        self.member_points[index].append(point)
        if index in self.channels:
            self.channels[index].record(point)

    def points_so_far(self) -> list[Any]:
        """Return each member's curve points, as primitives."""
        return [[vars(point) for point in points] for points in self.member_points]

    def resend_points(self, saved: list[Any]) -> None:
        """Send each member's curve points of a checkpoint again."""
        for index, points in enumerate(saved):
            for point in points:
                self.send_member_point(index, CurvePoint(**point))


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
