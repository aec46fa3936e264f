"""Open runs for a worker: record them, give them the code of now, and let finished twins answer for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from knobs.launch.driver.current_code import CurrentCode
from knobs.launch.driver.open_run import OpenRun
from knobs.launch.driver.reuse import find_reusable
from knobs.launch.driver.run_recorder import RunRecorder
from knobs.launch.initial_weights import initial_checkpoint
from knobs.launch.plans.plan import Plan
from knobs.training import Outcome, TrainJob, newest_checkpoints

EDITED = "a file of its code was edited while it trained, and its worker was lost"


class RunOpener:
    """Opens the runs that a worker is about to train."""

    def __init__(self, recorder: RunRecorder, end: Callable[[OpenRun, Outcome], None], *, fresh: bool) -> None:
        self.recorder, self.end, self.fresh = recorder, end, fresh
        self.code = CurrentCode()
        self.opening: list[OpenRun] = []
        """Runs between their plan and their worker. They are left as interrupted, whatever goes wrong."""

    def open(self, runs: list[OpenRun], plan: Plan, environment: Mapping[str, str]) -> list[TrainJob]:
        """Open runs, and return a job for each that needs a worker; the others have ended."""
        self.opening = list(runs)
        for run in runs:
            self._record(run, plan, environment)
        opened = list(self.opening)
        resume = newest_checkpoints(*[self.recorder.scratch(run) for run in opened if not run.checkpoint])
        if not (resume or self.fresh):
            for run in opened:
                self._reuse(run)
        for run in self.opening:
            self.recorder.count_attempt(run)
        cache = self.recorder.places.cache
        return [run.job(self.recorder.scratch(run), cache, tuple(resume), self._initial(run)) for run in self.opening]

    def _initial(self, run: OpenRun) -> Path | None:
        """Return the checkpoint with a run's initial weights. An ended run, whose test split is read, needs none."""
        return initial_checkpoint(self.recorder.tracker, run.config) if run.trains else None

    def handed_out(self) -> list[OpenRun]:
        """Return the opened runs: a worker has them now."""
        runs, self.opening = self.opening, []
        return runs

    def _record(self, run: OpenRun, plan: Plan, environment: Mapping[str, str]) -> None:
        """Record the run under the code of now. End it if its code was edited after it began to train."""
        before = run.code
        if run.trains and not self.code.settle(run):
            self._end_unstarted(run, Outcome(state="lost", message=EDITED))
            return
        if before and before != run.code:
            self.recorder.clear(run)  # checkpoints of a training without curve points, by the old code
        if run.trains and not run.identity:
            self.recorder.open(run, plan.experiment, environment)
        plan.started(run.planned)

    def _reuse(self, run: OpenRun) -> None:
        """Let a run take over the values of an equal, finished run, if there is one.

        If only the test split is missing, a worker reads it with that run's checkpoint. A pruner sees the curve again.
        """
        if not run.trains or (found := find_reusable(self.recorder.tracker, run)) is None:
            return
        planned = run.planned
        self.recorder.mark_reused(run, found.trained)
        for point in found.points:
            run.receive(point)
            asks = planned.should_continue is not None and not planned.should_continue(
                point.step, point.values[planned.metric]
            )
            if asks and point is not found.points[-1]:  # nobody is pruned at the end
                self._end_unstarted(run, Outcome(state="pruned", message="pruned"))
                return
        if found.checkpoint is None:
            self._end_unstarted(run, found.outcome(read_test=planned.read_test))
        else:
            self.recorder.flush(run)
            run.carried, run.checkpoint = found.summary, found.checkpoint

    def _end_unstarted(self, run: OpenRun, outcome: Outcome) -> None:
        self.opening.remove(run)
        self.end(run, outcome)
