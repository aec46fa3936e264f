"""A worker: a long-lived process that holds one device and does one job after another.

The main thread reads what the driver says and takes signals; a second thread trains. The environment (visible devices,
threads) is set by whoever starts the process, before torch is imported. When the driver is gone, so is the worker.
"""

from __future__ import annotations

import ctypes
import gc
import os
import queue
import signal
import sys
import threading
from multiprocessing.connection import Connection
from typing import Any

from knobs.job import Job, Record

BEAT_SECONDS = min(5.0, float(os.environ.get("KNOBS_WORKER_SILENCE", "60")) / 4)
"""Something is said at least so often."""


PR_SET_PDEATHSIG = 1


class Driven:
    """A worker's end of its connection to the driver."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.answers: queue.Queue[bool] = queue.Queue()
        self.jobs: queue.Queue[tuple[Job, ...]] = queue.Queue()
        self.stopping = False
        self.leaving = self.busy = False
        self._lock = threading.Lock()

    def send(self, message: Any) -> None:
        """To the driver, whole; if it is gone there is nobody to work for."""
        try:
            with self._lock:
                self.connection.send(message)
        except OSError:
            os._exit(0)


class RunChannel:
    """One run's channel: what it says goes to the driver under its name."""

    def __init__(self, driven: Driven, run: str) -> None:
        self.driven, self.run = driven, run

    @property
    def stopping(self) -> bool:
        """Save and end at the next batch boundary."""
        return self.driven.stopping

    def record(self, record: Record) -> None:
        """Hand on the values at one step."""
        self.driven.send((self.run, record))

    def goes_on(self, step: int, value: float) -> bool:
        """Ask the pruner and wait for its answer."""
        self.driven.send((self.run, ("ask", step, value)))
        return self.driven.answers.get()


def serve(connection: Connection) -> None:
    """Work for the driver at the other end until it says quit or is gone."""
    channel = Driven(connection)

    def leave(_signum: int, _frame: object) -> None:  # what is under way is saved first
        channel.stopping = channel.leaving = True
        if not channel.busy:
            os._exit(0)

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is the driver's to handle
    threading.Thread(target=_train_forever, args=(channel,), daemon=True).start()
    while True:
        try:
            if not connection.poll(BEAT_SECONDS):
                channel.send("beat")
                continue
            message = connection.recv()
        except (EOFError, OSError):
            os._exit(0)
        match message:
            case (Job(), *_):
                channel.busy = True
                channel.jobs.put(message)
            case bool():
                channel.answers.put(message)
            case "stop":
                channel.stopping = True
            case "quit":
                os._exit(0)


def _train_forever(channel: Driven) -> None:
    try:
        import torch

        from knobs import discover, population, runner

        discover.activate(discover.project_root())
        device = torch.device(os.environ.get("KNOBS_DEVICE", "cpu"))
        torch.set_num_threads(1)
        channel.send(("ready", runner.environment(device)))
        frozen = False
        while True:
            jobs = channel.jobs.get()
            channels = [RunChannel(channel, job.run) for job in jobs]
            if jobs[0].seeds:
                outcomes = population.run(jobs, channels, device)
            else:
                outcomes = [runner.run(jobs[0], channels[0], device)]
            if channel.leaving:
                channel.send("leaving")
            channel.busy = False
            for job, outcome in zip(jobs, outcomes, strict=True):
                channel.send((job.run, outcome))
            if channel.leaving:
                os._exit(0)
            del jobs, channels, outcomes, job, outcome
            gc.collect()  # a training leaves cycles that hold its tensors, too few for Python to look at by itself
            if not frozen:
                gc.freeze()  # what the imports made is looked at no more: a collection takes 0.5 ms, not 150
                frozen = True
    except BaseException:  # a worker that cannot work ends, its traceback in its log
        import traceback

        traceback.print_exc()
        sys.stderr.flush()
        os._exit(70)


def main() -> None:
    """`python -m knobs.launch.worker FD`: FD is this end of a socket pair."""
    if sys.platform == "linux":  # a stopped worker cannot see that its driver is gone; the kernel can
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    serve(Connection(int(sys.argv[1])))


if __name__ == "__main__":
    main()
