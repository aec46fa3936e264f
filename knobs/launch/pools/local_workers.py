"""The local engine: workers are processes of this machine, one per device slot."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import cast

from knobs.devices import Device
from knobs.errors import DeviceError
from knobs.launch.pools.messages import FromWorker, Leaving, Lost, Quit, Ready, RunEnded, ToWorker
from knobs.launch.pools.pool import WorkerHandle

SILENCE_SECONDS = float(os.environ.get("KNOBS_WORKER_SILENCE", "60"))
"""A worker that is silent for so long counts as lost. It sends a `Beat` at least every 5 s."""

START_SECONDS = float(os.environ.get("KNOBS_WORKER_START", "600"))
"""Seconds that a worker may take until it is ready."""

KILL_SECONDS = 20.0
FAILURES = 3
"""A device that fails this often in a row is left out."""

POISONED = 71
"""Exit code of a worker whose device context no longer works."""


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

    def receive(self, message: FromWorker) -> None:
        """Note what a message says of the worker."""
        self.last_message = time.monotonic()
        self.began |= isinstance(message, Ready)
        self.leaving |= isinstance(message, Leaving)

    @property
    def longest_silence(self) -> float:
        """Seconds of silence after which it counts as lost. Importing CUDA's libraries may take minutes."""
        return SILENCE_SECONDS if self.began else max(SILENCE_SECONDS, START_SECONDS)

    def last_words(self) -> str:
        """Return the last line of the worker's log, and where the log is."""
        try:
            lines = self.log.read_text(encoding="utf-8", errors="replace").split("\n")
        except OSError:
            return "it wrote no log"
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return f"{last} (log: {self.log})"

    @property
    def ready(self) -> bool:
        """True if it takes work."""
        return self.began and not self.leaving

    @property
    def label(self) -> str:
        """The device as users see it."""
        return self.device.label

    @property
    def card(self) -> str:
        """Id of the physical device; empty if nothing is shared."""
        return self.device.card

    def send(self, message: ToWorker) -> bool:
        """Send a message. Return false if the worker is gone; `LocalPool.wait` then reports it as `Lost`."""
        try:
            self.connection.send(message)
        except OSError:
            return False
        return True

    def kill(self) -> bool:
        """End the process, also a stopped one. Return false if it hangs in its driver."""
        self.connection.close()
        self.process.kill()
        try:
            self.process.wait(timeout=KILL_SECONDS)
        except subprocess.TimeoutExpired:
            return False
        with suppress(OSError):
            if self.log.stat().st_size == 0:
                self.log.unlink()
        return True

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
    """One worker per device slot. A device that fails three times in a row is left out."""

    def __init__(self, devices: list[Device], root: Path, logs: Path) -> None:
        self.root, self.logs = root, logs
        self.workers = [LocalWorker(device, root, logs) for device in devices]
        self._failed_starts = Counter[str]()
        """Workers in a row that did not become ready, by device."""
        self._poisoned = Counter[str]()
        """Workers in a row whose device failed before a run ended, by device."""

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
                    worker.receive(message)
                    if isinstance(message, Ready):
                        self._failed_starts[worker.label] = 0
                    if isinstance(message, RunEnded) and not message.outcome.lasting_failure:
                        self._poisoned[worker.label] = 0
                    messages.append((worker, message))
            except (EOFError, OSError):
                lost.append(worker)
                messages.append((worker, worker.autopsy()))
        for worker in self.workers:
            limit = worker.longest_silence
            if worker not in lost and time.monotonic() - worker.last_message > limit:
                messages.append((worker, Lost(f"silent for {limit:.0f} s")))
        return messages

    def drop(self, worker: WorkerHandle) -> None:
        """End a worker and start no other one."""
        own = cast("LocalWorker", worker)
        own.kill()
        self.workers.remove(own)

    def replace(self, worker: WorkerHandle) -> str:
        """Start another worker on a worker's device; see `Pool.replace`."""
        own = cast("LocalWorker", worker)
        ended = own.kill()
        self._failed_starts[own.label] += not own.began
        self._poisoned[own.label] += own.process.returncode == POISONED
        if ended and max(self._failed_starts[own.label], self._poisoned[own.label]) < FAILURES:
            self.workers[self.workers.index(own)] = LocalWorker(own.device, self.root, self.logs)
            return ""
        why = f"workers on {own.label} {'fail' if own.began else 'do not start'}: {own.last_words()}"
        self.workers.remove(own)
        if not self.workers:
            raise DeviceError(why)
        return why

    def close(self) -> None:
        """End all workers."""
        for worker in self.workers:
            worker.send(Quit())
        for worker in self.workers:
            worker.kill()


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
