"""Workers as processes of this machine, one a device."""

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
from typing import Any

from knobs.errors import DeviceError
from knobs.launch.devices import Device

SILENCE_SECONDS = float(os.environ.get("KNOBS_WORKER_SILENCE", "60"))
"""A worker that says nothing for so long is taken for lost; it beats at least every 5 s."""


class Lost:
    """A worker is gone; `by_kernel_for_memory` where the kernel says that it was that."""

    def __init__(self, reason: str, by_kernel_for_memory: bool = False) -> None:
        self.reason, self.by_kernel_for_memory = reason, by_kernel_for_memory


class Worker:
    """The driver's end of one worker."""

    def __init__(self, device: Device, root: Path, logs: Path) -> None:
        self.device = device
        self.began = self.leaving = False
        logs.mkdir(parents=True, exist_ok=True)
        ours, theirs = socket.socketpair()
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):  # one stopped within a message holds nobody up
            ours.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", 5, 0))
        self.log = logs / f"{device.label.replace(':', '').replace('/', '-')}-{os.getpid()}.log"
        environment = {**os.environ, **device.environment, "KNOBS_ROOT": str(root), "PYTHONHASHSEED": "0"}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "knobs.launch.worker", str(theirs.fileno())],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # a terminal's Ctrl-C reaches the driver alone
            )
        theirs.close()
        self.connection = Connection(ours.detach())
        self.heard = time.monotonic()
        self.kills_before = kernel_kills()

    @property
    def ready(self) -> bool:
        """Whether it takes work."""
        return self.began and not self.leaving

    def send(self, message: Any) -> bool:
        """Hand a message over; false where the worker is gone (`wait` reports that)."""
        try:
            self.connection.send(message)
        except OSError:
            return False
        return True

    def kill(self) -> None:
        """End the process, however it is (a stopped one too)."""
        self.connection.close()
        self.process.kill()
        self.process.wait()

    def autopsy(self) -> Lost:
        """Why the process ended."""
        try:
            code = self.process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            return Lost("it closed its connection")
        if code == -signal.SIGKILL and kernel_kills() > self.kills_before:
            return Lost("killed by the kernel for memory", by_kernel_for_memory=True)
        return Lost(f"signal {-code}" if code < 0 else f"exit code {code}")


class LocalPool:
    """One worker a device; a lost one is replaced."""

    def __init__(self, devices: list[Device], root: Path, logs: Path) -> None:
        self.root, self.logs = root, logs
        self.workers = [Worker(device, root, logs) for device in devices]
        self._failed_starts = 0

    def wait(self, timeout: float) -> list[tuple[Worker, Any]]:
        """What workers said, or that they are `Lost`; empty after `timeout` seconds of silence."""
        by_connection = {worker.connection: worker for worker in self.workers}
        heard: list[tuple[Worker, Any]] = []
        lost: list[Worker] = []
        for connection in wait(list(by_connection), timeout):
            worker = by_connection[connection]  # type: ignore[index]
            try:
                while worker.connection.poll():
                    message = worker.connection.recv()
                    worker.heard = time.monotonic()
                    if isinstance(message, tuple) and message[0] == "ready":
                        worker.began, self._failed_starts = True, 0
                    worker.leaving |= message == "leaving"
                    heard.append((worker, message))
            except (EOFError, OSError):
                lost.append(worker)
                heard.append((worker, worker.autopsy()))
        for worker in self.workers:
            if worker not in lost and time.monotonic() - worker.heard > SILENCE_SECONDS:
                heard.append((worker, Lost(f"silent for {SILENCE_SECONDS:.0f} s")))
        return heard

    def drop(self, worker: Worker) -> None:
        """End a lost worker and start no other."""
        worker.kill()
        self.workers.remove(worker)

    def replace(self, worker: Worker) -> Worker:
        """Start another worker on a lost one's device. Raises `DeviceError` where workers cannot start at all."""
        worker.kill()
        if not worker.began:
            self._failed_starts += 1
            if self._failed_starts >= 3:
                raise DeviceError(f"workers on {worker.device.label} do not start; the last one's log is {worker.log}")
        new = Worker(worker.device, self.root, self.logs)
        self.workers[self.workers.index(worker)] = new
        return new

    def close(self) -> None:
        """End all workers."""
        for worker in self.workers:
            worker.send("quit")
        for worker in self.workers:
            worker.kill()
            if worker.log.exists() and worker.log.stat().st_size == 0:
                worker.log.unlink()


def kernel_kills() -> int:
    """How many processes the kernel has killed for memory so far, as far as it says."""
    total = 0
    for file, key in (("/sys/fs/cgroup/memory.events", "oom_kill"), ("/proc/vmstat", "oom_kill")):
        try:
            lines = Path(file).read_text(encoding="ascii").splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in lines if line.split()[0] == key)
    return total
