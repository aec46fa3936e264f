"""The record in a real SQLite store: created whole, checked when opened, patient if it is locked."""

import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from faults.processes import Forked, until

from knobs import BadInputError
from knobs.errors import StoreError
from knobs.record.schema import Kind, Tag, has_tag
from knobs.record.states import StateName
from knobs.record.stores.locations import StoreLocations, without_password
from knobs.record.stores.mlflow_store import Tracker
from knobs.training import CurvePoint


@pytest.fixture(scope="module")
def tracker(tmp_path_factory: pytest.TempPathFactory) -> Tracker:
    folder = tmp_path_factory.mktemp("project")
    (folder / "mlruns").mkdir()
    for name in (".mlflow-123.db", ".mlflow-123.db-journal"):  # left by a start that was killed
        (folder / "mlruns" / name).write_bytes(b"half")
    return Tracker(StoreLocations(folder, folder / "mlruns"))


@pytest.fixture
def run(tracker: Tracker) -> str:
    return tracker.create(tracker.experiment("e"), "a run", {Tag.KIND: Kind.RUN}, {"model.width": 7})


def records(*steps: int) -> list[CurvePoint]:
    return [CurvePoint(step=step, values={"val/loss": 1 / step, "lr": 0.1 * step}, time_ms=step) for step in steps]


def rows(places: StoreLocations, query: str) -> list[tuple[object, ...]]:
    """Return the rows that another program reads from the file."""
    connection = sqlite3.connect(places.database)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def test_what_log_returned_from_is_in_the_file(tracker: Tracker, run: str) -> None:
    tracker.log(run, records(5, 10))
    query = f"select key, step, value, timestamp from metrics where run_uuid = '{run}' order by key, step"
    expected = [("lr", 5, 0.5, 5), ("lr", 10, 1.0, 10), ("val/loss", 5, 0.2, 5), ("val/loss", 10, 0.1, 10)]
    assert rows(tracker.places, query) == expected


def test_a_curve_is_in_the_order_of_steps_and_to_the_bit(tracker: Tracker, run: str) -> None:
    values = {step: 1 / step + 1e-17 for step in (30, 10, 20, 2, 1000)}
    for time_ms, (step, value) in enumerate(values.items()):
        tracker.log(run, [CurvePoint(step=step, values={"val/loss": value}, time_ms=time_ms)])
    assert tracker.curve(run, "val/loss") == sorted(values.items())
    assert tracker.curve(run, "no/curve") == []


def test_more_points_than_mlflow_takes_at_once(tracker: Tracker, run: str) -> None:
    tracker.log(run, records(*range(1, 1701)))
    assert [step for step, _ in tracker.curve(run, "lr")] == list(range(1, 1701))
    assert len(tracker.curve(run, "val/loss")) == 1700


def test_what_is_written_is_read_back(tracker: Tracker, run: str, tmp_path: Path) -> None:
    tracker.params(run, {f"model.k{i}": i for i in range(250)})
    tracker.params(run, {"model.width": 7, "data.padding": (36, 60)})  # writing the same value again changes nothing
    tracker.summary(run, {"best/val/loss": 0.1 + 0.2, "parameters": 12.0}, 40)
    tracker.upload_texts(run, {"config.json": "{}"})
    (tmp_path / "best.ckpt").write_bytes(b"weights")
    tracker.upload(run, tmp_path / "best.ckpt", "checkpoints")
    tracker.end(run, "FINISHED", {Tag.STATE: StateName.FINISHED})
    row = tracker.get(run)
    assert (row.status, row.state, row.name) == ("FINISHED", "finished", "a run")
    assert row.params == {"model.width": "7", "data.padding": "[36, 60]", **{f"model.k{i}": str(i) for i in range(250)}}
    assert (row.metrics["best/val/loss"], row.metrics["parameters"]) == (0.1 + 0.2, 12.0)
    assert row.end_ms is not None
    assert tracker.artifact(run, "checkpoints/best.ckpt").read_bytes() == b"weights"
    assert tracker.artifact(run, "config.json").read_text() == "{}"
    with pytest.raises(BadInputError, match="has no artifact nothing"):
        tracker.artifact(run, "nothing.txt")
    tracker.reopen(run, {Tag.STATE: "attempt 2"})
    assert (tracker.get(run).status, tracker.get(run).state) == ("RUNNING", "attempt 2")


def test_runs_are_found_by_tag_newest_first(tracker: Tracker) -> None:
    experiment = tracker.experiment("found")
    made = []
    for number in range(3):
        made.append(tracker.create(experiment, f"r{number}", {Tag.KIND: Kind.TRIAL}, {}))
        time.sleep(0.005)
    assert [row.id for row in tracker.search(has_tag(Tag.KIND, Kind.TRIAL), experiment)] == made[::-1]
    assert [row.id for row in tracker.search(has_tag(Tag.KIND, Kind.TRIAL), experiment, limit=2)] == made[:0:-1]
    assert tracker.search(has_tag(Tag.KIND, Kind.STUDY), experiment) == []
    with pytest.raises(BadInputError, match="no run 'nothing'"):
        tracker.get("nothing")


def test_an_experiment_is_made_once_and_a_deleted_one_is_refused(tracker: Tracker) -> None:
    made = tracker.experiment("once")
    again = Tracker(tracker.places)
    assert again.experiment("once") == made
    again.client.delete_experiment(made)
    with pytest.raises(BadInputError, match="was deleted"):
        Tracker(tracker.places).experiment("once")


class Locked:
    """Hold the store's write lock, or an exclusive lock, for some seconds, as another program does."""

    def __init__(self, places: StoreLocations, seconds: float, lock: str = "IMMEDIATE") -> None:
        self.database, self.seconds, self.lock = places.database, seconds, lock
        self.thread = threading.Thread(target=self._hold)
        self.held = threading.Event()

    def __enter__(self) -> None:
        self.thread.start()
        assert self.held.wait(10)

    def __exit__(self, *_: object) -> None:
        self.thread.join()

    def _hold(self) -> None:
        connection = sqlite3.connect(self.database)
        connection.execute(f"BEGIN {self.lock}")
        self.held.set()
        time.sleep(self.seconds)
        connection.rollback()
        connection.close()


def test_a_store_that_is_locked_for_a_while_is_waited_for(tracker: Tracker, run: str) -> None:
    began = time.monotonic()
    with Locked(tracker.places, 3.0, "EXCLUSIVE"):
        tracker.log(run, records(1))
        assert time.monotonic() - began > 2.5
        assert len(rows(tracker.places, f"select 1 from metrics where run_uuid = '{run}'")) == 2


WRITES: dict[str, Callable[[Tracker, str], object]] = {
    "a run": lambda tracker, run: tracker.create(tracker.experiment("e"), "r", {Tag.KIND: Kind.RUN}, {"a": 1}),
    "an experiment": lambda tracker, run: tracker.experiment(f"new-{run}"),
    "parameters": lambda tracker, run: tracker.params(run, {"b": 1}),
    "a summary": lambda tracker, run: tracker.summary(run, {"best/a": 1.0}),
    "tags": lambda tracker, run: tracker.tag(run, {Tag.STATE: "x"}),
    "a data set": lambda tracker, run: tracker.inputs(run, "toy", "f" * 64, {"file": "toy.py"}),
    "an end": lambda tracker, run: tracker.end(run, "FINISHED", {Tag.STATE: StateName.FINISHED}),
}


AT_ONCE = ("a run", "an end")


@pytest.mark.parametrize(
    "write",
    [pytest.param(write, id=name, marks=[] if name in AT_ONCE else pytest.mark.slow) for name, write in WRITES.items()],
)
def test_every_write_waits_and_says_so_in_time(
    write: Callable[[Tracker, str], object], tracker: Tracker, run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Locked(tracker.places, 1.5):
        monkeypatch.setattr(tracker, "patience", 0.0)  # and no attempt takes MLflow's 20 seconds
        with pytest.raises(StoreError, match="database is locked"):
            write(tracker, run)
        monkeypatch.undo()
        write(tracker, run)


# Opening


def sqlite_with(path: Path, table: str) -> None:
    connection = sqlite3.connect(path)
    connection.execute(f"create table {table} (a text)")
    connection.commit()
    connection.close()


@pytest.mark.parametrize("kind", ["text", "empty", "another program's", "truncated", "overwritten", "a folder"])
def test_a_file_that_is_no_store_is_refused_and_left_alone(kind: str, tracker: Tracker, tmp_path: Path) -> None:
    places = StoreLocations(tmp_path, tmp_path / "mlruns")
    places.folder.mkdir()
    whole = tracker.places.database.read_bytes()
    if kind == "another program's":
        sqlite_with(places.database, "runs")
    elif kind == "a folder":
        places.database.mkdir()
    else:
        content = {
            "text": b"hello",
            "empty": b"",
            "truncated": whole[:10_000],
            "overwritten": whole[:16] + b"\xff" * 9999,
        }
        places.database.write_bytes(content[kind])
    before = None if kind == "a folder" else places.database.read_bytes()
    with pytest.raises((BadInputError, StoreError) if kind == "a folder" else BadInputError) as caught:
        Tracker(places)
    assert str(places.database) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert [path.name for path in places.folder.iterdir()] == ["mlflow.db"]
    assert before is None or places.database.read_bytes() == before


def test_a_folder_that_cannot_be_written_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        Tracker(StoreLocations(tmp_path, tmp_path / "file" / "mlruns"))


def test_what_a_killed_start_left_is_cleared_away(tracker: Tracker) -> None:
    assert [path.name for path in tracker.places.folder.glob("*mlflow*")] == ["mlflow.db"]


def _start(folder: Path, ready: Path, go: Path) -> None:
    ready.touch()
    while not go.exists():
        time.sleep(0.001)
    tracker = Tracker(StoreLocations(folder, folder / "mlruns"))
    run = tracker.create(tracker.experiment("shared"), "r", {Tag.KIND: Kind.RUN}, {})
    tracker.end(run, "FINISHED", {})


@pytest.mark.slow
def test_simultaneous_first_starts_share_one_store(tmp_path: Path) -> None:
    signs = [tmp_path / f"ready{number}" for number in range(4)]
    started = [Forked(_start, tmp_path, ready, tmp_path / "go") for ready in signs]
    until(lambda: all(ready.exists() for ready in signs), what="four processes that have imported everything")
    (tmp_path / "go").touch()
    assert [process.wait(120) for process in started] == [0] * 4
    places = StoreLocations(tmp_path, tmp_path / "mlruns")
    assert rows(places, "select count(*) from runs where status = 'FINISHED'") == [(4,)]
    assert rows(places, "select count(*) from experiments where name = 'shared'") == [(1,)]
    assert rows(places, "pragma integrity_check") == [("ok",)]


# Passwords


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://me:secret@host:5432/db", "postgresql://me:***@host:5432/db"),
        ("a postgresql+psycopg2://me:secret@host/db, b", "a postgresql+psycopg2://me:***@host/db, b"),
        ("http://me:s/e:c@ret@host/x", "http://me:***@host/x"),
        ("two mysql://a:p@h and mysql://b:q@h", "two mysql://a:***@h and mysql://b:***@h"),
        ("http://127.0.0.1:5000/path", "http://127.0.0.1:5000/path"),
        ("sqlite:////tmp/a.db at 10:30", "sqlite:////tmp/a.db at 10:30"),
    ],
)
def test_passwords_are_struck_out(text: str, shown: str) -> None:
    assert without_password(text) == shown


@pytest.mark.parametrize("driver", ["postgresql+nothing", "nothing"])
def test_an_error_never_shows_a_password(driver: str, tmp_path: Path) -> None:
    with pytest.raises((StoreError, BadInputError)) as caught:
        Tracker(StoreLocations(tmp_path, tmp_path, f"{driver}://me:secret@127.0.0.1:1/db")).search("")
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)
