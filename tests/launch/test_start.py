"""A command that trains says so before it imports libraries, and its worker starts meanwhile."""

import contextlib
import os
import pty
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from support import ROOT, environment

NOTED = """
import os, subprocess, sys

HEAVY = ("torch", "mlflow", "optuna", "scipy.stats", "sklearn")
start, end, write = subprocess.Popen.__init__, os._exit, sys.stdout.write


def note(what):
    print(what, *(name for name in HEAVY if name in sys.modules), file=sys.stderr, flush=True)


def started(self, command, *rest, **more):
    if "knobs.launch.pools.worker" in command:
        note("worker:")
    start(self, command, *rest, **more)


def written(text):
    sys.stdout.write = write
    note("line:")
    return write(text)


def ended(code):
    note("end:")
    end(code)


subprocess.Popen.__init__, os._exit, sys.stdout.write = started, ended, written

from knobs.commands.main import main

main()
"""


def drain(terminal: int) -> None:
    """Read what else appears, so that the terminal is never full."""
    with contextlib.suppress(OSError):
        while os.read(terminal, 4096):
            pass


@pytest.mark.slow
def test_the_worker_and_the_first_line_wait_for_no_library(tmp_path: Path) -> None:
    command = [sys.executable, "-c", NOTED, "run", "mnist1d_mlp", "--training.max_steps", "1", "--devices", "cpu:1"]
    ours, terminal = pty.openpty()
    with subprocess.Popen(
        command, cwd=ROOT, env=environment(tmp_path), stdout=terminal, stderr=subprocess.PIPE, text=True
    ) as running:
        first = b""
        while not first.endswith(b"\n"):
            first += os.read(ours, 1)
        assert first == b"starting 1 worker ...\r\n"
        threading.Thread(target=drain, args=(ours,), daemon=True).start()
        _, errors = running.communicate(timeout=180)
    os.close(terminal)
    assert running.returncode == 0, errors
    lines = errors.splitlines()
    assert lines[:2] == ["line:", "worker:"], lines
    (at_end,) = (line for line in lines if line.startswith("end:"))
    assert "mlflow" in at_end  # the check would notice an import
    assert "sklearn" not in at_end
    assert "scipy.stats" not in at_end
