"""Checks that must hold after any fault; every scenario ends with them."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from faults import reading
from faults.processes import fork, until, workers_of
from faults.reading import OptunaTrial, Run

TABLE: dict[str, tuple[str, str, float | None]] = {
    "finished": ("FINISHED", "COMPLETE", 0.0),
    "reused": ("FINISHED", "COMPLETE", 0.0),
    "pruned": ("KILLED", "PRUNED", 0.0),
    "diverged": ("FAILED", "PRUNED", 1.0),
    "out_of_memory": ("FAILED", "PRUNED", 1.0),
    "interrupted": ("KILLED", "WAITING", None),
    "lost": ("FAILED", "FAIL", 0.0),
    "failed": ("FAILED", "FAIL", 0.0),
}
"""For each `knobs.state`: MLflow's status, Optuna's state, the constraint."""

Curves = dict[int, dict[str, list[tuple[int, float]]]]
"""Trial -> metric -> step and value."""


@dataclass(frozen=True)
class Expected:
    """The results of a study that nobody disturbs."""

    csv: str
    curves: Curves
    optuna: list[OptunaTrial]


def table_of(study: str, *, project: Path, store: Path) -> str:
    """Return the output of `knobs status STUDY --csv`."""
    asked = fork("status", study, "--csv", project=project, store=store)
    code = asked.wait()
    assert code == 0, asked.text
    return asked.text


def expected(study: str, *, project: Path, store: Path) -> Expected:
    """Read the results of an undisturbed, complete study."""
    text = table_of(study, project=project, store=store)
    return Expected(text, curves(store, study), reading.optuna_trials(store, study))


def curves(store: Path, study: str) -> Curves:
    """Return all values of the trials, except times (`system/`) and the winner's test metrics."""
    outside = ("system/", "test/")
    return {
        run.trial: {name: points for name, points in sorted(run.points.items()) if not name.startswith(outside)}
        for run in reading.trials(store, study)
    }


def audit(study: str, *, project: Path, store: Path, want: Expected, acknowledged: reading.Rows = frozenset()) -> None:
    """Check that a disturbed study ended like the undisturbed one, and that every acknowledged value is stored."""
    audit_quiet(store, study, acknowledged)
    found = reading.trials(store, study)
    assert [run.trial for run in found] == list(range(len(found))), "one MLflow run a trial, numbers without a gap"
    left = [(run.trial, run.state) for run in found if run.state == "interrupted"]
    assert not left, f"not ended: {left}"
    there = curves(store, study)
    for trial, metrics in want.curves.items():
        for name, points in metrics.items():
            assert there[trial].get(name) == points, f"trial {trial}, {name}: {there[trial].get(name)} for {points}"
        assert there[trial].keys() == metrics.keys(), f"trial {trial}: {there[trial].keys() ^ metrics.keys()}"
    assert there.keys() == want.curves.keys()
    winners = [run for run in found if run.tags.get("knobs.winner") == "true"]
    assert len(winners) == 1
    assert any(name.startswith("test/") for name in winners[0].points), "the winner's test split was read"
    assert reading.optuna_trials(store, study) == want.optuna
    assert list((store / "scratch").glob("*")) == []
    assert table_of(study, project=project, store=store) == want.csv


def audit_quiet(store: Path, study: str, acknowledged: reading.Rows = frozenset()) -> None:
    """Check a store after a launch ended by itself: no process is left, no value is lost, the two stores agree."""
    until(lambda: not list(workers_of(store)), 5, "workers to end")
    if not (store / "mlflow.db").exists():
        assert not acknowledged
        return
    gone = acknowledged - reading.acknowledged(store)
    assert not gone, f"acknowledged and lost: {sorted(map(str, gone))[:5]}"
    every = reading.runs(store)
    assert all(run.lifecycle == "active" for run in every)
    running = [(run.name, run.state) for run in every if run.status == "RUNNING"]
    assert not running, f"RUNNING in MLflow: {running}"
    for run in every:
        _audit_run(run, store)
    if (store / "optuna.db").exists():
        _audit_optuna(reading.trials(store, study), reading.optuna_trials(store, study))


TRAININGS = ("trial", "run", "replicate", "seed")


def _audit_run(run: Run, store: Path) -> None:
    for name, points in run.points.items():
        steps = [step for step, _ in points]
        if run.tags.get("knobs.kind") in TRAININGS:
            assert len(set(steps)) == len(steps), f"{run.name}, {name}: a step twice in {steps}"
        assert all(math.isfinite(value) and abs(value) < 1e300 for _, value in points), f"{run.name}, {name}: {points}"
    if run.tags.get("knobs.kind") not in TRAININGS:
        return
    status, _, _ = TABLE[run.state]
    assert run.status == status, f"{run.name}: {run.state} and {run.status}"
    if run.state != "interrupted":
        assert run.params, f"{run.name} has no parameters"
        assert not (store / "scratch" / run.id).exists(), f"{run.name} ended and left scratch files"
        assert len(run.points.get("train/loss", ())) == len(run.points.get("lr", ()))


def _audit_optuna(found: list[Run], mirrored: list[OptunaTrial]) -> None:
    if not mirrored:  # the driver was stopped before it reached this study
        return
    assert len(found) == len(mirrored), f"{len(found)} runs in MLflow, {len(mirrored)} trials in Optuna's store"
    for run, trial in zip(found, mirrored, strict=True):
        _, state, constraint = TABLE[run.state]
        assert trial.number == run.trial
        assert trial.state == state, f"{run.name}: {run.state}, in Optuna {trial.state}"
        assert trial.constraint == constraint, f"{run.name}: {run.state}, constraint {trial.constraint}"


def rows_of(table: str) -> list[dict[str, str]]:
    """Return the rows of a trial table."""
    return list(csv.DictReader(io.StringIO(table)))


def counted(table: str, wanted: Callable[[dict[str, str]], bool]) -> int:
    """Return the number of rows that satisfy `wanted`."""
    return sum(wanted(row) for row in rows_of(table))
