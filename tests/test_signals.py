"""A signal at the worst instants changes neither what is saved nor how the command ends."""

import subprocess
import sys

import pytest
from support import ROOT

AT_THE_END = """
import os, signal, sys
from knobs import signals

class Last:
    def __del__(self, kill=os.kill, pid=os.getpid()):
        kill(pid, signal_number)

signal_number = signal.{name}
signals.install()
last = Last()  # deleted when the interpreter has taken Python's handlers away
signals.settle()
sys.exit(130)
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_while_the_interpreter_ends_changes_no_exit_code(name: str) -> None:
    command = [sys.executable, "-c", AT_THE_END.format(name=name)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 130, done.stderr
