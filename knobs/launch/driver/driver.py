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
from knobs.launch.driver.display import Display, work_progress
from knobs.launch.driver.open_run import OpenRun
from knobs.launch.driver.opening import RunOpener
from knobs.launch.driver.run_recorder import RunRecorder
from knobs.launch.driver.same_failures import SameFailures
from knobs.launch.driver.waiting import WaitingRuns
from knobs.launch.plans.plan import Plan
from knobs.launch.pools.messages import (
    FromWorker,
    Lost,
    NewPoint,
    Outdated,
    PruningAnswer,
    PruningQuestion,
    ReadsFound,
    Ready,
    RunEnded,
    RunMessage,
    Saving,
    Stop,
    Train,
    has_stopped,
)
from knobs.launch.pools.pool import Pool, WorkerHandle
from knobs.record.stores.mlflow_store import Tracker
from knobs.terminal.say import warn
from knobs.training import Outcome

RETRIES = 3
"""A run that lost more workers than this is given up."""

FLUSH_SECONDS, GRACE_SECONDS = 1.0, 7.0
"""Seconds between writes of curves; seconds that workers have to save themselves, if nothing is large."""


class Driver:
    """Runs one plan at a time over a pool of workers. Use it within `signals.held()`: it stops at a whole point."""

    def __init__(self, tracker: Tracker, pool: Pool, display: Display, *, fresh: bool = False) -> None:
        self.tracker, self.pool, self.display = tracker, pool, display
        self.recorder = RunRecorder(tracker)
        self.opener = RunOpener(self.recorder, self._end, fresh=fresh)
        self.training: dict[WorkerHandle, list[OpenRun]] = {}
        """The runs that each busy worker trains: one, or the members of a batch."""
        self.waiting, self.device_time = WaitingRuns(), DeviceTime()
        self.failures = SameFailures(self.recorder, display)
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
            while runs := self.waiting.take(worker) or [OpenRun.of(planned) for planned in self.plan.next()]:
                if self._start(worker, runs):
                    break
            else:
                break

    def _start(self, worker: WorkerHandle, runs: list[OpenRun]) -> bool:
        """Give runs to the worker. Return false if all of them ended without one."""
        jobs = self.opener.open(runs, self.plan, self._environments[worker])
        if not jobs:
            return False
        self.training[worker] = self.opener.handed_out()
        worker.send(Train(tuple(jobs)))
        return True

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
            case Outdated():
                self._worker_outdated(worker)
            case ReadsFound() | NewPoint() | PruningQuestion() | RunEnded():
                run = next((run for run in self.training.get(worker, ()) if run.id == message.run), None)
                if run is not None:
                    self._handle_run(worker, run, message)

    def _handle_run(self, worker: WorkerHandle, run: OpenRun, message: RunMessage) -> None:
        should_continue = run.planned.should_continue
        match message:
            case ReadsFound(reads=reads):
                self.recorder.note_reads(run, reads)
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

    def _worker_outdated(self, worker: WorkerHandle) -> None:
        """Replace a worker that had imported a file before it was edited. Its runs go to the next one."""
        runs = self.training.pop(worker, [])
        for run in list(runs):
            run.outdated_workers += 1
            if run.outdated_workers > RETRIES:
                runs.remove(run)
                self._end(run, Outcome(state="failed", message="workers import other code than the driver"))
        if runs:
            self.waiting.add(runs)
        self._environments.pop(worker, None)
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
        if not self._mute:
            self.failures.note(run, state, outcome)

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
        left += [*(run for runs in self.training.values() for run in runs), *self.waiting.clear(), *self.opener.opening]
        left = [run for run in left if run.id]
        self.training.clear()
        for run in left:
            self.recorder.leave_interrupted(run)
        for run in left:
            self.plan.interrupted(run.planned)
