"""The end of a run in the store: whoever sees that it has ended, at any instant, sees how."""

import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from support import quick

from knobs.record.stores.locations import StoreLocations
from knobs.record.stores.mlflow_store import Tracker

SPY = """
create table spied (name text, status text, state text);
create trigger spy after update of status on runs when new.status != old.status
begin
    insert into spied values (
        new.name, new.status, (select value from tags where run_uuid = new.run_uuid and key = 'knobs.state')
    );
end;
"""
"""Writes down what another program would see of a run's state at the very moment when its status changes."""


def spied_store(project: Path) -> StoreLocations:
    """A new store that notes every change of a status."""
    places = StoreLocations(project, project / "mlruns")
    Tracker(places)
    with closing(sqlite3.connect(places.database)) as db, db:
        db.executescript(SPY)
    return places


def seen(places: StoreLocations) -> list[tuple[str, str, str]]:
    """Name, new status, and the state at that moment."""
    with closing(sqlite3.connect(places.database)) as db:
        return db.execute("select name, status, state from spied order by rowid").fetchall()


class DeathError(Exception):
    """The driver dies here."""


class Dying:
    """MLflow's client in a process that dies at its `after`-th write."""

    WRITES = ("log_batch", "set_tag", "set_terminated", "update_run", "log_metric", "log_param", "delete_tag")

    def __init__(self, client: Any, after: int) -> None:
        self._client, self._left = client, after

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        if name not in self.WRITES:
            return found

        def write(*args: Any, **kwargs: Any) -> Any:
            self._left -= 1
            if self._left < 0:
                raise DeathError
            return found(*args, **kwargs)

        return write


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> StoreLocations:
    project = tmp_path_factory.mktemp("ends")
    return spied_store(project)


@pytest.mark.parametrize(("status", "state"), [("FINISHED", "finished"), ("KILLED", "pruned"), ("FAILED", "lost")])
def test_a_driver_that_dies_at_a_runs_end_leaves_no_end_without_its_state(
    status: str, state: str, places: StoreLocations
) -> None:
    tracker = Tracker(places)
    client, ends = tracker.client, []
    for after in range(4):
        run = tracker.create(tracker.experiment("e"), f"{state} {after}", {"knobs.state": "attempt 1"}, {})
        tracker.client = Dying(client, after)  # type: ignore[assignment]
        with suppress(DeathError):
            tracker.end(run, status, {"knobs.state": state, "knobs.note": "n"})
        tracker.client = client
        row = tracker.get(run)
        if row.status != "RUNNING":
            assert (row.status, row.tags["knobs.state"], row.tags["knobs.note"]) == (status, state, "n"), after
        ends.append(row.status)
    assert (ends[0], ends[-1]) == ("RUNNING", status)
    assert {tuple(each[1:]) for each in seen(places) if each[0].startswith(state)} == {(status, state)}


STUDY = '''"""Trials that end in every way but the kernel's."""

from datamodules.toy import Toy
from knobs import RunConfig, Study, Training
from models.mlp import MLP
from optimizers.sgd import SGD
from schedules.constant import Constant

BASELINE = RunConfig(
    model=MLP(depth=1, width=8), data=Toy(task="regression"), optimizer=SGD(lr=0.1), schedule=Constant(),
    training=Training(max_steps=24, val_every=4),
)


def space(trial, baseline):
    return baseline.with_knobs({"optimizer.lr": trial.suggest_categorical("optimizer.lr", [0.1, 1e-5, 1e6])})


study = Study(
    baseline=BASELINE, space=space, metric="val/r2", direction="maximize", trials=6, sampler="random",
    pruner="median",
)
'''  # fmt: skip


@pytest.mark.slow
def test_every_end_in_a_launch_is_seen_with_its_state(tmp_path: Path) -> None:
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "ends.py").write_text(STUDY)
    places = spied_store(tmp_path)
    done = quick("study", "ends", "--devices", "cpu:1", store=places.folder, cwd=tmp_path)
    assert done.code == 0, done.err
    found = seen(places)
    states = {"FINISHED": {"finished", "reused"}, "KILLED": {"pruned"}, "FAILED": {"diverged"}}
    assert len([name for name, status, _ in found if status != "RUNNING"]) == 7
    for name, status, state in found:
        assert status == "RUNNING" or state in states[status], f"{name} was {status} while its state was {state}"
    assert {status for _, status, _ in found} >= {"FINISHED", "FAILED"}
