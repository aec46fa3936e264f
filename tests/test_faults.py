"""Faults on a real study in real processes: kills, stops, signals, broken stores. The whole is `make torture`."""

import os
import shutil
import signal
import sqlite3
import subprocess
import time
from contextlib import closing, suppress
from pathlib import Path

import psycopg2
import pytest
from faults import postgres, reading
from faults import project as own_project
from faults.audit import TABLE, Expected, audit, audit_quiet, expected, table_of
from faults.processes import Forked, Launch, fork, launch, until, workers_of
from faults.torture import Torture

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("faults")]

TRIALS = "5"
STUDY = ("study", "quick", "--trials", TRIALS, "--training.max_steps", "2400")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return own_project.write(tmp_path_factory.mktemp("own"))


@pytest.fixture(scope="module")
def undisturbed(project: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Expected]:
    store = tmp_path_factory.mktemp("undisturbed") / "store"
    ended(fork(*STUDY, "--devices", "cpu:2", project=project, store=store))
    return store, expected("quick", project=project, store=store)


def ended(started: Launch, code: int = 0) -> str:
    assert started.wait(180) == code, started.text
    return started.text


def trains(started: Launch, run: str = "*", attempt: str = "*") -> bool:
    return any((started.store / "scratch").glob(f"{run}/attempt-{attempt}/step-*"))


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def log_of(run: reading.Run) -> str:
    return (Path(run.artifacts.removeprefix("file://")) / "run.log").read_text()


def test_random_kills(project: Path, undisturbed: tuple[Path, Expected], tmp_path: Path) -> None:
    torture = Torture(project, tmp_path, arguments=STUDY, start=fork, want=undisturbed[1])
    counts = torture.kill(5, seed=1)
    assert counts.kills.total() == 5
    print(counts)


def test_doubled_random_signals(project: Path, undisturbed: tuple[Path, Expected], tmp_path: Path) -> None:
    torture = Torture(project, tmp_path, arguments=STUDY, start=fork, want=undisturbed[1])
    counts = torture.signal(2, seed=1)
    assert counts.signals.total() == counts.continuations == 2
    print(counts)


def test_a_worker_killed_one_stopped_and_one_told_to_end(
    project: Path, undisturbed: tuple[Path, Expected], tmp_path: Path
) -> None:
    store = tmp_path / "store"
    study = fork(*STUDY, "--devices", "cpu:2", project=project, store=store, KNOBS_WORKER_SILENCE="4")
    until(lambda: len(list((store / "scratch").glob("*/attempt-1/step-*"))) >= 2, what="two trials")
    killed, stopped = study.workers()
    os.kill(stopped, signal.SIGSTOP)
    os.kill(killed, signal.SIGKILL)
    until(lambda: not alive(stopped), 30, "the stopped worker's trial to be taken over")
    with suppress(ProcessLookupError):  # one that comes back late is not there to write anything
        os.kill(stopped, signal.SIGCONT)
    until(lambda: trains(study, attempt="2"), what="a second attempt")
    told = study.workers()
    for pid in told:
        os.kill(pid, signal.SIGTERM)
    until(lambda: not any(map(alive, told)), 30, "the workers to end")
    ended(study)
    audit("quick", project=project, store=store, want=undisturbed[1])
    found = reading.trials(store, "quick")
    again = [run for run in found if int(run.tags["knobs.attempt"]) > 1]
    assert sum(int(run.tags.get("knobs.deaths", "0")) for run in found) == 2, "being told to end is not a death"
    assert sum(int(run.tags["knobs.attempt"]) - 1 for run in again) >= 3
    assert all("goes on from step" in log_of(run) for run in again if run.state == "finished")


def test_four_deaths_and_a_trial_is_lost_but_the_drivers_own_do_not_count(project: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    command = ("study", "quick", "--trials", "2", "--devices", "cpu:1", "--training.max_steps", "6000")

    def hit(started: Launch, attempt: int) -> None:
        until(lambda: trains(started, attempt=str(attempt)), what=f"attempt {attempt}")
        os.kill(started.workers()[0], signal.SIGKILL)

    first = fork(*command, project=project, store=store)
    hit(first, 1)
    until(lambda: trains(first, attempt="2"), what="attempt 2")
    (doomed,) = reading.trials(store, "quick")
    assert doomed.tags["knobs.deaths"] == "1"
    first.process.kill()
    first.wait()
    until(lambda: not list(workers_of(store)), 5, "workers to end by themselves")
    second = fork(*command, project=project, store=store)
    for attempt in (3, 4, 5):
        hit(second, attempt)
    until(lambda: reading.trials(store, "quick")[0].state == "lost", what="the trial to be given up")
    until(lambda: len(reading.trials(store, "quick")) == 2, what="the next trial")
    second.process.kill()
    second.wait()
    third = fork(*command, "--trials", "2", project=project, store=store)
    ended(third)
    audit_quiet(store, "quick")
    lost, other = reading.trials(store, "quick")
    assert (lost.id, lost.state, lost.tags["knobs.deaths"], other.state) == (doomed.id, "lost", "4", "finished")
    assert "signal 9" in lost.tags["knobs.message"]
    assert [trial.state for trial in reading.optuna_trials(store, "quick")] == ["FAIL", "COMPLETE"]


def test_damaged_checkpoints_are_passed_over(project: Path, undisturbed: tuple[Path, Expected], tmp_path: Path) -> None:
    store = tmp_path / "store"
    study = fork(*STUDY, "--devices", "cpu:2", project=project, store=store)
    until(lambda: len(list((store / "scratch").glob("*/*/step-*"))) >= 3, what="checkpoints")
    study.process.kill()
    study.wait()
    until(lambda: not list(workers_of(store)), 5, "workers to end by themselves")
    damaged = {}
    for folder in (store / "scratch").iterdir():
        saved = sorted(folder.glob("*/step-*"))
        if saved:
            damaged[folder.name] = len(saved)
            whole = bytearray(saved[-1].read_bytes())
            whole[len(whole) // 2] ^= 1
            saved[-1].write_bytes(whole)
    ended(fork(*STUDY, "--devices", "cpu:2", project=project, store=store))
    audit("quick", project=project, store=store, want=undisturbed[1])
    for run in reading.trials(store, "quick"):
        if run.id in damaged and run.state == "finished":
            text = log_of(run)
            assert "passed over" in text
            assert ("goes on from step" in text) == (damaged[run.id] > 1)


def test_simultaneous_first_starts_of_one_study_twice_and_of_another(
    project: Path, undisturbed: tuple[Path, Expected], tmp_path: Path
) -> None:
    store = tmp_path / "store"
    one, two = (launch(*STUDY, "--devices", "cpu:1", project=project, store=store) for _ in range(2))
    other = launch("study", "memory", "--trials", "4", "--devices", "cpu:1", project=project, store=store)
    until(lambda: not (one.alive and two.alive), what="one of the two to be refused")
    winner, refused = (two, one) if two.alive else (one, two)
    line = ended(refused, 2)
    assert line.count("\n") == 1, line
    assert f"process {winner.process.pid} " in line
    ended(other)
    ended(winner)
    audit("quick", project=project, store=store, want=undisturbed[1])
    audit_quiet(store, "memory")


def test_optunas_store_is_rebuilt(project: Path, undisturbed: tuple[Path, Expected], tmp_path: Path) -> None:
    store, file = tmp_path / "store", tmp_path / "store" / "optuna.db"
    shutil.copytree(undisturbed[0], store)

    def change(statement: str) -> None:
        with closing(sqlite3.connect(file)) as db, db:
            db.executescript(statement)

    def cut() -> None:
        file.write_bytes(file.read_bytes()[:9000])

    faults = {
        "deleted": file.unlink,
        "behind": lambda: change(
            "delete from trial_params where trial_id = 5; delete from trial_values where trial_id = 5;"
            "delete from trial_intermediate_values where trial_id = 5; delete from trials where trial_id = 5;"
            "delete from trial_system_attributes where trial_id = 5; delete from trial_user_attributes"
        ),
        "killed within the last trial's end": lambda: change(
            "update trials set state = 'RUNNING' where number = 4;"
            "delete from trial_values where trial_id in (select trial_id from trials where number = 4)"
        ),
        "rows gone": lambda: change("delete from trials where number = 4"),
        "half made": lambda: change("drop table trial_values; drop table version_info"),
        "cut off": cut,
        "no database": lambda: file.write_bytes(b"nothing of the kind"),
    }
    for fault in faults.values():
        fault()
        ended(fork(*STUDY, "--devices", "cpu:1", project=project, store=store))
        assert reading.optuna_trials(store, "quick") == undisturbed[1].optuna
    audit("quick", project=project, store=store, want=undisturbed[1])


def test_a_write_lock_of_somebody_else_costs_only_time(
    project: Path, undisturbed: tuple[Path, Expected], tmp_path: Path
) -> None:
    store = tmp_path / "store"
    study = fork(*STUDY, "--devices", "cpu:2", project=project, store=store)
    until(lambda: trains(study), what="training")
    with closing(sqlite3.connect(store / "mlflow.db", timeout=30)) as db:
        db.execute("begin immediate")
        time.sleep(8)
        assert study.alive
        db.rollback()
    ended(study)
    audit("quick", project=project, store=store, want=undisturbed[1])


def _make_store(store: Path) -> None:
    from knobs.places import Places
    from knobs.tracking import Tracker

    tracker = Tracker(Places(store.parent, store))
    tracker.experiment("made")


def test_a_start_killed_while_the_store_is_made_harms_nothing(tmp_path: Path) -> None:
    store = tmp_path / "store"
    for delay in (0.0, 0.05, 0.15, 0.4, 0.8):
        start = Forked(_make_store, store)
        until(lambda store=store: any(store.glob(".mlflow-*.db")), what="the store to be begun")
        time.sleep(delay)
        start.kill()
        start.wait()
    for made in [Forked(_make_store, store) for _ in range(3)]:
        assert made.wait(60) == 0
    assert [path.name for path in store.glob("*mlflow*")] == ["mlflow.db"]


def _die_within_a_commit(file: Path) -> None:
    db = sqlite3.connect(file)
    db.execute("pragma cache_size = 1")
    db.execute(
        "create table big as with recursive n(i) as (values(1) union all select i + 1 from n limit 9999) "
        "select i, randomblob(400) as b from n"
    )
    db.commit()
    db.execute("begin")
    db.execute("update big set b = randomblob(400)")
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_writer_killed_within_a_commit_is_rolled_back(
    project: Path, undisturbed: tuple[Path, Expected], tmp_path: Path
) -> None:
    store = tmp_path / "store"
    shutil.copytree(undisturbed[0], store)
    assert Forked(_die_within_a_commit, store / "mlflow.db").wait(60) == -signal.SIGKILL
    assert (store / "mlflow.db-journal").stat().st_size > 0
    assert table_of("quick", project=project, store=store) == undisturbed[1].csv


def test_divergence_no_memory_and_a_models_own_bug_are_told_apart(project: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    ended(fork("study", "memory", "--devices", "cpu:2", project=project, store=store))
    audit_quiet(store, "memory")
    found = reading.trials(store, "memory")
    for run in found:
        width, rate = int(run.params["model.width"]), float(run.params["optimizer.lr"])
        want = "failed" if width == 13 else "out_of_memory" if width > 64 else "diverged" if rate > 1 else "finished"
        assert run.state in {want, "reused" if want == "finished" else want}, run.params
    assert {run.state for run in found} >= {"finished", "failed", "out_of_memory", "diverged"}
    assert "ZeroDivisionError" in next(run for run in found if run.state == "failed").tags["knobs.message"]


def test_a_run_goes_on_in_the_same_run(project: Path, undisturbed: tuple[Path, Expected], tmp_path: Path) -> None:
    store = tmp_path / "store"
    command = ("run", "quick", "--training.max_steps", "2400", "--devices", "cpu:1")
    first = fork(*command, project=project, store=store)
    until(lambda: trains(first), what="training")
    os.kill(first.process.pid, signal.SIGTERM)
    assert "everything is saved" in ended(first, 143)
    audit_quiet(store, "quick")
    (interrupted,) = reading.runs(store)
    assert interrupted.state == "interrupted"
    second = fork(*command, project=project, store=store)  # killed before it comes to anything
    until(lambda: len(second.workers()) == 1, what="a worker")
    os.kill(second.process.pid, signal.SIGKILL)
    second.wait()
    ended(fork(*command, project=project, store=store))
    audit_quiet(store, "quick")
    (run,) = reading.runs(store)
    assert (run.id, run.state) == (interrupted.id, "finished")
    assert "goes on from step" in log_of(run)
    want = undisturbed[1].curves[0]  # trial 0 is the baseline
    assert {name: run.points[name] for name in want} == want
    assert run.points["test/accuracy"]


def test_a_changed_study_is_refused_with_both_ways_on(
    project: Path, undisturbed: tuple[Path, Expected], tmp_path: Path
) -> None:
    store, changed = tmp_path / "store", own_project.write(tmp_path / "changed")
    shutil.copytree(undisturbed[0], store)
    file = changed / "studies" / "quick.py"
    original = file.read_text()
    for old, new, said in (
        ('["relu", "tanh"]', '["relu", "gelu"]', "model.activation"),
        ('metric="val/accuracy", direction="maximize"', 'metric="val/loss", direction="minimize"', "val/loss"),
    ):
        file.write_text(original.replace(old, new))
        said_so = ended(fork(*STUDY, "--devices", "cpu:1", project=changed, store=store), 2)
        assert said in said_so
        assert "--as NAME" in said_so
        assert "--fresh" in said_so
        assert said_so.count("\n") <= 4
    assert table_of("quick", project=project, store=store) == undisturbed[1].csv
    one = ("study", "quick", "--trials", "1", "--training.max_steps", "50", "--devices", "cpu:1")
    ended(fork(*one, "--as", "second", project=changed, store=store))
    ended(fork(*one, "--fresh", project=changed, store=store))
    audit_quiet(store, "second")
    assert [run.params["training.max_steps"] for run in reading.trials(store, "quick")] == ["50"]
    assert len([run for run in reading.runs(store) if run.tags["knobs.kind"] == "study"]) == 3


def test_changed_code_is_not_answered_with_old_results(tmp_path: Path) -> None:
    project, store = own_project.write(tmp_path / "own"), tmp_path / "store"
    command = ("run", "memory", "--devices", "cpu:1")
    model = project / "models" / "hungry.py"
    states = []
    for old, new in (("", ""), ("# none", ""), ("torch.relu(", "torch.tanh("), ("One hidden layer.", "Another word.")):
        text = model.read_text()
        model.write_text(f"# a comment\n{text}" if old == "# none" else text.replace(old, new) if old else text)
        ended(fork(*command, project=project, store=store))
        states.append(reading.runs(store)[-1].state)
    assert states == ["finished", "reused", "finished", "reused"]
    relu, again, tanh, _ = reading.runs(store)
    assert relu.points["train/loss"] == again.points["train/loss"] != tanh.points["train/loss"]
    assert relu.points["grad_norm"] == again.points["grad_norm"]
    assert set(again.points) == set(relu.points)
    assert TABLE["reused"][0] == again.status


def test_hyperband_sees_the_same_history_at_any_number_of_workers(project: Path, tmp_path: Path) -> None:
    command = ("study", "quick", "--trials", "9", "--training.max_steps", "800", "--pruner", "hyperband")
    alone = tmp_path / "alone"
    ended(fork(*command, "--devices", "cpu:1", project=project, store=alone))
    want = expected("quick", project=project, store=alone)
    assert "pruned" in want.csv
    store = tmp_path / "store"
    first = fork(*command, "--devices", "cpu:4", project=project, store=store)
    until(lambda: trains(first), what="training")
    os.kill(first.process.pid, signal.SIGINT)
    ended(first, 130)
    ended(fork(*command, "--devices", "cpu:2", project=project, store=store))
    audit("quick", project=project, store=store, want=want)


SECRET = "planted-5ecret-9f"


@pytest.mark.skipif(postgres.program("initdb") is None, reason="no PostgreSQL server is installed")
def test_a_team_on_postgresql_and_its_password(
    project: Path, undisturbed: tuple[Path, Expected], tmp_path: Path
) -> None:
    store = tmp_path / "store"
    with postgres.server(SECRET) as address:
        shared = {"MLFLOW_TRACKING_URI": f"{address}/postgres"}
        command = (*STUDY, "--devices", "cpu:2", "--storage", f"{address}/template1")
        first = fork(*command, project=project, store=store, **shared)
        until(lambda: trains(first), what="training")
        os.kill(first.process.pid, signal.SIGTERM)
        outputs = [ended(first, 143), ended(fork(*command, project=project, store=store, **shared))]
        shown = fork("status", "quick", "--csv", project=project, store=store, **shared)
        assert ended(shown) == undisturbed[1].csv
        with closing(psycopg2.connect(f"{address}/template1")) as db, db.cursor() as cursor:
            cursor.execute("select state from trials order by number")
            assert [state for (state,) in cursor.fetchall()] == [trial.state for trial in undisturbed[1].optuna]
        for database in ("postgres", "template1"):
            dumped = subprocess.run(
                [str(postgres.program("pg_dump")), f"{address}/{database}"], check=True, capture_output=True, text=True
            )
            assert "copy" in dumped.stdout.lower()
            assert SECRET not in dumped.stdout
    away = fork(*command, project=project, store=store, KNOBS_STORE_PATIENCE="1")
    outputs.append(ended(away, 3))
    unknown = {"MLFLOW_TRACKING_URI": f"{address}/postgres".replace("postgresql:", "postgresql+nodriver:")}
    outputs.append(ended(fork("status", project=project, store=store, **unknown), 3))
    assert not postgres.files_that_hold(SECRET, tmp_path, project)
    assert all(SECRET not in text for text in outputs)
    assert all("Traceback" not in text for text in outputs)


def test_a_kill_by_the_kernel_for_memory_is_told_apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from knobs.launch import local
    from knobs.launch.devices import Device

    for more, by_kernel in ((0, False), (1, True)):
        kills = iter((7, 7 + more))
        monkeypatch.setattr(local, "kernel_kills", lambda kills=kills: next(kills))
        worker = local.Worker(Device("cpu:0", "cpu"), tmp_path, tmp_path)
        worker.process.kill()
        assert worker.autopsy().by_kernel_for_memory == by_kernel
        worker.kill()
