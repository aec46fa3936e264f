"""A small study through the installed command: what the store holds of it, and what every command makes of that."""

import csv
import io
import json
import re
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support import ROOT, Done, command, quick

from knobs import checkpoint
from knobs.config import RunConfig
from knobs.places import Places
from knobs.tracking import Row, Tracker

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("end to end")]

SMALL = ("--training.max_steps", "140", "--training.val_every", "20")
STUDY = ("study", "mnist1d_mlp", "--trials", "8", "--pruner", "halving", *SMALL)
CURVES = {"train/loss", "val/loss", "val/accuracy", "lr", "grad_norm"}
BEST = {"best/step", "best/val/loss", "best/val/accuracy", "best/train/loss", "best/train/accuracy", "parameters"}
SYSTEM = {"system/seconds", "system/cpu_seconds", "system/steps_per_second"}


@dataclass
class Ran:
    """A study that has ended, its store and what it printed."""

    store: Path
    done: Done
    tracker: Tracker
    parent: Row
    trials: list[Row]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    store = tmp_path_factory.mktemp("two workers") / "m"
    done = command(*STUDY, "--devices", "cpu:2", store=store)
    assert done.code == 0, done
    tracker = Tracker(Places(ROOT, store))
    experiment = tracker.experiment("mnist1d_mlp")
    (parent,) = tracker.search("tags.`knobs.kind` = 'study'", experiment)
    trials = tracker.search(f"tags.`mlflow.parentRunId` = '{parent.id}'", experiment)
    return Ran(store, done, tracker, parent, sorted(trials, key=lambda row: int(row.tags["knobs.trial"])))


def curves(tracker: Tracker, row: Row) -> dict[str, list[tuple[int, float]]]:
    """All that is recorded of a run and is a matter of its config, to the bit."""
    return {name: tracker.curve(row.id, name) for name in row.metrics if not name.startswith("system/")}


def run_of(ran: Ran, done: Done) -> Row:
    """The run that a `knobs run` made."""
    assert done.code == 0, done
    found = re.search(r"run ([0-9a-f]{32})", done.out)
    assert found is not None
    return ran.tracker.get(found[1])


# What is recorded


def test_the_study_ends_with_the_best_and_where_to_look_further(ran: Ran) -> None:
    for text in ("five best", "best: t", "test/accuracy", "knobs status mnist1d_mlp", "knobs ui", "optuna-dashboard"):
        assert text in ran.done.out
    assert ran.done.err == ""
    assert "\x1b[" not in ran.done.out  # plain lines where there is no terminal


def test_eight_trials_under_one_parent_and_all_have_ended(ran: Ran) -> None:
    assert [row.tags["knobs.trial"] for row in ran.trials] == [str(n) for n in range(8)]
    assert (ran.parent.status, ran.parent.state) == ("FINISHED", "finished")
    states = [(row.state, row.status) for row in ran.trials]
    assert set(states) <= {("finished", "FINISHED"), ("pruned", "KILLED")}
    assert ("pruned", "KILLED") in states
    assert ran.trials[0].state == "finished"
    assert all(row.end_ms is not None and row.end_ms >= row.start_ms for row in [ran.parent, *ran.trials])
    best = max(row.metrics["best/val/accuracy"] for row in ran.trials if row.state == "finished")
    assert ran.parent.metrics["best/val/accuracy"] == best
    assert ran.parent.metrics["trials/done"] == 8
    assert list((ran.store / "scratch").iterdir()) == []


def test_every_trial_carries_what_the_design_lists(ran: Ran) -> None:
    for row in ran.trials:
        config = RunConfig.from_json(row.tags["knobs.config"])
        assert row.params == {name: str(value) for name, value in config.knobs().items()}
        assert config.digest(row.tags["knobs.data_fingerprint"]) == row.tags["knobs.digest"]
        expected = {"study": "mnist1d_mlp", "kind": "trial", "seed": "0", "device": "cpu", "threads": "1"}
        assert {name: row.tags[f"knobs.{name}"] for name in expected} == expected
        for name in ("execution", "git_commit", "git_dirty", "torch", "cpu_capability", "deterministic_algorithms"):
            assert row.tags[f"knobs.{name}"]
        assert len(row.name) <= 18
        steps = [step for step, _ in ran.tracker.curve(row.id, "val/accuracy")]
        assert steps == list(range(20, steps[-1] + 1, 20))
        assert steps[-1] == 140 or row.state == "pruned"
        for name in CURVES:
            assert [step for step, _ in ran.tracker.curve(row.id, name)] == steps
        single = set(row.metrics) - CURVES
        assert single == (BEST | SYSTEM if row.state == "finished" else set()) | (
            {"test/loss", "test/accuracy"} if row.tags.get("knobs.winner") == "true" else set()
        )


def test_the_winner_alone_has_read_the_test_split(ran: Ran) -> None:
    tested = [row for row in ran.trials if any(name.startswith("test/") for name in row.metrics)]
    assert [row.tags.get("knobs.winner") for row in tested] == ["true"]
    assert tested[0].tags["knobs.trial"] == ran.parent.tags["knobs.best_trial"]
    assert tested[0].metrics["best/val/accuracy"] == ran.parent.metrics["best/val/accuracy"]


def test_artifacts(ran: Ran) -> None:
    for row in ran.trials:
        config = row.tags["knobs.config"]
        assert json.loads(ran.tracker.artifact(row.id, "config.json").read_text()) == json.loads(config)
        assert "torch" in json.loads(ran.tracker.artifact(row.id, "packages.json").read_text())
        assert json.loads(ran.tracker.artifact(row.id, "machine.json").read_text())["threads"] == "1"
        kept = (ran.store / "artifacts" / "mnist1d_mlp" / row.id / "artifacts" / "checkpoints").exists()
        assert kept == (row.state == "finished")
        if kept:
            state = checkpoint.load(ran.tracker.artifact(row.id, "checkpoints/best.ckpt"), config=config)
            assert state["step"] == row.metrics["best/step"]
            network = RunConfig.from_json(config).model.build(RunConfig.from_json(config).data.spec())
            network.load_state_dict(state["network"])


def test_mlflow_finds_the_knobs_by_their_dotted_names(ran: Ran) -> None:
    code = (
        "import mlflow, sys; mlflow.set_tracking_uri(sys.argv[1])\n"
        "f = mlflow.search_runs(experiment_names=['mnist1d_mlp'], filter_string=\"tags.`knobs.kind` = 'trial'\")\n"
        "print(sorted(c for c in f.columns if c.startswith('params.')), set(f['params.model.kind']), len(f))"
    )
    uri = f"sqlite:///{ran.store / 'mlflow.db'}"
    done = subprocess.run([sys.executable, "-c", code, uri], capture_output=True, text=True, check=True, timeout=120)
    names = {name for row in ran.trials for name in row.params}
    assert done.stdout.strip() == f"{sorted(f'params.{name}' for name in names)} {{'mlp'}} 8"


def optuna_url(ran: Ran) -> str:
    return f"sqlite:///{ran.store / 'optuna.db'}"


def test_optunas_own_command_line_opens_the_study(ran: Ran) -> None:
    program = Path(sys.executable).with_name("optuna")
    arguments = ["trials", "--storage", optuna_url(ran), "--study-name", "mnist1d_mlp", "-f", "json"]
    done = subprocess.run([str(program), *arguments], capture_output=True, text=True, check=True, timeout=120)
    found = json.loads(done.stdout)
    states = {"finished": "COMPLETE", "pruned": "PRUNED"}
    assert [trial["state"] for trial in found] == [states[row.state] for row in ran.trials]
    for trial, row in zip(found, ran.trials, strict=True):
        assert trial["params"].items() >= {"optimizer.lr": float(row.params["optimizer.lr"])}.items()
        if row.state == "finished":
            assert trial["value"] == row.metrics["best/val/accuracy"]


def test_optuna_dashboard_opens_the_study(ran: Ran) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    program = Path(sys.executable).with_name("optuna-dashboard")
    server = subprocess.Popen(
        [str(program), optuna_url(ran), "--host", "127.0.0.1", "--port", port],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        answer = until_answered(f"http://127.0.0.1:{port}/api/studies")
    finally:
        server.terminate()
        server.wait(10)
    assert [study["study_name"] for study in answer["study_summaries"]] == ["mnist1d_mlp"]


def until_answered(address: str, seconds: float = 90) -> Any:
    deadline = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(address, timeout=5) as answer:
                return json.loads(answer.read())
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.3)


# Identity


def test_one_worker_or_two_give_the_same_table(ran: Ran, tmp_path: Path) -> None:
    one = command(*STUDY, "--devices", "cpu:1", store=tmp_path / "m")
    assert one.code == 0, one
    tables = [quick("status", "mnist1d_mlp", "--csv", store=store).out for store in (tmp_path / "m", ran.store)]
    assert tables[0] == tables[1]
    rows = list(csv.DictReader(io.StringIO(tables[0])))
    assert [row["trial"] for row in rows] == [str(n) for n in range(8)]
    assert float(rows[0]["val/accuracy"]) == ran.trials[0].metrics["best/val/accuracy"]
    assert [row["state"] for row in rows] == [row.state for row in ran.trials]
    other = Tracker(Places(ROOT, tmp_path / "m"))
    (parent,) = other.search("tags.`knobs.kind` = 'study'")
    trials = other.search(f"tags.`mlflow.parentRunId` = '{parent.id}'")
    mine = {row.tags["knobs.trial"]: curves(other, row) for row in trials}
    assert mine == {row.tags["knobs.trial"]: curves(ran.tracker, row) for row in ran.trials}


def test_the_same_run_alone_twice_and_as_a_trial_has_the_same_bits(ran: Ran) -> None:
    alone = [
        run_of(ran, quick("run", "mnist1d_mlp", *SMALL, "--fresh", "--devices", "cpu:1", store=ran.store))
        for _ in range(2)
    ]
    first, second = (curves(ran.tracker, row) for row in alone)
    assert alone[0].id != alone[1].id
    assert {row.state for row in alone} == {"finished"}
    assert first == second
    tested = {"test/loss", "test/accuracy"}
    assert tested <= set(first)
    as_trial = curves(ran.tracker, ran.trials[0])
    assert {n: c for n, c in first.items() if n not in tested} == {n: c for n, c in as_trial.items() if n not in tested}


# Commands on what is there


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
    assert "goes on after 8 trials" in done.out
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
    winner = ran.tracker.artifact(ran.trials[int(ran.parent.tags["knobs.best_trial"])].id, "checkpoints/best.ckpt")
    assert winner in left
    assert not (ran.store / "scratch" / "left").exists()
    assert len(left) < len(files)
    assert {row.id: (row.metrics, row.tags, row.params) for row in ran.tracker.search("")} == before
