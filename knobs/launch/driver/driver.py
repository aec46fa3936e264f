"""The driver: takes runs from a plan, gives them to free workers, and alone writes what comes back.

A worker may die at any instant: its run continues from its last checkpoint on another worker, in the same MLflow run.
The driver may die at any instant: the store is always whole, and the next launch continues from it.
"""

from __future__ import annotations

import time
from contextlib import suppress

from knobs import signals
from knobs.errors import InterruptedBySignal, StoreError
from knobs.launch.driver.device_time import DeviceTime
from knobs.launch.driver.display import Display, show_end, work_progress
from knobs.launch.driver.open_run import OpenRun
from knobs.launch.driver.reuse import find_reusable
from knobs.launch.driver.run_recorder import RunRecorder
from knobs.launch.driver.waiting import WaitingRuns
from knobs.launch.plans.plan import Plan
from knobs.launch.pools.messages import (
    FromWorker,
    Lost,
    NewPoint,
    PruningAnswer,
    PruningQuestion,
    Ready,
    RunEnded,
    Saving,
    Stop,
    Train,
    has_stopped,
)
from knobs.launch.pools.pool import Pool, WorkerHandle
from knobs.record.stores.mlflow_store import Tracker
from knobs.terminal.say import warn
from knobs.training import Outcome, newest_checkpoints

RETRIES = 3
"""A run that lost more workers than this is given up."""

FLUSH_SECONDS, GRACE_SECONDS = 1.0, 7.0
"""Seconds between writes of curves; seconds that workers have to save themselves, if nothing is large."""


class Driver:
    """Runs one plan at a time over a pool of workers. Use it within `signals.held()`: it stops at a whole point."""

    def __init__(self, tracker: Tracker, pool: Pool, display: Display, *, fresh: bool = False) -> None:
        self.tracker, self.pool, self.display, self.fresh = tracker, pool, display, fresh
        self.recorder = RunRecorder(tracker)
        self.training: dict[WorkerHandle, list[OpenRun]] = {}
        """The runs that each busy worker trains: one, or the members of a batch."""
        self.waiting, self.device_time = WaitingRuns(), DeviceTime()
        self._opening: list[OpenRun] = []
        self._environments: dict[WorkerHandle, dict[str, str]] = {}
        self._mute, self._flushed, self._stop_by = False, time.monotonic(), 0.0

    def run(self, plan: Plan) -> None:
        """Drive the plan to its end. Raise `InterruptedBySignal` after everything is saved."""
        self.plan = plan
        try:
            while not (plan.done and not self.waiting and not self.training):
                signals.check()
                self._dispatch()
                for worker, message in self.pool.wait(0.2):
                    self._handle(worker, message)
                self.device_time.add(self.pool.workers, self.training, more=not plan.done)
                if time.monotonic() - self._flushed > FLUSH_SECONDS:
                    self.flush()
                if self.display.due():
                    self.display.show(work_progress(self.pool.workers, self.training, plan))
        except InterruptedBySignal:
            self._stop()
            raise
        except BaseException:
            self.tracker.patience, self._mute = 2.0, True  # the store or the terminal may be what failed
            with suppress(Exception):
                self._stop()
            raise

    def environment(self) -> dict[str, str]:
        """Wait for the first worker. Return its device, versions and flags."""
        while not self._environments:
            signals.check()
            for worker, message in self.pool.wait(0.2):
                self._handle(worker, message)
        return next(iter(self._environments.values()))

    def flush(self) -> None:
        """Write all points that were received. When this returns, they are in the store."""
        for runs in self.training.values():
            for run in runs:
                self.recorder.flush(run)
        self._flushed = time.monotonic()

    def _dispatch(self) -> None:
        for worker in self.pool.workers:
            if not worker.ready or worker in self.training or self.waiting.needs_card_of(worker, self.training):
                continue
            while True:
                runs = self.waiting.take(worker) or [OpenRun.of(planned) for planned in self.plan.next()]
                if not runs or self._start(worker, runs):
                    break
            if not runs:
                break

    def _start(self, worker: WorkerHandle, runs: list[OpenRun]) -> bool:
        """Give runs to the worker. Return false if all of them ended without one."""
        self._opening = list(runs)  # from here on they are left as interrupted, whatever goes wrong
        for run in runs:
            if not run.identity and run.trains:
                self.recorder.open(run, self.plan.experiment, self._environments[worker])
            self.plan.started(run.planned)
        scratch, cache = self.recorder.scratch, self.tracker.places.cache
        resume = newest_checkpoints(*[scratch(run) for run in runs if not run.checkpoint])
        if not (resume or self.fresh):
            for run in runs:
                self._reuse(run)
        if not self._opening:
            return False
        for run in self._opening:
            self.recorder.count_attempt(run)
        jobs = [run.job(scratch(run), cache, tuple(resume)) for run in self._opening]
        self.training[worker], self._opening = self._opening, []
        worker.send(Train(tuple(jobs)))
        return True

    def _reuse(self, run: OpenRun) -> None:
        """Let a run that is being opened take over the values of an equal, finished run, if there is one.

        If only the test split is missing, a worker reads it with that run's checkpoint. A pruner sees the curve again.
        """
        if not run.trains or (found := find_reusable(self.tracker, run)) is None:
            return
        planned = run.planned
        self.recorder.mark_reused(run, found.trained)
        for point in found.points:
            run.receive(point)
            if planned.should_continue and not planned.should_continue(point.step, point.values[planned.metric]):
                self._end_unstarted(run, Outcome(state="pruned", message="pruned"))
                return
        if found.checkpoint is None:
            self._end_unstarted(run, found.outcome(read_test=planned.read_test))
        else:
            self.recorder.flush(run)
            run.carried, run.checkpoint = found.summary, found.checkpoint

    def _end_unstarted(self, run: OpenRun, outcome: Outcome) -> None:
        self._opening.remove(run)
        self._end(run, outcome)

    def _handle(self, worker: WorkerHandle, message: FromWorker) -> None:
        if worker not in self.pool.workers:  # it was replaced at its last message, which also reported it as lost
            return
        match message:
            case Ready():
                self._environments[worker] = message.environment
            case Lost():
                self._worker_lost(worker, message)
            case Saving(seconds=seconds):
                self._stop_by = max(self._stop_by, time.monotonic() + GRACE_SECONDS + seconds)
            case NewPoint() | PruningQuestion() | RunEnded():
                run = next((run for run in self.training.get(worker, ()) if run.id == message.run), None)
                if run is not None:
                    self._handle_run(worker, run, message)

    def _handle_run(self, worker: WorkerHandle, run: OpenRun, message: NewPoint | PruningQuestion | RunEnded) -> None:
        should_continue = run.planned.should_continue
        match message:
            case NewPoint(point=point):
                run.receive(point)
                if should_continue is not None:  # a replayed point must reach the pruner too
                    should_continue(point.step, point.values[run.planned.metric])
            case PruningQuestion(step=step, value=value):
                assert should_continue is not None
                worker.send(PruningAnswer(should_continue(step, value)))
            case RunEnded(outcome=Outcome(state="interrupted")):  # a signal reached the worker alone
                self._requeue(self.training.pop(worker, []))
                self._replace(worker)
            case RunEnded(outcome=Outcome(state="out_of_memory")) if worker.card and not run.alone:
                self._finished_with(worker, run)
                self.waiting.add_alone(run)
            case RunEnded(outcome=Outcome(state="unsaved") as outcome):  # the run is fine, its disk is not
                self.waiting.add(self.training.pop(worker, []))
                raise StoreError(f"{outcome.message}; recorded values are safe; run the same command to continue")
            case RunEnded(outcome=outcome):
                self._finished_with(worker, run)
                self._end(run, outcome)

    def _finished_with(self, worker: WorkerHandle, run: OpenRun) -> None:
        self.training[worker].remove(run)
        if not self.training[worker]:
            del self.training[worker]

    def _worker_lost(self, worker: WorkerHandle, lost: Lost) -> None:
        self._environments.pop(worker, None)
        kept: list[OpenRun] = []
        for run in self.training.pop(worker, []):
            run.lost_workers += 1
            if lost.killed_for_memory:
                self._end(run, Outcome(state="out_of_memory", message=lost.reason))
            elif run.lost_workers > RETRIES:
                why = f"lost {run.lost_workers} workers, the last to {lost.reason}"
                self._end(run, Outcome(state="lost", message=why))
            else:
                kept.append(run)
        if kept:
            self._requeue(kept)
        self._replace(worker)

    def _replace(self, worker: WorkerHandle) -> None:
        if why := self.pool.replace(worker):
            warn(f"{why}; the other devices go on without it")

    def _requeue(self, runs: list[OpenRun]) -> None:
        self.waiting.add(runs)
        for run in runs:
            self.recorder.count_lost_worker(run)

    def _end(self, run: OpenRun, outcome: Outcome) -> None:
        outcome = run.completed(outcome)
        end = self.recorder.end if run.trains else self.recorder.add_test
        state = end(run, outcome, self.plan.end_tags(run.planned))
        self.plan.ended(run.planned, run.id, state, outcome)
        self.recorder.clear(run)
        if run.trains and not self._mute:
            show_end(self.display, run, state, outcome)

    def _stop(self) -> None:
        """Let workers save themselves, then leave every run as interrupted."""
        for worker in self.pool.workers:
            worker.send(Stop())
        self._stop_by = time.monotonic() + GRACE_SECONDS
        left: list[OpenRun] = []
        while self.training and time.monotonic() < self._stop_by:
            for worker, message in self.pool.wait(0.1):
                if isinstance(message, Lost):
                    self.pool.drop(worker)
                if isinstance(message, Lost) or has_stopped(message):
                    left += self.training.pop(worker, [])
                elif worker in self.training:
                    self._handle(worker, message)
        left += [*(run for runs in self.training.values() for run in runs), *self.waiting.clear(), *self._opening]
        left = [run for run in left if run.id]
        self.training.clear()
        for run in left:
            self.recorder.leave_interrupted(run)
        for run in left:
            self.plan.interrupted(run.planned)
