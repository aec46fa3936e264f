"""The driver: asks a plan for tasks, hands them to free devices, and alone writes what comes back.

A worker may die at any instant: its task goes on from its last checkpoint on another worker, in the same MLflow run.
The driver may die at any instant: what the store holds is whole, and the next launch goes on from it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from knobs import data, provenance
from knobs.config import RunConfig
from knobs.errors import InterruptedBySignal
from knobs.job import Job, Outcome, Record, newest_checkpoints
from knobs.launch.local import LocalPool, Lost, Worker
from knobs.launch.task import Plan, Task
from knobs.places import without_password
from knobs.tracking import Row, Tracker

RETRIES = 3
"""Workers that a run may lose before it is given up."""

FLUSH_SECONDS = 1.0
GRACE_SECONDS = 7.0
"""How long workers have to save themselves after a signal."""

ENDS: dict[str, str] = {
    "finished": "FINISHED",
    "reused": "FINISHED",
    "pruned": "KILLED",
    "interrupted": "KILLED",
    "diverged": "FAILED",
    "out_of_memory": "FAILED",
    "failed": "FAILED",
    "lost": "FAILED",
}
"""`knobs.state` and the MLflow status that goes with it."""


class Display(Protocol):
    """Shows how things go."""

    def refresh(self, driver: Driver) -> None:
        """Called several times a second."""

    def ended(self, task: Task, state: str, outcome: Outcome) -> None:
        """A task ended."""


class Driver:
    """Runs one plan at a time over a pool of workers."""

    def __init__(self, tracker: Tracker, pool: LocalPool, display: Display, *, fresh: bool = False) -> None:
        self.tracker, self.pool, self.display, self.fresh = tracker, pool, display, fresh
        self.places = tracker.places
        self.tasks: dict[Worker, Task] = {}
        self.again: deque[Task] = deque()
        self.signum: int | None = None
        self.idle_seconds = self.busy_seconds = 0.0
        self.ended_count = 0
        self._environments: dict[Worker, dict[str, str]] = {}
        self._flushed = self._clocked = time.monotonic()
        self._fingerprints: dict[str, str] = {}

    def run(self, plan: Plan) -> None:
        """Drive the plan to its end. Raises `InterruptedBySignal` after everything is saved."""
        self.plan = plan
        with self._signals():
            while not (plan.done and not self.again and not self.tasks):
                if self.signum is not None:
                    self._stop()
                    raise InterruptedBySignal(self.signum)
                self._dispatch()
                for worker, message in self.pool.wait(0.2):
                    self._handle(worker, message)
                self._clock()
                if time.monotonic() - self._flushed > FLUSH_SECONDS:
                    self.flush()
                self.display.refresh(self)

    def stopping(self) -> int | None:
        """The signal that asked to stop, if one did."""
        return self.signum

    def flush(self) -> None:
        """Write what has been heard; it is acknowledged when this returns."""
        for task in self.tasks.values():
            self._flush(task)
        self._flushed = time.monotonic()

    def _flush(self, task: Task) -> None:
        if task.pending:
            self.tracker.log(task.run, task.pending)
            task.recorded = task.pending[-1].step
            task.pending.clear()

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
        source = None
        if not task.run:
            source = self._open(worker, task)
            if source is not None and self._reuse(task, source):
                return False
        task.attempt += 1
        folder = self.places.scratch / task.run
        resume = () if task.evaluate else tuple(newest_checkpoints(folder))
        if task.attempt > 1 and not task.closed:
            self.tracker.reopen(
                task.run, {"knobs.state": f"attempt {task.attempt}", "knobs.attempt": str(task.attempt)}
            )
        job = Job(
            run=task.run,
            config=task.config.to_json(),
            folder=folder / f"attempt-{task.attempt}",
            cache=self.places.cache,
            resume=resume,
            test=task.test,
            asks=task.metric if task.report is not None else None,
            evaluate=task.evaluate,
        )
        self.tasks[worker] = task
        self.plan.started(task)
        worker.send(job)
        return True

    def _open(self, worker: Worker, task: Task) -> Row | None:
        """Make the task's MLflow run; the finished run that already answers it, if there is one."""
        config, environment = task.config, self._environments[worker]
        fingerprint = self._fingerprint(config)
        digest = config.digest(fingerprint)
        code = provenance.training_code_hash(config.model.kind, config.data.kind)
        same = [digest, code, environment["torch"], str(config.training.threads), environment["device"]]
        identity = hashlib.sha256(json.dumps(same).encode()).hexdigest()
        source = None
        if not self.fresh:
            found = self.tracker.search(
                f"tags.`knobs.identity` = '{identity}' and attributes.status = 'FINISHED'", limit=1
            )
            source = found[0] if found else None
        commit, diff = provenance.git_state(self.places.root)
        tags = {
            "knobs.digest": digest,
            "knobs.identity": identity,
            "knobs.code": code,
            "knobs.data_fingerprint": fingerprint,
            "knobs.seed": str(config.seed),
            "knobs.config": config.to_json(),
            "knobs.git_commit": commit,
            "knobs.git_dirty": str(bool(diff)).lower(),
            "knobs.execution": "solo",
            "knobs.device": environment["device"],
            "knobs.threads": str(config.training.threads),
            "knobs.state": "attempt 1",
            "knobs.attempt": "1",
            **task.tags,
        }
        experiment = self.tracker.experiment(self.plan.experiment)
        task.run = self.tracker.create(experiment, task.name, tags, config.knobs())
        texts = {
            "config.json": json.dumps(json.loads(config.to_json()), indent=1),
            "packages.json": json.dumps(provenance.packages(), indent=1),
            "machine.json": json.dumps({**provenance.machine(), **environment}, indent=1),
        }
        if diff:
            texts["git.diff"] = without_password(diff)
        self.tracker.upload_texts(task.run, texts)
        return source

    def _reuse(self, task: Task, source: Row) -> bool:
        """Carry a finished run's values over; false where the test split has yet to be read with its checkpoint."""
        task.reused_from = source.tags.get("knobs.reused_from", source.id)
        task.recorded = -1
        curves = {
            name: self.tracker.curve(source.id, name) for name in source.metrics if "/" in name and not _single(name)
        }
        steps: dict[int, dict[str, float]] = {}
        for name, points in curves.items():
            for step, value in points:
                steps.setdefault(step, {})[name] = value
        now = time.time_ns() // 1_000_000
        for step, values in sorted(steps.items()):
            self._hear(task, Record(step=step, values=values, time_ms=now))
            if task.report is not None and not task.report(step, values[task.metric]):
                self._end(task, Outcome(state="pruned", message="pruned"))
                return True
        self._flush(task)
        summary = {
            name: value for name, value in source.metrics.items() if _single(name) and not name.startswith("test/")
        }
        tested = {name: value for name, value in source.metrics.items() if name.startswith("test/")}
        self.tracker.summary(task.run, summary, int(summary["best/step"]))
        self.tracker.tag(task.run, {"knobs.reused_from": task.reused_from})
        if task.test and not tested:
            task.evaluate = self.tracker.artifact(task.reused_from, "checkpoints/best.ckpt")
            return False
        self._end(
            task,
            Outcome(
                state="finished",
                best_step=int(summary["best/step"]),
                summary={**summary, **(tested if task.test else {})},
            ),
        )
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
                self._hear(task, message)
                if task.report is not None:
                    task.report(message.step, message.values[task.metric])
            case ("ask", int(step), float(value)):
                assert task.report is not None
                worker.send(task.report(step, value))
            case Outcome(state="interrupted"):  # a signal to the worker alone: its task goes on elsewhere
                del self.tasks[worker]
                self._requeue(task)
            case Outcome():
                del self.tasks[worker]
                self._end(task, message)

    def _hear(self, task: Task, record: Record) -> None:
        task.step, task.value = record.step, record.values.get(task.metric)
        last = task.pending[-1].step if task.pending else task.recorded
        if record.step > last:
            task.pending.append(record)

    def _lost(self, worker: Worker, lost: Lost) -> None:
        task = self.tasks.pop(worker, None)
        self._environments.pop(worker, None)
        self.pool.replace(worker)
        if task is None:
            return
        if lost.by_kernel_for_memory:
            self._end(task, Outcome(state="out_of_memory", message=lost.reason))
            return
        task.deaths += 1
        if task.deaths > RETRIES:
            self._end(task, Outcome(state="lost", message=f"lost {task.deaths} workers, the last to {lost.reason}"))
        else:
            self._requeue(task)

    def _requeue(self, task: Task) -> None:
        self._flush(task)
        self.tracker.tag(task.run, {"knobs.deaths": str(task.deaths)})
        self.again.append(task)

    def _end(self, task: Task, outcome: Outcome) -> None:
        """Write a run's end: values, files, then the state, then the status."""
        self._flush(task)
        run, state = task.run, "reused" if task.reused_from and outcome.state == "finished" else outcome.state
        if outcome.summary:
            self.tracker.summary(run, outcome.summary, max(outcome.best_step, 0))
        if outcome.state == "finished" and outcome.checkpoint is not None:
            self.tracker.upload(run, outcome.checkpoint, "checkpoints")
        if outcome.log:
            self.tracker.upload_texts(run, {"run.log": without_password(outcome.log)})
        tags: dict[str, str] = {"knobs.state": state}
        if outcome.message:
            tags["knobs.message"] = without_password(outcome.message)[:500]
        if task.test and outcome.state == "finished":
            tags["knobs.test_read"] = "true"
        if outcome.environment:
            kept = ("cpu_capability", "deterministic_algorithms", "cublas_workspace", "torch", "device_name")
            tags |= {f"knobs.{name}": outcome.environment[name] for name in kept}
        if task.closed:  # a finished run whose test split was read: its status and end stand
            self.tracker.tag(run, {**tags, "knobs.state": task.closed})
        else:
            self.tracker.end(run, ENDS[state], {**task.tags, **tags, **self.plan.end_tags(task, outcome)})
        self.plan.ended(task, outcome)
        shutil.rmtree(self.places.scratch / run, ignore_errors=True)
        self.ended_count += 1
        if not task.closed:
            self.display.ended(task, state, outcome)

    def _stop(self) -> None:
        """Let workers save themselves, then leave every task as interrupted."""
        for worker in self.pool.workers:
            worker.send("stop")
        deadline = time.monotonic() + GRACE_SECONDS
        while self.tasks and time.monotonic() < deadline:
            for worker, message in self.pool.wait(0.1):
                task = self.tasks.get(worker)
                if task is None:
                    continue
                if isinstance(message, Lost) or (isinstance(message, Outcome) and message.state == "interrupted"):
                    self._interrupted(self.tasks.pop(worker))
                    if isinstance(message, Lost):
                        self.pool.workers.remove(worker)
                elif not isinstance(message, Lost):
                    self._handle(worker, message)
        for task in [*self.tasks.values(), *self.again]:
            self._interrupted(task)
        self.tasks.clear()
        self.again.clear()

    def _interrupted(self, task: Task) -> None:
        self._flush(task)
        if not task.closed:
            self.tracker.end(task.run, ENDS["interrupted"], {"knobs.state": "interrupted"})
        self.plan.interrupted(task)

    def _fingerprint(self, config: RunConfig) -> str:
        key = json.dumps([config.data.kind, config.to_json()])
        if key not in self._fingerprints:
            self._fingerprints[key] = data.prepare(config.data, self.places.cache)
        return self._fingerprints[key]

    def _clock(self) -> None:
        """Add up busy and idle device time; idle is a ready device while there is more to do."""
        now = time.monotonic()
        passed, self._clocked = now - self._clocked, now
        for worker in self.pool.workers:
            if worker in self.tasks:
                self.busy_seconds += passed
            elif worker.ready and not self.plan.done:
                self.idle_seconds += passed

    @contextmanager
    def _signals(self) -> Iterator[None]:
        def note(signum: int, _frame: object) -> None:
            self.signum = self.signum or signum

        wanted = (signal.SIGINT, signal.SIGTERM)
        before = {signum: signal.signal(signum, note) for signum in wanted}
        try:
            yield
        finally:
            for signum, handler in before.items():
                signal.signal(signum, handler)


def _single(name: str) -> bool:
    """Whether a metric is one value of a run, not a curve."""
    return name.startswith(("best/", "test/", "system/")) or "/" not in name
