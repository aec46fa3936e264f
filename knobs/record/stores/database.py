"""Open MLflow's database. An SQLite file is created whole or not at all."""

from __future__ import annotations

import os
import sqlite3
import urllib.error
import urllib.request
from pathlib import Path

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from sqlalchemy import create_engine
from sqlalchemy.exc import OperationalError

from knobs.errors import BadInputError, StoreError
from knobs.record.stores.locations import StoreLocations, without_password
from knobs.record.stores.locks import file_lock
from knobs.record.stores.mlflow_internals import (
    TABLES,
    is_of_other_version,
    moved_locations,
    repoint_artifacts,
    shorten_waits,
    sqlite_uri,
)
from knobs.record.stores.retry import PATIENCE_AT_OPENING, SLICE_SECONDS, is_busy, retry


def create_database(places: StoreLocations) -> None:
    """Make MLflow's SQLite file: under a lock, in a temporary file, fsynced, renamed. Check a file that is there.

    Raise `BadInputError` if the file is not an MLflow store.
    """
    if not places.database.exists():
        places.make()
        with file_lock(places.folder / ".create.lock"):
            if not places.database.exists():
                _create(places)
    _check(places)


def _create(places: StoreLocations) -> None:
    for left in places.folder.glob(".mlflow-*.db*"):  # left by a killed start; we hold the lock
        left.unlink(missing_ok=True)
    temporary = places.folder / f".mlflow-{os.getpid()}.db"
    try:
        _make_tables(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.rename(places.database)
    except OSError as error:
        raise StoreError(f"{places.database} cannot be created: {error.strerror}") from None


def _check(places: StoreLocations) -> None:
    wrong = f"{places.database} is not an MLflow store: move it away, or set KNOBS_MLRUNS to another folder"
    try:
        with places.database.open("rb") as file:
            if file.read(16) != b"SQLite format 3\0":
                raise BadInputError(wrong)
        tables = retry(lambda: _tables(places.database))
    except OSError as error:
        raise StoreError(f"{places.database} cannot be read: {error.strerror}") from None
    except StoreError as error:
        if is_busy(error):
            raise StoreError(f"{places.database} is locked by another program") from None
        raise BadInputError(f"{wrong} ({error})") from None
    if TABLES - tables:
        raise BadInputError(wrong)


def follow_move(places: StoreLocations) -> None:
    """If the folder was moved or copied, let the records name the files that are in it now."""
    if not retry(lambda: moved_locations(places.database, places.artifacts)):
        return
    try:
        with file_lock(places.folder / ".create.lock"):
            retry(lambda: repoint_artifacts(places.database, places.artifacts))
    except OSError as error:
        raise StoreError(f"{places.folder} was moved, and {places.database} cannot be written: {error}") from None


def _tables(database: Path) -> set[str]:
    connection = sqlite3.connect(f"{database.as_uri()}?mode=rw", uri=True, timeout=SLICE_SECONDS)
    try:
        return {name for (name,) in connection.execute("select name from sqlite_master where type='table'")}
    finally:
        connection.close()


def open_client(uri: str, shown: str) -> MlflowClient:
    """Return MLflow's client. Raise `BadInputError` if another version of MLflow made the database.

    `shown` is the address as users may see it.
    """
    if uri.startswith(("http:", "https:")):
        retry(lambda: _ask_server(uri), (), PATIENCE_AT_OPENING)
    elif not uri.startswith("sqlite:"):
        retry(lambda: _connect(uri), (OperationalError,), PATIENCE_AT_OPENING)
    return retry(lambda: _open_client(uri, shown), (MlflowException, OperationalError))


def _ask_server(uri: str) -> None:
    """Ask a tracking server for anything. Any answer will do: MLflow itself would wait for minutes, silently."""
    scheme, _, rest = uri.partition("://")
    address = f"{scheme}://{rest.rpartition('@')[2].rstrip('/')}"
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=5):
            pass
    except urllib.error.HTTPError:
        pass
    except urllib.error.URLError as error:
        raise ConnectionError(f"{address} does not answer: {error.reason}") from error


def _connect(uri: str) -> None:
    """Connect once. MLflow itself tries for 100 s, even with a wrong password, and handles no signal meanwhile."""
    engine = create_engine(uri)
    try:
        engine.connect().close()
    finally:
        engine.dispose()


def _open_client(uri: str, shown: str) -> MlflowClient:
    if uri.startswith("sqlite:"):
        shorten_waits(uri)
    if not uri.startswith(("http:", "https:")) and is_of_other_version(uri):
        raise BadInputError(
            f"{shown} was made by another version of MLflow; back it up, then run: "
            f"mlflow db upgrade {without_password(uri.partition('?')[0])}"
        )
    return MlflowClient(tracking_uri=uri)


def _make_tables(file: Path) -> None:
    uri = sqlite_uri(file)
    retry(lambda: MlflowClient(tracking_uri=uri).search_experiments(max_results=1), (MlflowException,))
