"""A small study through the installed command: what is stored, and that a second launch gives the same."""

import csv
import io
import json
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from recorded_study import SMALL, STUDY, Ran, curves, run_of, the_study
from support import ROOT, quick

from knobs import RunConfig
from knobs.config import text_of
from knobs.record.stores.locations import StoreLocations
from knobs.record.stores.mlflow_store import Tracker
from knobs.record.stores.rows import Row
from knobs.training.checkpoint import load_checkpoint

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("end to end")]

CURVES = {"train/loss", "val/loss", "val/accuracy", "lr", "grad_norm"}
BEST = {"best/step", "best/val/loss", "best/val/accuracy", "best/train/loss", "best/train/accuracy", "parameters"}
SYSTEM = {"system/seconds", "system/cpu_seconds", "system/steps_per_second"}


@pytest.fixture(scope="session")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    return the_study(tmp_path_factory.getbasetemp())


# What is recorded


def test_the_study_ends_with_the_best_and_where_to_look_further(ran: Ran) -> None:
    for text in (
        "mnist1d_mlp: the best",
        "best: t",
        "test/accuracy",
        "knobs status mnist1d_mlp",
        "knobs ui",
        "optuna-dashboard",
    ):
        assert text in ran.done.out
    assert ran.done.err == ""
    assert "\x1b[" not in ran.done.out  # plain lines without a terminal


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


def recorded_config(ran: Ran, row: Row) -> RunConfig:
    """Return the config in a run's artifact."""
    return RunConfig.from_json(ran.tracker.artifact(row.id, "config.json").read_text())


def test_every_trial_carries_what_the_design_lists(ran: Ran) -> None:
    for row in ran.trials:
        config = recorded_config(ran, row)
        assert row.tags["knobs.config"] == config.hash()
        assert row.params == {name: text_of(value) for name, value in config.knobs().items()}
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
        config = recorded_config(ran, row)
        assert "torch" in json.loads(ran.tracker.artifact(row.id, "packages.json").read_text())
        assert json.loads(ran.tracker.artifact(row.id, "machine.json").read_text())["threads"] == "1"
        kept = (ran.store / "artifacts" / "mnist1d_mlp" / row.id / "artifacts" / "checkpoints").exists()
        assert kept == (row.state == "finished")
        if kept:
            state = load_checkpoint(ran.tracker.artifact(row.id, "checkpoints/best.ckpt"), config=config.to_json())
            assert state["step"] == row.metrics["best/step"]
            network = config.model.build(config.data.spec())
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
    one = quick(*STUDY, "--devices", "cpu:1", store=tmp_path / "m")
    assert one.code == 0, one
    tables = [quick("status", "mnist1d_mlp", "--csv", store=store).out for store in (tmp_path / "m", ran.store)]
    assert tables[0] == tables[1]
    rows = list(csv.DictReader(io.StringIO(tables[0])))
    assert [row["trial"] for row in rows] == [str(n) for n in range(8)]
    assert float(rows[0]["val/accuracy"]) == ran.trials[0].metrics["best/val/accuracy"]
    assert [row["state"] for row in rows] == [row.state for row in ran.trials]
    other = Tracker(StoreLocations(ROOT, tmp_path / "m"))
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
