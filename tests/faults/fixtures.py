"""The project of the fault tests and its undisturbed study; made once per session."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from faults import project
from faults.audit import Expected, expected
from faults.processes import Launch, fork

STUDY = ("study", "quick", "--trials", "4")
"""The study that most tests disturb."""


@dataclass(frozen=True)
class Undisturbed:
    """The study's project, its complete store (copy it, do not change it) and its expected results."""

    project: Path
    store: Path
    want: Expected


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """Train the study once, alone."""
    folder = tmp_path_factory.mktemp("undisturbed")
    own, store = project.write(folder / "project"), folder / "store"
    ended(fork(*STUDY, "--devices", "cpu:2", project=own, store=store))
    return Undisturbed(own, store, expected("quick", project=own, store=store))


def ended(started: Launch, code: int = 0) -> str:
    """Wait for the end and check the exit code. Return the output."""
    assert started.wait(180) == code, started.text
    return started.text


def trains(started: Launch, attempt: str = "*") -> bool:
    """Return whether any run has a checkpoint of this attempt."""
    return any((started.store / "scratch").glob(f"*/attempt-{attempt}/step-*"))


def alive(pid: int) -> bool:
    """Return whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def hit(pids: list[int], signum: int) -> None:
    """Send the same signal to all processes."""
    for pid in pids:
        os.kill(pid, signum)
