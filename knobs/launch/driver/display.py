"""What the driver shows while it works: the display's protocol, and the plain values that it receives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from knobs.launch.driver.open_run import OpenRun
from knobs.launch.plans.plan import Plan
from knobs.launch.pools.pool import WorkerHandle
from knobs.record.schema import Kind, Metric
from knobs.record.states import StateName
from knobs.terminal.progress import WorkerLine, WorkProgress
from knobs.training import Outcome


class Display(Protocol):
    """Shows the progress of a launch; `knobs.terminal.progress.ProgressDisplay` implements it."""

    def due(self) -> bool:
        """Return whether `show` should be called. This is called several times a second and must be cheap."""

    def show(self, progress: WorkProgress) -> None:
        """Redraw."""

    def run_ended(self, name: str, state: str, *, metric: str, value: float | None, step: int, message: str) -> None:
        """Report one run that ended."""


def work_progress(
    workers: Sequence[WorkerHandle], training: Mapping[WorkerHandle, Sequence[OpenRun]], plan: Plan
) -> WorkProgress:
    """Return what every worker does, and how much of the plan is done."""
    lines = tuple(_worker_line(worker, training.get(worker, ()), plan) for worker in workers)
    return WorkProgress(lines, plan.total, plan.left, plan.headline)


def show_end(display: Display, run: OpenRun, state: str, outcome: Outcome) -> None:
    """Report a run that ended: its metric at the chosen step, why it ended, its cell."""
    planned = run.planned
    why = f"at step {run.step}" if state == StateName.PRUNED else outcome.message
    message = "  ".join(filter(None, [why, planned.cell]))
    name = planned.label if planned.kind == Kind.SEED and planned.cell else planned.name  # names are cut: see `cell`
    value = outcome.summary.get(Metric.BEST + planned.metric)
    display.run_ended(name, state, metric=planned.metric, value=value, step=outcome.best_step, message=message)


def _worker_line(worker: WorkerHandle, runs: Sequence[OpenRun], plan: Plan) -> WorkerLine:
    if not runs:
        return WorkerLine(worker.label, waiting=(plan.waiting or "idle") if worker.ready else "starts")
    first = runs[0]
    planned = first.planned
    name = planned.name if len(runs) == 1 else f"{planned.name} +{len(runs) - 1}"
    steps = planned.config.training.max_steps
    return WorkerLine(worker.label, "", name, first.step, steps, planned.metric, first.value)
