"""Read the stores on disk with plain SQL, without any library."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

Rows = frozenset[tuple[object, ...]]


@dataclass
class Run:
    """One MLflow run."""

    id: str
    name: str
    status: str
    lifecycle: str
    artifacts: str
    tags: dict[str, str] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    points: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    """Step and value of every row of every metric, in order of step."""

    @property
    def state(self) -> str:
        """`knobs.state`."""
        return self.tags.get("knobs.state", "")

    @property
    def trial(self) -> int:
        """Number of the trial."""
        return int(self.tags["knobs.trial"])


@dataclass
class OptunaTrial:
    """One trial in Optuna's store."""

    number: int
    state: str
    value: float | None
    params: dict[str, float]
    curve: dict[int, float]
    constraint: float | None


@contextmanager
def reading(file: Path) -> Iterator[sqlite3.Connection]:
    """Open a connection that waits for writers and may roll back the half-written transaction of a killed one."""
    connection = sqlite3.connect(f"file:{file}?mode=rw", uri=True, timeout=60)
    try:
        yield connection
    finally:
        connection.close()


def acknowledged(store: Path) -> Rows:
    """Return every metric row in the store."""
    file = store / "mlflow.db"
    if not file.exists():
        return frozenset()
    with reading(file) as db:
        return frozenset(db.execute("select run_uuid, key, step, value, timestamp, is_nan from metrics"))


def runs(store: Path) -> list[Run]:
    """Return all MLflow runs, including deleted ones."""
    with reading(store / "mlflow.db") as db:
        db.execute("begin")
        wanted = "select run_uuid, name, status, lifecycle_stage, artifact_uri from runs order by start_time"
        found = {row[0]: Run(*row) for row in db.execute(wanted)}
        for run, key, value in db.execute("select run_uuid, key, value from tags"):
            found[run].tags[key] = value
        for run, key, value in db.execute("select run_uuid, key, value from params"):
            found[run].params[key] = value
        for run, key, step, value in db.execute("select run_uuid, key, step, value from metrics order by step"):
            found[run].points.setdefault(key, []).append((step, value))
    return list(found.values())


def trials(store: Path, study: str) -> list[Run]:
    """Return the trials of a study's current parent, by number."""
    every = runs(store)
    parents = {r.id for r in every if r.tags.get("knobs.kind") == "study" and "knobs.retired" not in r.tags}
    mine = [r for r in every if r.tags.get("knobs.study") == study and r.tags.get("mlflow.parentRunId") in parents]
    return sorted((r for r in mine if r.tags["knobs.kind"] == "trial"), key=lambda run: run.trial)


def optuna_trials(store: Path, study: str) -> list[OptunaTrial]:
    """Return a study's trials in Optuna's store, by number."""
    with reading(store / "optuna.db") as db:
        db.execute("begin")
        wanted = "select trial_id, number, state from trials natural join studies where study_name = ? order by number"
        found = {i: OptunaTrial(number, state, None, {}, {}, None) for i, number, state in db.execute(wanted, (study,))}
        for i, value in db.execute("select trial_id, value from trial_values"):
            if i in found:
                found[i].value = value
        for i, name, value in db.execute("select trial_id, param_name, param_value from trial_params"):
            if i in found:
                found[i].params[name] = value
        curve = "select trial_id, step, intermediate_value from trial_intermediate_values order by step"
        for i, step, value in db.execute(curve):
            if i in found:
                found[i].curve[step] = value
        for i, key, text in db.execute("select trial_id, key, value_json from trial_system_attributes"):
            if i in found and key == "constraints:trained":
                found[i].constraint = json.loads(text)
    return list(found.values())
