"""The driver: asks a plan for tasks, hands them to free devices, and alone writes what comes back.

A worker may die at any instant: its task goes on from its last checkpoint on another worker, in the same MLflow run.
The driver may die at any instant: what the store holds is whole, and the next launch goes on from it.
"""

from __future__ import annotations

import time
from collections import deque
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
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
        self.tasks: dict[Worker, dict[str, Task]] = {}
        """What each busy worker trains, by run: one, or members of a population."""
        self.again: deque[list[Task]] = deque()
        self.idle_seconds = self.busy_seconds = 0.0
        self.ended_count = 0
        self._opening: list[Task] = []
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
        for tasks in self.tasks.values():
            for task in tasks.values():
                self.recorder.flush(task)
        self._flushed = time.monotonic()

    def _dispatch(self) -> None:
        for worker in self.pool.workers:
            if not worker.ready or worker in self.tasks:
                continue
            while True:
                tasks = self.again.popleft() if self.again else self.plan.next()
                if not tasks or self._start(worker, tasks):
                    break
            if not tasks:
                break

    def _start(self, worker: Worker, tasks: list[Task]) -> bool:
        """Give tasks to the worker; false where all ended without one."""
        self._opening = list(tasks)  # from here on they are left as interrupted, whatever goes wrong
        for task in tasks:
            if not task.identity and not task.closed:
                self.recorder.open(task, self.plan.experiment, self._environments[worker])
            self.plan.started(task)
        resume = newest_checkpoints(*[self.recorder.scratch(task) for task in tasks if not task.evaluate])
        if not (resume or self.fresh):
            for task in tasks:
                self._reuse(task)
        if not self._opening:
            return False
        jobs = tuple(self._job(task, tuple(resume)) for task in self._opening)
        self.tasks[worker], self._opening = {task.run: task for task in self._opening}, []
        worker.send(jobs)
        return True

    def _reuse(self, task: Task) -> None:
        """End a task that is being opened with the values of a finished run, where there is one like it."""
        if task.closed or not (source := self.recorder.finished_twin(task)):
            return
        outcome = self.recorder.reuse(task, source)
        if outcome is not None:
            self._opening.remove(task)
            self._end(task, outcome)

    def _job(self, task: Task, resume: tuple[Path, ...]) -> Job:
        self.recorder.attempt(task)
        return Job(
            run=task.run,
            config=task.config.to_json(),
            folder=self.recorder.scratch(task) / f"attempt-{task.attempt}",
            cache=self.tracker.places.cache,
            fingerprint=task.fingerprint,
            resume=resume,
            seeds=task.seeds,
            test=task.test,
            asks=task.metric if task.report is not None else None,
            evaluate=task.evaluate,
        )

    def _handle(self, worker: Worker, message: Any) -> None:
        if worker not in self.pool.workers:  # replaced at its last word; that it is lost came with that
            return
        match message:
            case ("ready", dict() as environment):
                self._environments[worker] = environment
            case Lost():
                self._lost(worker, message)
            case (str() as run, said) if run in self.tasks.get(worker, {}):
                self._heard(worker, self.tasks[worker][run], said)

    def _heard(self, worker: Worker, task: Task, said: Any) -> None:
        match said:
            case Record():
                self.recorder.hear(task, said)
                if task.report is not None:
                    task.report(said.step, said.values[task.metric])
            case ("ask", int(step), float(value)):
                assert task.report is not None
                worker.send(task.report(step, value))
            case Outcome(state="interrupted"):  # a signal to the worker alone: what it trains goes on elsewhere
                self._requeue(self._taken_from(worker))
                self.pool.replace(worker)
            case Outcome(state="unsaved"):  # the run is well, its disk is not
                self.again.append(self._taken_from(worker))
                raise StoreError(f"{said.message}; what was recorded is safe, the same command goes on")
            case Outcome():
                del self.tasks[worker][task.run]
                if not self.tasks[worker]:
                    del self.tasks[worker]
                self._end(task, said)

    def _taken_from(self, worker: Worker) -> list[Task]:
        return list(self.tasks.pop(worker, {}).values())

    def _lost(self, worker: Worker, lost: Lost) -> None:
        tasks = self._taken_from(worker)
        self._environments.pop(worker, None)
        if lost.by_kernel_for_memory:
            for task in tasks:
                self._end(task, Outcome(state="out_of_memory", message=lost.reason))
            tasks = []
        for task in tasks:
            task.deaths += 1
        for task in [task for task in tasks if task.deaths > RETRIES]:
            tasks.remove(task)
            why = f"lost {task.deaths} workers, the last to {lost.reason}"
            self._end(task, Outcome(state="lost", message=why))
        if tasks:
            self._requeue(tasks)
        self.pool.replace(worker)

    def _requeue(self, tasks: list[Task]) -> None:
        self.again.append(tasks)
        for task in tasks:
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
                ended = isinstance(message, Lost) or _saved_or_not(message)
                if ended and worker in self.tasks:
                    saved += self._taken_from(worker)
                elif not ended and worker in self.tasks:
                    self._handle(worker, message)
        left = [*[list(tasks.values()) for tasks in self.tasks.values()], *self.again, self._opening]
        saved += [task for tasks in left for task in tasks]
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


def _saved_or_not(message: Any) -> bool:
    """Whether a worker that was told to stop has done so."""
    match message:
        case (str(), Outcome(state="interrupted" | "unsaved")):
            return True
    return False
