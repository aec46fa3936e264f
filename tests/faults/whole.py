"""The checks that take minutes: a search that diverges, a lock held for long, one study on any number of workers."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from faults import reading
from faults.audit import audit_quiet, counted, table_of
from faults.processes import launch, until


@dataclass
class Divergence:
    """Counts over a hundred trials in a space of which half diverges."""

    uniform: int
    """Diverged trials among a hundred random points."""
    first: int
    last: int
    """Diverged trials among the first and the last fifty of the default search."""
    seconds: float


def diverging(project: Path, folder: Path, trials: int = 100) -> Divergence:
    """Run `half` with random points, then with the default sampler."""
    began = time.monotonic()
    tables = []
    for sampler in ("random", "tpe"):
        store = folder / f"diverging-{sampler}"
        study = launch(
            *("study", "half", "--trials", str(trials), "--sampler", sampler, "--devices", "cpu:2"),
            project=project,
            store=store,
        )
        assert study.wait(1200) == 0, study.text
        audit_quiet(store, "half")
        tables.append(table_of("half", project=project, store=store))
    half = trials // 2
    states = [[row_state == "diverged" for row_state in _states(table)] for table in tables]
    return Divergence(sum(states[0]), sum(states[1][:half]), sum(states[1][half:]), time.monotonic() - began)


def _states(table: str) -> list[str]:
    return [line.split(",")[1] for line in table.splitlines()[1:]]


@dataclass
class Locked:
    """Times of a study during which another process held a write lock."""

    held: float
    seconds: float
    undisturbed: float
    equal: bool


def locked(arguments: tuple[str, ...], project: Path, folder: Path, held: float = 30.0) -> Locked:
    """Hold the write lock of mlflow.db while a study trains; then compare with the undisturbed study."""
    tables, times = [], []
    for name, seconds in (("alone", 0.0), ("locked", held)):
        store, began = folder / f"lock-{name}", time.monotonic()
        study = launch(*arguments, project=project, store=store)
        if seconds:
            until(study.trains, what="training")
            with closing(sqlite3.connect(store / "mlflow.db", timeout=60)) as db:
                db.execute("begin immediate")
                time.sleep(seconds)
                db.rollback()
        assert study.wait() == 0, study.text
        times.append(time.monotonic() - began)
        audit_quiet(store, arguments[1])
        tables.append(table_of(arguments[1], project=project, store=store))
    return Locked(held, times[1], times[0], tables[0] == tables[1])


@dataclass
class Everywhere:
    """Tables of one study on several numbers of workers, one of them interrupted."""

    study: str
    pruned: int
    trials: int
    tables: dict[str, str]

    @property
    def different(self) -> int:
        """Return the number of distinct tables; 1 is correct."""
        return len(set(self.tables.values()))


def everywhere(arguments: tuple[str, ...], project: Path, folder: Path) -> Everywhere:
    """Run the command with 1, 2 and 4 workers, and with 2 and an interruption, each in its own store."""
    name, tables = arguments[1], {}
    for devices in ("cpu:1", "cpu:2", "cpu:4", "cpu:2, interrupted"):
        store = folder / f"everywhere-{len(tables)}"
        command = (*arguments, "--devices", devices.partition(",")[0])
        if "interrupted" in devices:
            first = launch(*command, project=project, store=store)
            until(lambda store=store: _finished(store) >= 3, 300, "three trials")
            os.kill(first.process.pid, signal.SIGINT)
            assert first.wait(30) == 130, first.text
            audit_quiet(store, name)
        study = launch(*command, project=project, store=store)
        assert study.wait(1200) == 0, study.text
        audit_quiet(store, name)
        tables[devices] = table_of(name, project=project, store=store)
    table = tables["cpu:1"]
    pruned = counted(table, lambda row: row["state"] == "pruned")
    return Everywhere(" ".join(arguments), pruned, counted(table, lambda row: True), tables)


def _finished(store: Path) -> int:
    if not (store / "mlflow.db").exists():
        return 0
    return sum(run.tags.get("knobs.kind") == "trial" and run.status != "RUNNING" for run in reading.runs(store))
