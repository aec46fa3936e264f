"""If the store cannot be written: exit 3 with one line; everything recorded before stays readable."""

import os
import shutil
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from support import Done, quick

pytestmark = pytest.mark.slow

RUN = ("run", "mnist1d_mlp", "--training.max_steps", "60", "--training.val_every", "10", "--devices", "cpu:1")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with one finished run."""
    store = tmp_path_factory.mktemp("recorded") / "m"
    done = quick(*RUN, store=store)
    assert done.code == 0, done
    return store


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Return a function that mounts at `tmp_path/mnt` and skips the test if mounting is not permitted."""
    place = tmp_path / "mnt"
    place.mkdir()
    done: list[Path] = []

    def mount(*arguments: str) -> Path:
        try:
            tried = subprocess.run(["mount", *arguments, str(place)], capture_output=True, text=True, check=False)
        except OSError as error:
            pytest.skip(f"no mount here: {error}")
        if tried.returncode:
            pytest.skip(f"mounting is not permitted here: {tried.stderr.strip()}")
        done.append(place)
        return place

    yield mount
    for one in done:
        subprocess.run(["umount", "-l", str(one)], check=True)


def failed(done: Done, *said: str) -> None:
    assert done.code == 3, done
    assert len(done.err.splitlines()) == 1, done.err
    for text in said:
        assert text in done.err
    assert "Traceback" not in done.err


def whole(store: Path, runs: int) -> None:
    """Check that the file is intact and holds the first run's curve."""
    connection = sqlite3.connect(f"file:{store / 'mlflow.db'}?mode=ro&immutable=1", uri=True)
    try:
        assert connection.execute("pragma integrity_check").fetchall() == [("ok",)]
        assert connection.execute("select count(*) from runs where status = 'FINISHED'").fetchone()[0] >= runs
        steps = connection.execute("select step from metrics where key = 'val/accuracy' order by step").fetchall()
        assert {step for (step,) in steps} >= {10, 20, 30, 40, 50, 60}
    finally:
        connection.close()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    failed(quick(*RUN, store=tmp_path / "file" / "m"), "cannot be written")
    assert (tmp_path / "file").read_text() == ""


def test_a_read_only_store(recorded: Path, mounted: Callable[..., Path]) -> None:
    place = mounted("--bind", str(recorded))
    subprocess.run(["mount", "-o", "remount,ro,bind", str(place)], check=True)
    failed(quick(*RUN, "--seed", "1", store=place), "cannot be written")
    whole(place, 1)
    shown = quick("status", store=place)
    assert shown.code in (0, 3), shown  # read or refused, never an internal error
    assert "Traceback" not in shown.err


def test_a_full_disk(recorded: Path, mounted: Callable[..., Path]) -> None:
    place = mounted("-t", "tmpfs", "-o", "size=16m", "tmpfs")
    store = place / "m"
    shutil.copytree(recorded, store)
    connection = sqlite3.connect(store / "mlflow.db")  # paths of artifacts are absolute
    connection.execute(
        "update experiments set artifact_location = replace(artifact_location, ?, ?)", (str(recorded), str(store))
    )
    connection.execute("update runs set artifact_uri = replace(artifact_uri, ?, ?)", (str(recorded), str(store)))
    connection.commit()
    connection.close()
    filler = place / "filler"
    for left in (0, 100_000):  # no space at all, or some for the database and none for a checkpoint
        with filler.open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(b"\0" * 4096)
        os.truncate(filler, max(0, filler.stat().st_size - left))
        failed(quick(*RUN, "--seed", "1", store=store))
        whole(store, 1)
    filler.unlink()
    done = quick(*RUN, "--seed", "1", store=store)
    assert done.code == 0, done
    whole(store, 2)


def test_a_store_that_stays_locked(recorded: Path) -> None:
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        connection = sqlite3.connect(recorded / "mlflow.db")
        connection.execute("begin exclusive")
        held.set()
        release.wait(120)
        connection.rollback()
        connection.close()

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        assert held.wait(10)
        began = time.monotonic()
        failed(quick(*RUN, "--seed", "2", store=recorded, KNOBS_STORE_PATIENCE="3"), "locked")
        assert time.monotonic() - began < 90
    finally:
        release.set()
        thread.join()
    whole(recorded, 1)
    assert quick(*RUN, "--seed", "2", store=recorded).code == 0


@pytest.mark.parametrize("kind", ["half of it", "another version"])
def test_a_damaged_store_is_bad_input_and_is_left_alone(kind: str, recorded: Path, tmp_path: Path) -> None:
    store = tmp_path / "m"
    store.mkdir()
    database = store / "mlflow.db"
    content = (recorded / "mlflow.db").read_bytes()
    if kind == "half of it":
        database.write_bytes(content[: len(content) // 2])
    else:
        database.write_bytes(content)
        connection = sqlite3.connect(database)
        connection.execute("update alembic_version set version_num = 'ffffffffffff'")
        connection.commit()
        connection.close()
    before = database.read_bytes()
    done = quick(*RUN, store=store)
    assert done.code == 2, done
    assert str(database) in done.err
    assert len(done.err.splitlines()) <= 4
    assert database.read_bytes() == before
    assert [path.name for path in store.iterdir()] == ["mlflow.db"]
