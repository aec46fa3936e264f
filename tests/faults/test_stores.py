"""Faults of stores and projects: locks, damaged files, changed studies and models, passwords."""

import os
import shutil
import signal
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest
from mlflow import MlflowClient

from faults import postgres, reading
from faults import project as own_project
from faults.audit import audit, audit_quiet, table_of
from faults.fixtures import STUDY, Undisturbed, ended, trains
from faults.processes import Forked, fork, until
from knobs.record.stores.locations import StoreLocations
from knobs.record.stores.mlflow_store import Tracker

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("faults")]

COMMAND = (*STUDY, "--devices", "cpu:1")
SECRET = "planted-5ecret-9f"


def test_simultaneous_first_starts_of_one_study_twice_and_of_another(undisturbed: Undisturbed, tmp_path: Path) -> None:
    project, store = undisturbed.project, tmp_path / "store"
    one, two = (fork(*COMMAND, project=project, store=store, KNOBS_SLOW="0.006") for _ in range(2))
    other = fork("study", "memory", "--trials", "4", "--devices", "cpu:1", project=project, store=store)
    until(lambda: not (one.alive and two.alive), what="one of the two to be refused")
    winner, refused = (two, one) if two.alive else (one, two)
    line = ended(refused, 2)
    assert line.count("\n") == 1, line
    assert f"process {winner.process.pid} " in line
    ended(other)
    ended(winner)
    audit("quick", project=project, store=store, want=undisturbed.want)
    audit_quiet(store, "memory")


def test_optunas_store_is_rebuilt(undisturbed: Undisturbed, tmp_path: Path) -> None:
    store, file = tmp_path / "store", tmp_path / "store" / "optuna.db"
    shutil.copytree(undisturbed.store, store)

    def change(statement: str) -> None:
        with closing(sqlite3.connect(file)) as db, db:
            db.executescript(statement)

    tables = ("params", "values", "intermediate_values", "system_attributes", "user_attributes")
    faults = {
        "deleted": file.unlink,
        "behind": lambda: change("".join(f"delete from trial_{name} where trial_id = 4;" for name in tables)
                                 + "delete from trials where trial_id = 4"),
        "killed within the last trial's end": lambda: change(
            "update trials set state = 'RUNNING' where number = 3;"
            "delete from trial_values where trial_id in (select trial_id from trials where number = 3)"
        ),
        "rows gone": lambda: change("delete from trials where number = 3"),
        "half made": lambda: change("drop table trial_values; drop table version_info"),
        "cut off": lambda: file.write_bytes(file.read_bytes()[:9000]),
        "no database": lambda: file.write_bytes(b"nothing of the kind"),
    }  # fmt: skip
    for fault in faults.values():
        fault()
        ended(fork(*COMMAND, project=undisturbed.project, store=store))
        assert reading.optuna_trials(store, "quick") == undisturbed.want.optuna
    audit("quick", project=undisturbed.project, store=store, want=undisturbed.want)


def test_a_write_lock_of_somebody_else_costs_only_time(undisturbed: Undisturbed, tmp_path: Path) -> None:
    store = tmp_path / "store"
    study = fork(*COMMAND, project=undisturbed.project, store=store, KNOBS_SLOW="0.006")
    until(lambda: trains(study), what="training")
    with closing(sqlite3.connect(store / "mlflow.db", timeout=30)) as db:
        db.execute("begin immediate")
        time.sleep(8)
        assert study.alive
        db.rollback()
    ended(study)
    audit("quick", project=undisturbed.project, store=store, want=undisturbed.want)


def test_ctrl_c_while_somebody_else_holds_a_write_lock(undisturbed: Undisturbed, tmp_path: Path) -> None:
    store = tmp_path / "store"
    study = fork(*COMMAND, project=undisturbed.project, store=store, KNOBS_SLOW="0.006")
    until(lambda: trains(study), what="training")
    with closing(sqlite3.connect(store / "mlflow.db", timeout=30)) as db:
        db.execute("begin immediate")
        time.sleep(3)  # now the driver waits for it
        began = time.monotonic()
        for _ in range(2):
            os.kill(study.process.pid, signal.SIGINT)
        assert "Traceback" not in ended(study, 130)
        assert time.monotonic() - began < 10
        db.rollback()
    ended(fork(*COMMAND, project=undisturbed.project, store=store))
    audit("quick", project=undisturbed.project, store=store, want=undisturbed.want)


def _make_store(store: Path) -> None:
    Tracker(StoreLocations(store.parent, store)).experiment("made")


def test_a_start_killed_while_the_store_is_made_harms_nothing(tmp_path: Path) -> None:
    store = tmp_path / "store"
    for delay in (0.0, 0.05, 0.15, 0.4, 0.8):
        start = Forked(_make_store, store)
        until(lambda start=start: any(store.glob(".mlflow-*.db")) or start.poll() is not None, what="the store's begin")
        time.sleep(delay)
        start.kill()
        start.wait()
    for made in [Forked(_make_store, store) for _ in range(3)]:
        assert made.wait(60) == 0
    assert [path.name for path in store.glob("*mlflow*")] == ["mlflow.db"]


def _die_within_a_commit(file: Path) -> None:
    db = sqlite3.connect(file)
    db.execute("pragma cache_size = 1")
    numbers = "with recursive n(i) as (values(1) union all select i + 1 from n limit 9999)"
    db.execute(f"create table big as {numbers} select i, randomblob(400) as b from n")
    db.commit()
    db.execute("begin")
    db.execute("update big set b = randomblob(400)")
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_writer_killed_within_a_commit_is_rolled_back(undisturbed: Undisturbed, tmp_path: Path) -> None:
    store = tmp_path / "store"
    shutil.copytree(undisturbed.store, store)
    assert Forked(_die_within_a_commit, store / "mlflow.db").wait(60) == -signal.SIGKILL
    assert (store / "mlflow.db-journal").stat().st_size > 0
    assert table_of("quick", project=undisturbed.project, store=store) == undisturbed.want.csv


def test_divergence_no_memory_and_a_models_own_bug_are_told_apart(undisturbed: Undisturbed, tmp_path: Path) -> None:
    store = tmp_path / "store"
    ended(fork("study", "memory", "--devices", "cpu:2", project=undisturbed.project, store=store))
    audit_quiet(store, "memory")
    found = reading.trials(store, "memory")
    for run in found:
        width, rate = int(run.params["model.width"]), float(run.params["optimizer.lr"])
        want = "failed" if width == 13 else "out_of_memory" if width > 64 else "diverged" if rate > 1 else "finished"
        assert run.state in {want, "reused" if want == "finished" else want}, run.params
    assert {run.state for run in found} >= {"finished", "failed", "out_of_memory", "diverged"}
    assert "ZeroDivisionError" in next(run for run in found if run.state == "failed").tags["knobs.message"]


def test_a_changed_study_is_refused_with_both_ways_on(undisturbed: Undisturbed, tmp_path: Path) -> None:
    store, changed = tmp_path / "store", own_project.write(tmp_path / "changed")
    shutil.copytree(undisturbed.store, store)
    file = changed / "studies" / "quick.py"
    original = file.read_text()
    for old, new, said in (
        ('["relu", "tanh"]', '["relu", "gelu"]', "model.activation"),
        ('metric="val/accuracy", direction="maximize"', 'metric="val/loss", direction="minimize"', "val/loss"),
    ):
        file.write_text(original.replace(old, new))
        told = ended(fork(*COMMAND, project=changed, store=store), 2)
        assert all(words in told for words in (said, "--as NAME", "--fresh"))
        assert told.count("\n") <= 4
    assert table_of("quick", project=undisturbed.project, store=store) == undisturbed.want.csv
    one = ("study", "quick", "--trials", "1", "--training.max_steps", "50", "--devices", "cpu:1")
    ended(fork(*one, "--as", "second", project=changed, store=store))
    ended(fork(*one, "--fresh", project=changed, store=store))
    audit_quiet(store, "second")
    assert [run.params["training.max_steps"] for run in reading.trials(store, "quick")] == ["50"]
    assert len([run for run in reading.runs(store) if run.tags["knobs.kind"] == "study"]) == 3


def test_changed_code_is_not_answered_with_old_results(tmp_path: Path) -> None:
    project, store = own_project.write(tmp_path / "own"), tmp_path / "store"
    model, states = project / "models" / "hungry.py", []
    for old, new in (("", ""), ("One hidden layer.", "Another word."), ("torch.relu(", "torch.tanh(")):
        text = model.read_text()
        model.write_text(f"# a comment\n{text.replace(old, new)}" if old else text)
        ended(fork("run", "memory", "--devices", "cpu:1", project=project, store=store))
        states.append(reading.runs(store)[-1].state)
    assert states == ["finished", "reused", "finished"]
    relu, again, tanh = reading.runs(store)
    assert relu.points == again.points
    assert relu.points["train/loss"] != tanh.points["train/loss"]
    assert "knobs.reused_from" in again.tags


def _everything(uri: str) -> str:
    """Return everything that MLflow's client shows: experiments, their tags, runs, parameters, tags, artifact names."""
    client = MlflowClient(tracking_uri=uri.replace("postgresql:", "postgresql+psycopg2:"))
    experiments = client.search_experiments()
    runs = client.search_runs([experiment.experiment_id for experiment in experiments])
    names = [entry.path for run in runs for entry in client.list_artifacts(run.info.run_id)]
    inputs = [run.inputs.to_dictionary() for run in runs]
    told = [[vars(experiment) for experiment in experiments], [run.to_dictionary() for run in runs], names, inputs]
    return repr(told)


@pytest.mark.skipif(postgres.program("initdb") is None, reason="no PostgreSQL server is installed")
def test_a_team_on_postgresql_and_its_password(undisturbed: Undisturbed, tmp_path: Path) -> None:
    project, store = undisturbed.project, tmp_path / "store"
    with postgres.server(SECRET) as address:
        shared = {"MLFLOW_TRACKING_URI": f"{address}/postgres"}
        command = (*COMMAND, "--storage", f"{address}/template1")
        first = fork(*command, project=project, store=store, KNOBS_SLOW="0.006", **shared)
        until(lambda: trains(first), what="training")
        os.kill(first.process.pid, signal.SIGTERM)
        outputs = [ended(first, 143), ended(fork(*command, project=project, store=store, **shared))]
        assert ended(fork("status", "quick", "--csv", project=project, store=store, **shared)) == undisturbed.want.csv
        report = tmp_path / "report"
        for more in ((), ("--check",)):
            outputs.append(
                ended(fork("report", "quick", "--out", str(report), *more, project=project, store=store, **shared))
            )
        assert (report / "report.html").stat().st_size > 1000
        told = _everything(f"{address}/postgres")
        assert all(word in told for word in ("val/accuracy", "knobs.state", "config.json", "quick"))
        assert SECRET not in told
        with closing(psycopg2.connect(f"{address}/template1")) as db, db.cursor() as cursor:
            cursor.execute("select state from trials order by number")
            assert [state for (state,) in cursor.fetchall()] == [trial.state for trial in undisturbed.want.optuna]
        for database in ("postgres", "template1"):
            dump = [str(postgres.program("pg_dump")), f"{address}/{database}"]
            dumped = subprocess.run(dump, check=True, capture_output=True, text=True)
            assert "quick" in dumped.stdout
            assert SECRET not in dumped.stdout
    away = fork(*command, project=project, store=store, KNOBS_STORE_PATIENCE="1")
    outputs.append(ended(away, 3))
    unknown = {"MLFLOW_TRACKING_URI": f"{address}/postgres".replace("postgresql:", "postgresql+nodriver:")}
    outputs.append(ended(fork("status", project=project, store=store, **unknown), 3))
    assert not postgres.files_that_hold(SECRET, tmp_path, project)
    assert all(SECRET not in text for text in outputs)
    assert all("Traceback" not in text for text in outputs)
