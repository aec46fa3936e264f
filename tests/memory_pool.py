"""A pool in memory: its workers follow scripts instead of training, without processes and without torch."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass, field

from knobs import RunConfig
from knobs.launch.pools.messages import (
    FromWorker,
    Lost,
    NewPoint,
    PruningAnswer,
    PruningQuestion,
    Quit,
    Ready,
    RunEnded,
    Stop,
    ToWorker,
    Train,
)
from knobs.launch.pools.pool import WorkerHandle
from knobs.terminal.progress import WorkProgress
from knobs.training import CurvePoint, Outcome, TrainJob

ENVIRONMENT = {
    "device": "cpu",
    "device_name": "memory",
    "threads": "1",
    "torch": "none",
    "cpu_capability": "none",
    "deterministic_algorithms": "True",
    "cublas_workspace": "",
}

Training = Generator[FromWorker, bool, FromWorker]
"""What a worker sends during one job, and its last message. A `PruningQuestion` receives the answer."""


def value_of(config: RunConfig, step: int) -> float:
    """Return the loss of a made-up training: it depends on the config and falls with the steps."""
    return random.Random(config.digest("")).random() / step  # a new knob at its default changes no value


def train_in_memory(job: TrainJob) -> Training:
    """Send a training's messages. If the pruner stops it, it ends as pruned."""
    config = RunConfig.from_json(job.config)
    metric = config.monitored.name
    every = config.training.val_every or config.training.max_steps
    steps = range(every, config.training.max_steps + 1, every)
    for step in steps:
        loss = value_of(config, step)
        curve = {"val/loss": loss, f"val/{metric}": 1 - loss, "train/loss": loss / 2}
        yield NewPoint(job.run, CurvePoint(step=step, values=curve, time_ms=step))
        if job.pruning_metric and not (yield PruningQuestion(job.run, step, curve[job.pruning_metric])):
            return RunEnded(job.run, Outcome(state="pruned", message="pruned", environment=ENVIRONMENT))
    summary = {f"best/{name}": value for name, value in curve.items()} | {"best/step": float(step), "parameters": 1.0}
    if job.read_test:
        summary |= {name.replace("val/", "test/"): value for name, value in curve.items() if name.startswith("val/")}
    outcome = Outcome(state="finished", best_step=step, summary=summary, environment=ENVIRONMENT)
    return RunEnded(job.run, outcome)


@dataclass(eq=False)
class MemoryWorker:
    """A worker that plays one job after another, one message per `MemoryPool.wait`."""

    label: str
    train: Callable[[TrainJob], Training]
    card: str = ""
    ready: bool = False
    alive: bool = True
    answer: bool | None = None
    """The answer to its last pruning question."""
    waiting: bool = False
    """True while it waits for such an answer."""
    stopping: bool = False
    jobs: deque[tuple[TrainJob, Training]] = field(default_factory=deque)
    received: list[ToWorker] = field(default_factory=list)

    def send(self, message: ToWorker) -> bool:
        """Take a message. Return false if the worker is gone."""
        if not self.alive:
            return False
        self.received.append(message)
        match message:
            case Train(jobs=jobs):
                self.jobs.extend((job, self.train(job)) for job in jobs)
            case PruningAnswer(should_continue=answer):
                self.answer = answer
            case Stop():
                self.stopping = True
            case Quit():
                self.alive = False
        return True

    def next_message(self) -> FromWorker | None:
        """Return the next message; None if there is none now."""
        if not self.alive:
            return None
        if not self.ready:
            self.ready = True
            return Ready(ENVIRONMENT)
        if not self.jobs:
            return None
        job, training = self.jobs[0]
        if self.stopping:
            self.jobs.popleft()
            return RunEnded(job.run, Outcome(state="interrupted", environment=ENVIRONMENT))
        if self.waiting and self.answer is None:
            return None
        try:
            message = training.send(self.answer) if self.waiting else next(training)  # type: ignore[arg-type]
            self.waiting, self.answer = isinstance(message, PruningQuestion), None
        except StopIteration as end:
            self.jobs.popleft()
            self.waiting, self.answer = False, None
            message = end.value
        if isinstance(message, Lost):
            self.alive = self.ready = False
        return message


class MemoryPool:
    """Workers in memory. `train` gives each job's messages."""

    def __init__(
        self, workers: int = 1, train: Callable[[TrainJob], Training] = train_in_memory, *, card: str = ""
    ) -> None:
        self.train = train
        self.workers = [MemoryWorker(f"memory:{i}", train, card) for i in range(workers)]
        self.replaced = 0

    def wait(self, timeout: float) -> list[tuple[MemoryWorker, FromWorker]]:
        """Return at most one message per worker, at once."""
        del timeout
        messages = [(worker, worker.next_message()) for worker in self.workers]
        return [(worker, message) for worker, message in messages if message is not None]

    def replace(self, worker: WorkerHandle) -> str:
        """Put a new worker in the place of another one."""
        self.replaced += 1
        new = MemoryWorker(worker.label, self.train, worker.card)
        self.workers = [new if old is worker else old for old in self.workers]
        return ""

    def drop(self, worker: WorkerHandle) -> None:
        """Remove a worker."""
        self.workers = [old for old in self.workers if old is not worker]

    def close(self) -> None:
        """End all workers."""
        for worker in self.workers:
            worker.alive = False


@dataclass
class QuietDisplay:
    """A display that draws nothing and keeps how runs ended."""

    ended: list[tuple[str, str]] = field(default_factory=list)
    """Name and state of each run."""

    def due(self) -> bool:
        """Return false: there is nothing to draw."""
        return False

    def show(self, progress: WorkProgress) -> None:
        """Draw nothing."""

    def run_ended(self, name: str, state: str, *, metric: str, value: float | None, step: int, message: str) -> None:
        """Keep name and state."""
        del metric, value, step, message
        self.ended.append((name, state))
