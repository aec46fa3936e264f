"""Every command on a recorded study. The last test removes its checkpoints."""

import re
import sqlite3
from pathlib import Path

import pytest
from recorded_study import SMALL, STUDY, Ran, curves, run_of, the_study
from support import quick

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("end to end")]


@pytest.fixture(scope="session")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    return the_study(tmp_path_factory.getbasetemp())


def test_a_run_that_is_recorded_already_is_reused_and_its_test_split_read(ran: Ran) -> None:
    row = run_of(ran, quick("run", "mnist1d_mlp", *SMALL, "--devices", "cpu:1", store=ran.store))
    assert row.state == "reused"
    assert row.status == "FINISHED"
    source = ran.tracker.get(row.tags["knobs.reused_from"])
    assert source.tags["knobs.digest"] == row.tags["knobs.digest"]
    carried = curves(ran.tracker, row)
    assert {"test/loss", "test/accuracy"} <= set(carried)
    own = curves(ran.tracker, source)
    assert {name: curve for name, curve in carried.items() if name in own} == own


def test_a_recorded_run_is_trained_again_with_a_change(ran: Ran) -> None:
    source = ran.trials[0]
    arguments = ("run", "--from", source.id, "--model.width", "40", "--training.max_steps", "20", "--seed", "5")
    row = run_of(ran, quick(*arguments, "--devices", "cpu:1", store=ran.store))
    assert row.tags["knobs.from"] == source.id
    changed = {"model.width": "40", "training.max_steps": "20", "seed": "5"}
    assert row.params == {**source.params, **changed}
    assert (row.tags["knobs.seed"], row.state) == ("5", "finished")


def test_under_another_name_the_trials_are_reused_and_the_record_grows(ran: Ran) -> None:
    arguments = [*STUDY, "--as", "again", "--devices", "cpu:1"]
    arguments[arguments.index("--trials") + 1] = "2"
    done = quick(*arguments, store=ran.store)
    assert done.code == 0, done
    trials = ran.tracker.search("tags.`knobs.kind` = 'trial'", ran.tracker.experiment("again"))
    assert {row.tags["knobs.study"] for row in trials} == {"again"}
    finished = [row for row in ran.trials[:2] if row.state == "finished"]
    assert sum(row.state == "reused" for row in trials) == len(finished)
    assert "reused" in done.out


def test_other_settings_under_the_same_name_are_refused(ran: Ran) -> None:
    done = quick("study", "mnist1d_mlp", "--trials", "9", "--devices", "cpu:1", store=ran.store)
    assert done.code == 2
    assert len(done.err.splitlines()) <= 4
    for text in ("training.max_steps", "pruner", "--as NAME", "--fresh"):
        assert text in done.err


def test_a_study_that_is_done_is_not_trained_again(ran: Ran) -> None:
    before = runs_in(ran.store)
    done = quick(*STUDY, "--devices", "cpu:1", store=ran.store)
    assert done.code == 0, done
    assert "continues after 8 trials" in done.out
    assert runs_in(ran.store) == before


def runs_in(store: Path) -> int:
    connection = sqlite3.connect(store / "mlflow.db")
    try:
        return int(connection.execute("select count(*) from runs").fetchone()[0])
    finally:
        connection.close()


def test_status(ran: Ran) -> None:
    overview = quick("status", store=ran.store)
    assert (overview.code, overview.err) == (0, "")
    assert re.search(r"mnist1d_mlp +study +finished +8 ", overview.out)
    table = quick("status", "mnist1d_mlp", store=ran.store)
    best = f"{ran.parent.metrics['best/val/accuracy']:.4f}"
    assert best in table.out
    assert all(f"t{n:03d}" in table.out for n in range(8))
    unknown = quick("status", "mnist1d_mpl", store=ran.store)
    assert (unknown.code, unknown.out) == (2, "")
    assert "did you mean mnist1d_mlp?" in unknown.err


def test_clean_removes_checkpoints_and_never_a_record(ran: Ran) -> None:
    (ran.store / "scratch" / "left").mkdir()
    (ran.store / "scratch" / "left" / "step-000000000005.ckpt").write_bytes(b"x" * 1000)
    files = {path for path in ran.store.rglob("*") if path.is_file() and path.suffix == ".ckpt"}
    before = {row.id: (row.metrics, row.tags, row.params) for row in ran.tracker.search("")}
    would = quick("clean", "--older-than", "0.001s", "--dry-run", store=ran.store)
    assert "would free" in would.out
    assert {path for path in ran.store.rglob("*.ckpt") if path.is_file()} == files
    done = quick("clean", "--older-than", "0.001s", store=ran.store)
    assert (done.code, done.err) == (0, "")
    assert re.search(r"freed [\d.]+ MB", done.out)
    left = {path for path in ran.store.rglob("*.ckpt") if path.is_file()}
    winner = ran.trials[int(ran.parent.tags["knobs.best_trial"])].id
    assert any(winner in path.parts for path in left)
    assert not (ran.store / "scratch" / "left").exists()
    assert len(left) < len(files)
    assert {row.id: (row.metrics, row.tags, row.params) for row in ran.tracker.search("")} == before

    tested = [row for row in ran.trials if row.state == "finished" and row.id != winner]
    source = next(row for row in tested if row.params != ran.trials[0].params)
    again = run_of(ran, quick("run", "--from", source.id, "--devices", "cpu:1", store=ran.store))
    assert again.state == "finished"  # it was trained again, because its checkpoint is gone
    assert curves(ran.tracker, again).items() >= curves(ran.tracker, source).items()
    assert "test/accuracy" in again.metrics
