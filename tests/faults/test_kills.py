"""Faults of processes during a real study: kills, stops, signals, damaged checkpoints. `make torture` does more."""

import os
import shutil
import signal
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from faults import reading
from faults.audit import audit, audit_quiet, expected
from faults.fixtures import STUDY, Undisturbed, alive, ended, hit, trains
from faults.processes import Launch, fork, until, workers_of
from faults.torture import Torture

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("faults")]

SLOW = {"KNOBS_SLOW": "0.006"}
"""With this a trial takes about three seconds."""


def torture(undisturbed: Undisturbed, folder: Path, devices: str) -> Torture:
    return Torture(
        undisturbed.project,
        folder,
        arguments=(*STUDY, "--devices", devices),
        start=partial(fork, real_workers=True),
        start_seconds=4,
        want=undisturbed.want,
    )


def log_of(run: reading.Run) -> str:
    return (Path(run.artifacts.removeprefix("file://")) / "run.log").read_text()


def test_five_random_kills(undisturbed: Undisturbed, tmp_path: Path) -> None:
    counts = torture(undisturbed, tmp_path, "cpu:2").kill(5, seed=1)
    print(counts)
    assert counts.kills.total() == 5


def test_two_doubled_random_signals(undisturbed: Undisturbed, tmp_path: Path) -> None:
    counts = torture(undisturbed, tmp_path, "cpu:1").signal(2, seed=1)
    print(counts)
    assert counts.signals.total() == counts.continuations == 2


def test_a_worker_killed_one_stopped_and_some_told_to_end(undisturbed: Undisturbed, tmp_path: Path) -> None:
    store = tmp_path / "store"
    scratch = store / "scratch"
    quick: dict[str, Any] = {"KNOBS_WORKER_SILENCE": "3", "KNOBS_SLOW": "0.01"}
    study = fork(*STUDY, "--devices", "cpu:2", project=undisturbed.project, store=store, **quick)
    until(lambda: len({path.parent for path in scratch.glob("*/attempt-1/step-*")}) == 2, what="two trials")
    killed, stopped = study.workers()
    os.kill(stopped, signal.SIGSTOP)
    os.kill(killed, signal.SIGKILL)
    until(lambda: not alive(stopped), 30, "the stopped worker's trial to be taken over")
    with suppress(ProcessLookupError):  # the stopped worker may already be killed
        os.kill(stopped, signal.SIGCONT)
    until(lambda: len({path.parent for path in scratch.glob("*/attempt-2/step-*")}) == 2, what="second attempts")
    told = study.workers()
    hit(told, signal.SIGTERM)
    until(lambda: not any(map(alive, told)), 30, "the workers to end")
    ended(study)
    audit("quick", project=undisturbed.project, store=store, want=undisturbed.want)
    one, other = reading.trials(store, "quick")[:2]
    for run in (one, other):
        assert run.tags["knobs.lost_workers"] == "1", "ending on request is no loss"
        assert int(run.tags["knobs.attempt"]) >= 2
        assert "continued from step" in log_of(run)
    assert int(one.tags["knobs.attempt"]) + int(other.tags["knobs.attempt"]) >= 5


def test_a_worker_whose_last_word_and_end_are_heard_together(undisturbed: Undisturbed, tmp_path: Path) -> None:
    store = tmp_path / "store"
    study = fork(*STUDY, "--devices", "cpu:1", project=undisturbed.project, store=store, **SLOW)
    until(lambda: trains(study), what="a trial")
    told = study.workers()
    os.kill(study.process.pid, signal.SIGSTOP)  # so that message and end arrive together
    hit(told, signal.SIGTERM)
    until(lambda: not any(map(alive, told)), 30, "the worker to end")
    os.kill(study.process.pid, signal.SIGCONT)
    ended(study)
    audit("quick", project=undisturbed.project, store=store, want=undisturbed.want)


def test_four_deaths_and_a_trial_is_lost_but_the_drivers_own_do_not_count(
    undisturbed: Undisturbed, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    command = ("study", "quick", "--trials", "2", "--devices", "cpu:1")

    def kill(started: Launch, attempt: int) -> None:
        until(lambda: trains(started, attempt=str(attempt)), what=f"attempt {attempt}")
        hit(started.workers(), signal.SIGKILL)

    first = fork(*command, project=undisturbed.project, store=store, **SLOW)
    kill(first, 1)
    until(lambda: trains(first, attempt="2"), what="attempt 2")
    (doomed,) = reading.trials(store, "quick")
    assert doomed.tags["knobs.lost_workers"] == "1"
    first.process.kill()
    first.wait()
    until(lambda: not list(workers_of(store)), 5, "workers to end by themselves")
    second = fork(*command, project=undisturbed.project, store=store, **SLOW)
    for attempt in (3, 4, 5):
        kill(second, attempt)
    ended(second)
    audit_quiet(store, "quick")
    lost, other = reading.trials(store, "quick")
    assert (lost.id, lost.state, lost.tags["knobs.lost_workers"], other.state) == (doomed.id, "lost", "4", "finished")
    assert "signal 9" in lost.tags["knobs.message"]
    assert [trial.state for trial in reading.optuna_trials(store, "quick")] == ["FAIL", "COMPLETE"]


def test_a_damaged_checkpoint_is_passed_over(undisturbed: Undisturbed, tmp_path: Path) -> None:
    store = tmp_path / "store"
    command = (*STUDY, "--devices", "cpu:1")
    study = fork(*command, project=undisturbed.project, store=store, **SLOW)
    until(lambda: len(list((store / "scratch").glob("*/*/step-*"))) >= 2, what="checkpoints")
    study.process.kill()
    study.wait()
    until(lambda: not list(workers_of(store)), 5, "workers to end by themselves")
    (folder,) = (store / "scratch").iterdir()
    *older, newest = sorted(folder.glob("*/step-*"))
    whole = bytearray(newest.read_bytes())
    third = len(whole) // 3
    whole[third : 2 * third] = bytes(third)
    newest.write_bytes(whole)
    ended(fork(*command, project=undisturbed.project, store=store))
    audit("quick", project=undisturbed.project, store=store, want=undisturbed.want)
    (run,) = (run for run in reading.runs(store) if run.id == folder.name)
    assert "skipped checkpoint" in log_of(run)
    assert f"continued from step {int(older[-1].stem.removeprefix('step-'))}\n" in log_of(run)


def test_a_run_goes_on_in_the_same_run(undisturbed: Undisturbed, tmp_path: Path) -> None:
    store = tmp_path / "store"
    command = ("run", "quick", "--devices", "cpu:1")
    first = fork(*command, project=undisturbed.project, store=store, **SLOW)
    until(lambda: trains(first), what="training")
    os.kill(first.process.pid, signal.SIGTERM)
    assert "everything is saved" in ended(first, 143)
    audit_quiet(store, "quick")
    (interrupted,) = reading.runs(store)
    assert interrupted.state == "interrupted"
    second = fork(*command, project=undisturbed.project, store=store)  # killed before it trains
    until(lambda: len(second.workers()) == 1, what="a worker")
    os.kill(second.process.pid, signal.SIGKILL)
    second.wait()
    ended(fork(*command, project=undisturbed.project, store=store))
    audit_quiet(store, "quick")
    (run,) = reading.runs(store)
    assert (run.id, run.state) == (interrupted.id, "finished")
    assert "continued from step" in log_of(run)
    want = undisturbed.want.curves[0]  # trial 0 is the baseline
    assert {name: run.points[name] for name in want} == want
    assert run.points["test/accuracy"]


def test_hyperband_sees_the_same_history_at_any_number_of_workers(undisturbed: Undisturbed, tmp_path: Path) -> None:
    command, project = ("study", "quick", "--trials", "8", "--pruner", "hyperband"), undisturbed.project
    alone = tmp_path / "alone"
    ended(fork(*command, "--devices", "cpu:1", project=project, store=alone))
    want = expected("quick", project=project, store=alone)
    assert ",pruned," in want.csv
    store = tmp_path / "store"
    first = fork(*command, "--devices", "cpu:4", project=project, store=store, **SLOW)
    until(lambda: trains(first), what="training")
    os.kill(first.process.pid, signal.SIGINT)
    ended(first, 130)
    ended(fork(*command, "--devices", "cpu:2", project=project, store=store))
    audit("quick", project=project, store=store, want=want)


REPLICATED = '''"""Two seeds a trial."""

from dataclasses import replace
from knobs import Replicates
import studies.quick as quick

study = replace(quick.study, replicates=Replicates(seeds=2), pruner="none")
'''


def test_replicates_and_fresh_seeds_survive_kills(undisturbed: Undisturbed, tmp_path: Path) -> None:
    project = tmp_path / "project"
    shutil.copytree(undisturbed.project, project)
    (project / "studies" / "replicated.py").write_text(REPLICATED)
    command = ("study", "replicated", "--trials", "3", "--confirm", "2")
    alone, store = tmp_path / "alone", tmp_path / "store"
    ended(fork(*command, "--devices", "cpu:1", project=project, store=alone))
    for attempt, wanted in enumerate((1, 3, 5, 7), start=1):
        study = fork(*command, "--devices", "cpu:2", project=project, store=store, KNOBS_SLOW="0.003")
        until(lambda wanted=wanted: len(trained(store)) >= wanted, 60, what="replicates")
        until(lambda study=study: study.trains() or not study.alive, 60, what="training")
        victim = study.process.pid if attempt % 2 else study.workers()[0]
        with suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
        if victim != study.process.pid:
            os.kill(study.process.pid, signal.SIGTERM)
        study.wait()
        until(lambda: not list(workers_of(store)), 10, "workers to end")
    ended(fork(*command, "--devices", "cpu:2", project=project, store=store))
    tables = []
    for one in (alone, store):
        ended(fork("report", "replicated", "--out", str(one / "out"), project=project, store=one))
        tables.append((one / "out" / "table.csv").read_text())
    assert tables[0] == tables[1]
    audit_quiet(store, "replicated")
    kept = [
        [
            (run.name, run.state, run.points["val/accuracy"], run.points.get("test/accuracy"))
            for run in sorted(reading.runs(one), key=lambda run: run.name)
            if run.tags["knobs.kind"] in ("trial", "replicate", "seed")
        ]
        for one in (alone, store)
    ]
    assert kept[0] == kept[1]
    assert len(kept[0]) == 3 + 6 + 2


def trained(store: Path) -> list[reading.Run]:
    """Return the replicates and fresh seeds of a store."""
    every = reading.runs(store) if (store / "mlflow.db").exists() else []
    return [run for run in every if run.tags.get("knobs.kind") in ("replicate", "seed")]
