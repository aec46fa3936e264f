"""The driver: asks a plan for tasks, hands them to free devices, and alone writes what comes back.

A worker may die at any instant: its task goes on from its last checkpoint on another worker, in the same MLflow run.
The driver may die at any instant: what the store holds is whole, and the next launch goes on from it.
"""

from __future__ import annotations

import time
from collections import deque
from contextlib import suppress
from dataclasses import replace
from typing import Any, Protocol

from knobs import signals
from knobs.errors import InterruptedBySignal, StoreError
from knobs.job import Job, Outcome, Record, newest_checkpoints
from knobs.launch.local import LocalPool, Lost, Worker
from knobs.launch.recording import Recorder
from knobs.launch.task import Plan, Task
from knobs.tracking import Tracker

RETRIES = 3
"""Workers that a run may lose before it is given up."""

FLUSH_SECONDS = 1.0
GRACE_SECONDS = 7.0
"""How long workers have to save themselves after a signal."""


class Display(Protocol):
    """Shows how things go."""

    def refresh(self, driver: Driver) -> None:
        """Called several times a second."""

    def ended(self, task: Task, state: str, outcome: Outcome) -> None:
        """A task ended."""


class Driver:
    """Runs one plan at a time over a pool of workers. `with signals.held()` around it: it ends at a whole point."""

    def __init__(self, tracker: Tracker, pool: LocalPool, display: Display, *, fresh: bool = False) -> None:
        self.tracker, self.pool, self.display, self.fresh = tracker, pool, display, fresh
        self.recorder = Recorder(tracker)
        self.tasks: dict[Worker, Task] = {}
        self.again: deque[Task] = deque()
        self.idle_seconds = self.busy_seconds = 0.0
        self.ended_count = 0
        self._opening: Task | None = None
        self._mute = False
        self._environments: dict[Worker, dict[str, str]] = {}
        self._flushed = self._clocked = time.monotonic()

    def run(self, plan: Plan) -> None:
        """Drive the plan to its end. Raises `InterruptedBySignal` after everything is saved."""
        self.plan = plan
        try:
            while not (plan.done and not self.again and not self.tasks):
                signals.check()
                self._dispatch()
                for worker, message in self.pool.wait(0.2):
                    self._handle(worker, message)
                self._clock()
                if time.monotonic() - self._flushed > FLUSH_SECONDS:
                    self.flush()
                self.display.refresh(self)
        except InterruptedBySignal:
            self._stop()
            raise
        except BaseException:
            self.tracker.patience, self._mute = 2.0, True  # what failed may be the store, or the terminal
            with suppress(Exception):
                self._stop()
            raise

    def environment(self) -> dict[str, str]:
        """What the first worker says of its device, versions and flags; waits until it does."""
        while not self._environments:
            signals.check()
            for worker, message in self.pool.wait(0.2):
                self._handle(worker, message)
        return next(iter(self._environments.values()))

    def flush(self) -> None:
        """Write what has been heard; it is acknowledged when this returns."""
        for task in self.tasks.values():
            self.recorder.flush(task)
        self._flushed = time.monotonic()

    def _dispatch(self) -> None:
        for worker in self.pool.workers:
            if not worker.ready or worker in self.tasks:
                continue
            while True:
                task = self.again.popleft() if self.again else self.plan.next()
                if task is None or self._start(worker, task):
                    break
            if task is None:
                break

    def _start(self, worker: Worker, task: Task) -> bool:
        """Give the task to the worker; false where it ended without one."""
        self._opening = task  # from here on it is left as interrupted, whatever goes wrong
        if not task.identity and not task.closed:
            self.recorder.open(task, self.plan.experiment, self._environments[worker])
        self.plan.started(task)
        folder = self.recorder.scratch(task)
        resume = () if task.evaluate else tuple(newest_checkpoints(folder))
        if not (resume or task.closed or self.fresh) and (source := self.recorder.finished_twin(task)):
            outcome = self.recorder.reuse(task, source)
            if outcome is not None:
                self._opening = None
                self._end(task, outcome)
                return False
        self.recorder.attempt(task)
        job = Job(
            run=task.run,
            config=task.config.to_json(),
            folder=folder / f"attempt-{task.attempt}",
            cache=self.tracker.places.cache,
            resume=resume,
            test=task.test,
            asks=task.metric if task.report is not None else None,
            evaluate=task.evaluate,
        )
        self.tasks[worker], self._opening = task, None
        worker.send(job)
        return True

    def _handle(self, worker: Worker, message: Any) -> None:
        task = self.tasks.get(worker)
        match message:
            case ("ready", dict() as environment):
                self._environments[worker] = environment
            case Lost():
                self._lost(worker, message)
            case _ if task is None:
                return
            case Record():
                self.recorder.hear(task, message)
                if task.report is not None:
                    task.report(message.step, message.values[task.metric])
            case ("ask", int(step), float(value)):
                assert task.report is not None
                worker.send(task.report(step, value))
            case Outcome(state="interrupted"):  # a signal to the worker alone: its task goes on elsewhere
                self._requeue(self.tasks.pop(worker))
                self.pool.replace(worker)
            case Outcome(state="unsaved"):  # the run is well, its disk is not
                self.again.append(self.tasks.pop(worker))
                raise StoreError(f"{message.message}; what was recorded is safe, the same command goes on")
            case Outcome():
                self._end(self.tasks.pop(worker), message)

    def _lost(self, worker: Worker, lost: Lost) -> None:
        task = self.tasks.pop(worker, None)
        self._environments.pop(worker, None)
        if task is not None and lost.by_kernel_for_memory:
            self._end(task, Outcome(state="out_of_memory", message=lost.reason))
        elif task is not None:
            task.deaths += 1
            if task.deaths > RETRIES:
                why = f"lost {task.deaths} workers, the last to {lost.reason}"
                self._end(task, Outcome(state="lost", message=why))
            else:
                self._requeue(task)
        self.pool.replace(worker)

    def _requeue(self, task: Task) -> None:
        self.again.append(task)
        self.recorder.died(task)

    def _end(self, task: Task, outcome: Outcome) -> None:
        if task.carried and outcome.state == "finished":
            outcome = replace(outcome, summary={**task.carried, **outcome.summary})
        state = self.recorder.end(task, outcome, {} if task.closed else self.plan.end_tags(task, outcome))
        self.plan.ended(task, outcome)
        self.recorder.clear(task)
        self.ended_count += 1
        if not task.closed and not self._mute:
            self.display.ended(task, state, outcome)

    def _stop(self) -> None:
        """Let workers save themselves, then leave every task as interrupted."""
        for worker in self.pool.workers:
            worker.send("stop")
        deadline = time.monotonic() + GRACE_SECONDS
        saved: list[Task] = []
        while self.tasks and time.monotonic() < deadline:
            for worker, message in self.pool.wait(0.1):
                if isinstance(message, Lost):
                    self.pool.drop(worker)
                saved_or_not = isinstance(message, Outcome) and message.state in ("interrupted", "unsaved")
                ended = isinstance(message, Lost) or saved_or_not
                if ended and worker in self.tasks:
                    saved.append(self.tasks.pop(worker))
                elif not ended and worker in self.tasks:
                    self._handle(worker, message)
        saved += [*self.tasks.values(), *self.again, *([self._opening] if self._opening else [])]
        self.tasks.clear()
        self.again.clear()
        saved = [task for task in saved if task.run]
        for task in saved:
            self.recorder.interrupted(task)
        for task in saved:
            self.plan.interrupted(task)

    def _clock(self) -> None:
        """Add up busy and idle device time; idle is a ready device while there is more to do."""
        now = time.monotonic()
        passed, self._clocked = now - self._clocked, now
        for worker in self.pool.workers:
            if worker in self.tasks:
                self.busy_seconds += passed
            elif worker.ready and not self.plan.done:
                self.idle_seconds += passed
