"""Workers of a forked driver are forked too: importing torch and Lightning takes more CPU time than a small study.

The driver starts a worker by `subprocess.Popen`. Here that call sends the worker's environment and files to a process
which was forked before the driver ran any line, so it has imported libraries only. The worker imports knobs anew and
runs `knobs.launch.pools.worker` as `python -m` does. Tests that use `command` or `launch` start real interpreters.
"""

from __future__ import annotations

import ctypes
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, cast

MODULE = "knobs.launch.pools.worker"
NAME = "forked worker"
"""The name of a forked worker's process."""

PR_SET_PDEATHSIG, PR_SET_NAME = 1, 15


def fork_workers(register: Path | None = None) -> None:
    """Let this process fork its workers. Call this before it imports anything of knobs.

    While a worker runs, the folder `register` holds a file with its process id as name and this process's id as text.
    """
    driver, origin = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if os.fork() == 0:
        driver.close()
        _die_with_parent()
        _serve(origin, register)
    origin.close()

    class Popen(subprocess.Popen[Any]):
        """A process; a worker is one forked by the origin."""

        worker: socket.socket | None = None
        """The end of a worker's connection that says how it ended."""

        def __init__(self, args: Any, **options: Any) -> None:
            if list(args[1:3]) != ["-m", MODULE]:
                super().__init__(args, **options)
                return
            self.args, self.returncode = args, None
            (theirs,) = options["pass_fds"]
            assert args[3] == str(theirs)
            assert options["start_new_session"]
            assert options["stdin"] == subprocess.DEVNULL
            log = cast("IO[bytes]", options["stdout"]).fileno()
            self.worker, told = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            given = json.dumps([str(Path.cwd()), dict(options["env"])]).encode()
            with told:
                driver.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * len(given))
                socket.send_fds(driver, [given], [theirs, log, told.fileno()])
            self.pid = int(self.worker.recv(64))

        def wait(self, timeout: float | None = None) -> int:
            if self.worker is None:
                return super().wait(timeout)
            if self.returncode is None:
                if not select.select([self.worker], [], [], timeout)[0]:
                    raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
                self.returncode = int(self.worker.recv(64))
            return self.returncode

        def poll(self) -> int | None:
            if self.worker is None:
                return super().poll()
            try:
                return self.wait(0)
            except subprocess.TimeoutExpired:
                return None

        def send_signal(self, sig: int) -> None:
            if self.worker is None:
                super().send_signal(sig)
            elif self.poll() is None:
                with suppress(ProcessLookupError):  # it has ended since, and its keeper has not said so yet
                    os.kill(self.pid, sig)

    subprocess.Popen = Popen  # type: ignore[misc]


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _serve(origin: socket.socket, register: Path | None) -> None:
    """Fork a worker for each message, until the driver is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    driver = os.getppid()
    while True:
        given, files, _, _ = socket.recv_fds(origin, 1_000_000, 3)
        if not given:
            os._exit(0)
        if os.fork() == 0:
            origin.close()
            _die_with_parent()
            _keep(given, *files, register, driver)
        for file in files:
            os.close(file)


def _keep(given: bytes, connection: int, log: int, told: int, register: Path | None, driver: int) -> None:
    """Fork the worker. Report its process id, and its exit code as `subprocess` does."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    worker = os.fork()
    if worker == 0:
        os.close(told)
        _work(given, connection, log)
    os.close(connection)
    os.close(log)
    if register is not None:
        register.mkdir(exist_ok=True)
        (register / str(worker)).write_text(str(driver))
    os.write(told, str(worker).encode())
    _, status = os.waitpid(worker, 0)
    if register is not None:
        (register / str(worker)).unlink()
    os.write(told, str(os.waitstatus_to_exitcode(status)).encode())
    os._exit(0)


def _work(given: bytes, connection: int, log: int) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    os.setsid()
    ctypes.CDLL(None).prctl(PR_SET_NAME, NAME.encode())
    for number in (1, 2):
        os.dup2(log, number)
    os.close(log)
    folder, environ = json.loads(given)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environ)
    sys.path.insert(0, folder)
    sys.argv = [MODULE, str(connection)]
    try:
        runpy.run_module(MODULE, run_name="__main__", alter_sys=True)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)
