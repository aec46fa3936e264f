"""A signal at the worst moment changes neither the saved data nor the exit code."""

import subprocess
import sys
from pathlib import Path

import pytest
from support import ROOT, python

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


IN_A_TRANSACTION = """
import os, signal, sys
import sqlalchemy
from knobs.commands import main as cli

hit = False

@sqlalchemy.event.listens_for(sqlalchemy.engine.Engine, "before_cursor_execute")
def _hit(_connection, _cursor, statement, *_):
    global hit
    if not hit and statement.strip().upper().startswith({statement!r}):
        hit = True
        print("hit", flush=True)
        os.kill(os.getpid(), signal.SIGINT)

cli.main()
"""


@pytest.mark.slow
@pytest.mark.parametrize("statement", ["DROP TABLE", "CREATE TABLE", "INSERT INTO STUDIES", "SELECT"])
def test_a_signal_within_a_transaction_is_an_interruption(tmp_path: Path, statement: str) -> None:
    # on a DROP TABLE the migrations of MLflow's store clean up with one more statement, and that one fails
    study = ("study", "mnist1d_mlp", "--trials", "1", "--devices", "cpu:1")
    code = IN_A_TRANSACTION.format(statement=statement)
    done = python(code, *study, store=tmp_path / "store")
    assert "hit" in done.out.splitlines(), done.err
    assert done.code == 130, done.err  # an internal error is 4
    assert "interrupted by signal 2" in done.err


BEHIND = """
import os, signal
from knobs import signals
from knobs.errors import InterruptedBySignal

signals.install()

def fails_at_cleaning_up(work):
    try:
        try:
            work()
        finally:
            raise ValueError("clean-up")
    except ValueError as error:
        return type(signals.interruption_behind(error)).__name__

def here():
    os.kill(os.getpid(), signal.SIGINT)

def held():
    with signals.held():
        here()

def let_through():
    with signals.undisturbed(), signals.let_through():
        here()

print(fails_at_cleaning_up({work}))
"""


@pytest.mark.parametrize(
    ("work", "told"), [("here", "InterruptedBySignal"), ("held", "ValueError"), ("let_through", "ValueError")]
)
def test_only_where_nothing_is_saved_a_failed_clean_up_is_an_interruption(work: str, told: str) -> None:
    command = [sys.executable, "-c", BEHIND.format(work=work)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout.strip() == told, done.stderr
