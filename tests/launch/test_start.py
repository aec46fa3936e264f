"""A command that trains says so before it imports libraries, and its worker starts meanwhile."""

import subprocess
import sys
from pathlib import Path

import pytest
from support import ROOT, environment

NOTED = """
import os, subprocess, sys

HEAVY = ("torch", "mlflow", "optuna", "scipy", "sklearn", "matplotlib")
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


@pytest.mark.slow
def test_the_worker_and_the_first_line_wait_for_no_library(tmp_path: Path) -> None:
    command = [sys.executable, "-c", NOTED, "run", "mnist1d_mlp", "--training.max_steps", "1", "--devices", "cpu:1"]
    done = subprocess.run(
        command, cwd=ROOT, env=environment(tmp_path), capture_output=True, text=True, check=False, timeout=180
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("starting 1 worker ...\n")
    lines = done.stderr.splitlines()
    assert lines[:2] == ["line:", "worker:"], lines
    (at_end,) = (line for line in lines if line.startswith("end:"))
    assert "mlflow" in at_end  # the check would notice an import
    assert "sklearn" not in at_end
