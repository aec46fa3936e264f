"""What every store needs: patience while it is busy, locks between processes, and a database file made whole."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy

from knobs import signals
from knobs.errors import BadInputError, KnobsError, StoreError
from knobs.places import Places, without_password

T = TypeVar("T")

PATIENCE = float(os.environ.get("KNOBS_STORE_PATIENCE", "120"))
"""Seconds for which a busy store is waited for."""

AFTER_SIGNAL = 2.0
"""Seconds for which it still is, all waits together, once a signal has come."""

SLICE = 1.0
"""Seconds that one attempt may wait within SQLite, where no signal is heard; MLflow asks for 20."""


class _Waited:
    after_signal = 0.0


@sqlalchemy.event.listens_for(sqlalchemy.engine.Engine, "connect")
def _short_from_the_start(connection: Any, _record: Any) -> None:
    if isinstance(connection, sqlite3.Connection):
        connection.execute(f"PRAGMA busy_timeout = {SLICE * 1000:.0f}")


@sqlalchemy.event.listens_for(sqlalchemy.engine.Engine, "before_cursor_execute", retval=True)
def _and_short_again(_c: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> tuple[str, Any]:
    if statement.startswith("PRAGMA busy_timeout"):
        return f"PRAGMA busy_timeout = {SLICE * 1000:.0f}", parameters
    return statement, parameters


def retry(call: Callable[[], T], failures: tuple[type[Exception], ...] = (), patience: float = PATIENCE) -> T:
    """Call until it works, for as long as the store is merely busy; `failures` are the store's own exceptions.

    Raises `StoreError` once `patience` is over or where the store says no; `BadInputError` for what is not there.
    """
    began, pause = time.monotonic(), 0.05
    caught: tuple[type[Exception], ...] = (OSError, sqlite3.Error, *failures)
    while True:
        tried, signalled = time.monotonic(), signals.came()
        try:
            return call()
        except KnobsError:
            raise
        except caught as error:
            if (interruption := signals.behind(error)) is not error:
                raise interruption from None
            text = first_line(error)
            if getattr(error, "error_code", "") in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
                raise BadInputError(text) from None
            waited = time.monotonic() - began
            if not is_busy(text) or waited > patience:
                raise StoreError(f"the store failed, what it held is safe: {text}") from None
            if signalled:
                _Waited.after_signal += time.monotonic() - tried + pause
            if _Waited.after_signal > AFTER_SIGNAL:
                signals.check()
            time.sleep(pause)
            pause = min(1.0, pause * 2)


def first_line(error: Exception) -> str:
    """What a store says, in one line; SQLAlchemy may put a note on its own doings before it."""
    lines = without_password(str(error)).strip().splitlines() or [type(error).__name__]
    return next((line for line in lines if not line.startswith("(raised as a result of")), lines[0])


def is_busy(text: str) -> bool:
    """Whether an error's text says that waiting may help."""
    return any(word in text for word in ("locked", "busy", "Connection refused", "timed out", "deadlock"))


def create_database(places: Places, make_tables: Callable[[Path], None]) -> None:
    """Make MLflow's SQLite file: under a lock, in a temporary file, fsynced, renamed. Checks one that is there first.

    Raises `BadInputError` for a file that is no MLflow store, or one of another version.
    """
    if not places.database.exists():
        places.make()
        with file_lock(places.folder / ".create.lock"):
            if not places.database.exists():
                _create(places, make_tables)
    _check(places)


def _create(places: Places, make_tables: Callable[[Path], None]) -> None:
    for left in places.folder.glob(".mlflow-*.db*"):  # of a start that was killed; the lock is ours now
        left.unlink(missing_ok=True)
    temporary = places.folder / f".mlflow-{os.getpid()}.db"
    try:
        make_tables(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.rename(places.database)
    except OSError as error:
        raise StoreError(f"{places.database} cannot be made: {error.strerror}") from None


def _check(places: Places) -> None:
    wrong = f"{places.database} is not an MLflow store: move it away, or name another folder in KNOBS_MLRUNS"
    try:
        with places.database.open("rb") as file:
            if file.read(16) != b"SQLite format 3\0":
                raise BadInputError(wrong)
        tables = retry(lambda: _tables(places.database))
    except OSError as error:
        raise StoreError(f"{places.database} cannot be read: {error.strerror}") from None
    except StoreError as error:
        if is_busy(str(error)):
            raise StoreError(f"{places.database} is locked by another program") from None
        raise BadInputError(f"{wrong} ({error})") from None
    if not {"runs", "experiments", "alembic_version"} <= tables:
        raise BadInputError(wrong)


def _tables(database: Path) -> set[str]:
    connection = sqlite3.connect(f"file:{database}?mode=rw", uri=True, timeout=1.0)
    try:
        return {name for (name,) in connection.execute("select name from sqlite_master where type='table'")}
    finally:
        connection.close()


@contextmanager
def file_lock(path: Path) -> Iterator[None]:
    """Wait for, then hold, an exclusive lock on a file; the kernel lets go of it when the process dies."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise StoreError(f"{path.parent} cannot be written: {error.strerror}") from None
    try:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                signals.check()
                time.sleep(0.05)
        yield
    finally:
        with suppress(OSError):
            os.close(handle)
