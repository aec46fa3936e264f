"""Start the command as a process that tests can kill or signal; find its workers; wait for its end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from forked_workers import NAME, fork_workers
from support import KNOBS, environment, forget_knobs, forkserver

WORKER = b"knobs.launch.pools.worker"


class Process(Protocol):
    """The interface of a started process."""

    @property
    def pid(self) -> int:
        """Return the process id."""

    def poll(self) -> int | None:
        """Return the exit code, or None while the process runs."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end. Return the exit code."""

    def kill(self) -> None:
        """Send SIGKILL."""


@dataclass
class Launch:
    """One start of `knobs` in a project, on a store."""

    process: Process
    store: Path
    output: Path
    began: float = field(default_factory=time.time)

    @property
    def alive(self) -> bool:
        """Return whether the driver still runs."""
        return self.process.poll() is None

    @property
    def text(self) -> str:
        """Return the output so far, both streams."""
        return self.output.read_text(errors="replace")

    def workers(self) -> list[int]:
        """Return the process ids of its workers."""
        return [pid for pid, parent in workers_of(self.store) if parent == self.process.pid]

    def trains(self) -> bool:
        """Return whether one of its workers has written a checkpoint of an unfinished trial."""
        with suppress(OSError):
            return any(file.stat().st_mtime > self.began for file in (self.store / "scratch").glob("*/*/*"))
        return False

    @property
    def phase(self) -> str:
        """Describe how far the launch is, seen from outside."""
        if not (self.store / "mlflow.db").exists():
            return "before there is a store"
        return "while trials train" if self.trains() else "at its start or between trials"

    def handles_signals(self) -> bool:
        """Return whether knobs has installed its handler of SIGTERM."""
        with suppress(OSError, StopIteration, IndexError):
            lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
            caught = int(next(line for line in lines if line.startswith("SigCgt")).split()[1], 16)
            return bool(caught >> (signal.SIGTERM - 1) & 1)
        return False

    def wait(self, timeout: float = 300) -> int:
        """Wait for the end. Return the exit code. If the command hangs, kill it and raise `AssertionError`."""
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(f"still running after {timeout:.0f} s: {self.text[-2000:]}") from None

    def end(self) -> None:
        """Kill the command and its workers."""
        self.process.kill()
        self.process.wait()
        for pid, _ in workers_of(self.store):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def launch(*arguments: str, project: Path, store: Path, **more: str) -> Launch:
    """Start the command in its own process group. Checkpoints are frequent, so that a resume continues midway."""
    output, variables = _prepare(store, more)
    with output.open("wb") as file:
        process = subprocess.Popen(
            [str(KNOBS), *arguments],
            cwd=project,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    return Launch(process, store, output)


def fork(*arguments: str, project: Path, store: Path, real_workers: bool = False, **more: str) -> Launch:
    """Start the command in a fork of a process that has imported the libraries. This saves seconds per start.

    Its workers are forked too, unless they shall be real: then a kill may hit an interpreter that starts.
    """
    output, variables = _prepare(store, more)
    forked = Forked(_command, arguments, project, variables, output, None if real_workers else _register(store))
    return Launch(forked, store, output)


def _register(store: Path) -> Path:
    return store.with_name(f"{store.name}.workers")


def _prepare(store: Path, more: dict[str, str]) -> tuple[Path, dict[str, str]]:
    store.parent.mkdir(parents=True, exist_ok=True)
    output = store.parent / f"{store.name}.{time.monotonic_ns()}.out"
    output.touch()
    return output, environment(store, **{"KNOBS_CHECKPOINT_SECONDS": "0.1", **more})


class Forked:
    """A function in a process forked from a server that has imported torch, MLflow and Optuna."""

    def __init__(self, function: Callable[..., None], *arguments: Any) -> None:
        self.process = forkserver().Process(target=function, args=arguments)
        self.process.start()
        assert self.process.pid is not None
        self.pid = self.process.pid

    def poll(self) -> int | None:
        """Return the exit code, or None while the process runs."""
        return self.process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end. Return the exit code."""
        self.process.join(timeout)
        if self.process.exitcode is None:
            raise subprocess.TimeoutExpired("knobs", timeout or 0)
        return self.process.exitcode

    def kill(self) -> None:
        """Send SIGKILL."""
        self.process.kill()


def _command(
    arguments: tuple[str, ...], project: Path, variables: dict[str, str], output: Path, register: Path | None
) -> None:
    os.setsid()
    handle = os.open(output, os.O_WRONLY | os.O_APPEND)
    for number in (1, 2):
        os.dup2(handle, number)
    os.chdir(project)
    os.environ.clear()
    os.environ.update(variables)
    forget_knobs()
    sys.argv = [str(KNOBS), *arguments]
    if register is not None:
        fork_workers(register)
    from knobs.commands.main import main

    main()


def workers_of(store: Path) -> Iterator[tuple[int, int]]:
    """Yield the process id and the driver of every live worker on this store, including orphans."""
    for entry in _register(store).glob("*"):
        with suppress(OSError):
            name, driver = Path(f"/proc/{entry.name}/comm").read_text().strip(), int(entry.read_text())
            if name == NAME and Path(f"/proc/{entry.name}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
                yield int(entry.name), driver
    wanted = f"KNOBS_MLRUNS={store}".encode()
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        with suppress(OSError, IndexError):
            if WORKER not in (folder / "cmdline").read_bytes():
                continue
            if wanted not in (folder / "environ").read_bytes().split(b"\0"):
                continue
            after_name = (folder / "stat").read_text().rpartition(")")[2].split()
            if after_name[0] != "Z":
                yield int(folder.name), int(after_name[1])


def until(condition: Callable[[], bool], timeout: float = 90, what: str = "") -> None:
    """Wait for a condition. Raise `AssertionError` if it does not hold in time."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout:.0f} s in vain for {what or condition}")
        time.sleep(0.05)
