"""The local engine: workers are processes of this machine, one per device slot."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
import time
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import cast

from knobs.errors import DeviceError
from knobs.launch.pools.devices import Device
from knobs.launch.pools.messages import FromWorker, Leaving, Lost, Quit, Ready, ToWorker
from knobs.launch.pools.pool import WorkerHandle

SILENCE_SECONDS = float(os.environ.get("KNOBS_WORKER_SILENCE", "60"))
"""A worker that is silent for so long counts as lost. It sends a `Beat` at least every 5 s."""


class LocalWorker:
    """The driver's end of one worker process."""

    def __init__(self, device: Device, root: Path, logs: Path) -> None:
        self.device = device
        self.began = self.leaving = False
        logs.mkdir(parents=True, exist_ok=True)
        ours, theirs = socket.socketpair()
        for option in (
            socket.SO_RCVTIMEO,
            socket.SO_SNDTIMEO,
        ):  # a worker that is stopped within a message must not block the driver
            ours.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", 5, 0))
        self.log = logs / f"{device.label.replace(':', '').replace('/', '-')}-{os.getpid()}.log"
        environment = {**os.environ, **device.environment, "KNOBS_ROOT": str(root), "PYTHONHASHSEED": "0"}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "knobs.launch.pools.worker", str(theirs.fileno())],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # a terminal's Ctrl-C reaches only the driver
            )
        theirs.close()
        self.connection = Connection(ours.detach())
        self.last_message = time.monotonic()
        self.kills_before = kernel_kills()

    @property
    def ready(self) -> bool:
        """True if it takes work."""
        return self.began and not self.leaving

    @property
    def label(self) -> str:
        """The device as users see it."""
        return self.device.label

    def send(self, message: ToWorker) -> bool:
        """Send a message. Return false if the worker is gone; `LocalPool.wait` then reports it as `Lost`."""
        try:
            self.connection.send(message)
        except OSError:
            return False
        return True

    def kill(self) -> None:
        """End the process, also a stopped one."""
        self.connection.close()
        self.process.kill()
        self.process.wait()

    def autopsy(self) -> Lost:
        """Return why the process ended."""
        try:
            code = self.process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            return Lost("it closed its connection")
        if code == -signal.SIGKILL and kernel_kills() > self.kills_before:
            return Lost("killed by the kernel for memory", killed_for_memory=True)
        return Lost(f"signal {-code}" if code < 0 else f"exit code {code}")


class LocalPool:
    """One worker per device slot."""

    def __init__(self, devices: list[Device], root: Path, logs: Path) -> None:
        self.root, self.logs = root, logs
        self.workers = [LocalWorker(device, root, logs) for device in devices]
        self._failed_starts = 0

    def wait(self, timeout: float) -> list[tuple[LocalWorker, FromWorker]]:
        """Return the messages of workers; see `Pool.wait`."""
        by_connection = {worker.connection: worker for worker in self.workers}
        messages: list[tuple[LocalWorker, FromWorker]] = []
        lost: list[LocalWorker] = []
        for connection in wait(list(by_connection), timeout):
            worker = by_connection[connection]  # type: ignore[index]
            try:
                while worker.connection.poll():
                    message = worker.connection.recv()
                    worker.last_message = time.monotonic()
                    if isinstance(message, Ready):
                        worker.began, self._failed_starts = True, 0
                    worker.leaving |= isinstance(message, Leaving)
                    messages.append((worker, message))
            except (EOFError, OSError):
                lost.append(worker)
                messages.append((worker, worker.autopsy()))
        for worker in self.workers:
            if worker not in lost and time.monotonic() - worker.last_message > SILENCE_SECONDS:
                messages.append((worker, Lost(f"silent for {SILENCE_SECONDS:.0f} s")))
        return messages

    def drop(self, worker: WorkerHandle) -> None:
        """End a worker and start no other one."""
        own = cast("LocalWorker", worker)
        own.kill()
        self.workers.remove(own)

    def replace(self, worker: WorkerHandle) -> LocalWorker:
        """Start another worker on a worker's device. Raise `DeviceError` after three failed starts."""
        own = cast("LocalWorker", worker)
        own.kill()
        if not own.began:
            self._failed_starts += 1
            if self._failed_starts >= 3:
                self.workers.remove(own)  # the other workers can still save their runs
                raise DeviceError(f"workers on {own.label} do not start; the log of the last one is {own.log}")
        new = LocalWorker(own.device, self.root, self.logs)
        self.workers[self.workers.index(own)] = new
        return new

    def close(self) -> None:
        """End all workers."""
        for worker in self.workers:
            worker.send(Quit())
        for worker in self.workers:
            worker.kill()
            if worker.log.exists() and worker.log.stat().st_size == 0:
                worker.log.unlink()


def kernel_kills() -> int:
    """Return how many processes the kernel reports to have killed for memory so far."""
    total = 0
    for file, key in (("/sys/fs/cgroup/memory.events", "oom_kill"), ("/proc/vmstat", "oom_kill")):
        try:
            lines = Path(file).read_text(encoding="ascii").splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in lines if line.split()[0] == key)
    return total
