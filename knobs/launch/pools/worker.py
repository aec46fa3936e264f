"""A worker: a long-lived process that holds one device and trains one run, or one batch of runs, after another.

The main thread receives messages and signals; a second thread trains. The pool sets the environment (visible devices,
threads) before the process imports torch. The worker ends when its driver is gone.
"""

from __future__ import annotations

import ctypes
import gc
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, NoReturn

from knobs.code import Reads
from knobs.launch.pools.local_workers import POISONED
from knobs.launch.pools.messages import (
    Beat,
    FromWorker,
    Leaving,
    NewPoint,
    Outdated,
    PruningAnswer,
    PruningQuestion,
    Quit,
    ReadsFound,
    Ready,
    RunEnded,
    Saving,
    Stop,
    Train,
)
from knobs.training import CurvePoint, Outcome, TrainJob

if TYPE_CHECKING:
    import torch

BEAT_SECONDS = min(5.0, float(os.environ.get("KNOBS_WORKER_SILENCE", "60")) / 4)
"""A message is sent at least this often."""


PR_SET_PDEATHSIG = 1


class DriverConnection:
    """A worker's end of its connection to the driver."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.answers: queue.Queue[PruningAnswer] = queue.Queue()
        self.jobs: queue.Queue[Train] = queue.Queue()
        self.stopping = False
        self.leaving = self.busy = False
        self._lock = threading.Lock()

    def send(self, message: FromWorker) -> None:
        """Send a whole message to the driver. End the process if the driver is gone."""
        try:
            with self._lock:
                self.connection.send(message)
        except OSError:
            os._exit(0)


class RunChannel:
    """One run's channel to the driver."""

    def __init__(self, driver: DriverConnection, run: str, reads: Callable[[], Reads]) -> None:
        self.driver, self.run = driver, run
        self._reads: Callable[[], Reads] | None = reads

    @property
    def stopping(self) -> bool:
        """True if the training must save a checkpoint and end at the next batch boundary."""
        return self.driver.stopping

    def saving(self, size: int) -> None:
        """Ask the driver to wait until so many bytes are written."""
        self.driver.send(Saving(size))

    def record(self, point: CurvePoint) -> None:
        """Send the values at one step; before the first ones, what the training has read."""
        if self._reads is not None and (found := self._reads()):
            self.driver.send(ReadsFound(self.run, found))
        self._reads = None
        self.driver.send(NewPoint(self.run, point))

    def should_continue(self, step: int, value: float) -> bool:
        """Ask the driver's pruner and wait for the answer."""
        self.driver.send(PruningQuestion(self.run, step, value))
        return self.driver.answers.get().should_continue


def serve(connection: Connection) -> None:
    """Work for the driver until it sends `Quit` or is gone."""
    channel = DriverConnection(connection)

    def leave(_signum: int, _frame: object) -> None:  # the current training saves a checkpoint first
        channel.stopping = channel.leaving = True
        if not channel.busy:
            os._exit(0)

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver handles a terminal's Ctrl-C
    threading.Thread(target=_train_forever, args=(channel,), daemon=True).start()
    while True:
        try:
            if not connection.poll(BEAT_SECONDS):
                channel.send(Beat())
                continue
            message = connection.recv()
        except (EOFError, OSError):
            os._exit(0)
        match message:
            case Train():
                channel.busy = True
                channel.jobs.put(message)
            case PruningAnswer():
                channel.answers.put(message)
            case Stop():
                channel.stopping = True
            case Quit():
                os._exit(0)


def _train_forever(channel: DriverConnection) -> None:
    try:
        import torch

        from knobs import discover
        from knobs.code.reads import install_hooks
        from knobs.devices import device_kind
        from knobs.launch.pools.verification import has_code_of
        from knobs.training.environment import environment

        discover.activate(discover.project_root())
        install_hooks()
        device = torch.device(os.environ.get("KNOBS_DEVICE", "cpu"))
        kind = device_kind(device.type)
        torch.set_num_threads(1)
        kind.make_deterministic()  # before the environment is reported: flags are part of it
        channel.send(Ready(environment(device)))
        frozen = False
        while True:
            jobs = channel.jobs.get().jobs
            if not has_code_of(jobs[0]):
                channel.send(Outdated())
                continue
            outcomes = _train(jobs, channel, device)
            if any(outcome.lasting_failure == "device" for outcome in outcomes):
                _leave_poisoned(outcomes)  # without an outcome: the driver trains the run elsewhere
            poisoned = any(outcome.lasting_failure for outcome in outcomes)
            if channel.leaving or poisoned:
                channel.send(Leaving())
            channel.busy = False
            for job, outcome in zip(jobs, outcomes, strict=True):
                channel.send(RunEnded(job.run, outcome))
            if poisoned:
                _leave_poisoned(outcomes)
            if channel.leaving:
                os._exit(0)
            del jobs, outcomes, job, outcome
            gc.collect()  # a training leaves cycles that hold tensors; Python alone would collect them too late
            kind.free_memory()
            if not frozen:
                gc.freeze()  # skip the objects that imports made: a collection then takes 0.5 ms, not 150
                frozen = True
    except BaseException:  # the traceback goes to the worker's log
        import traceback

        traceback.print_exc()
        sys.stderr.flush()
        os._exit(70)


def _train(jobs: tuple[TrainJob, ...], driver: DriverConnection, device: torch.device) -> list[Outcome]:
    """Train the jobs and return their outcomes, with what the trainings read."""
    from knobs.code.reads import noted
    from knobs.launch.pools.verification import reads_of, with_reads
    from knobs.training.batch.run_batch import run_batch
    from knobs.training.run import run_job

    with noted(jobs[0].cache.parent, jobs[0].folder.parent) as notes:
        channels = [RunChannel(driver, job.run, partial(reads_of, job, notes)) for job in jobs]
        if jobs[0].batch:
            outcomes = run_batch(jobs, channels, device)
        else:
            outcomes = [run_job(jobs[0], channels[0], device)]
    return [with_reads(outcome, jobs[0], notes) for outcome in outcomes]


def _leave_poisoned(outcomes: list[Outcome]) -> NoReturn:
    """End the process: its device context fails every later call."""
    for outcome in outcomes:
        print(outcome.message, outcome.log, sep="\n", file=sys.stderr, flush=True)
    os._exit(POISONED)


def main() -> None:
    """Run a worker. `python -m knobs.launch.pools.worker FD`: FD is the worker's end of a socket pair."""
    if sys.platform == "linux":  # a stopped worker cannot notice that its driver is gone; the kernel can
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    serve(Connection(int(sys.argv[1])))


if __name__ == "__main__":
    main()
