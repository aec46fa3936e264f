"""Every private name of MLflow that we use. `tests/record/test_mlflow_internals.py` fails by name on a new version.

MLflow 3.17 has no public way to shorten the wait inside SQLite, to recognise a database of another version, to read
many curves at once, or to save the view that a link opens.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import sqlalchemy
from mlflow.store.db.utils import _get_latest_schema_revision, _get_schema_version
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

from knobs.record.stores.retry import SLICE_SECONDS

LOGGERS = ("mlflow.store.db.utils", "alembic", "mlflow.utils.requirements_utils")
"""Loggers to silence: every failure reaches the caller as an exception."""

TABLES = {"runs", "experiments", "alembic_version"}
"""Tables by which we recognise an MLflow database."""

RUNS_PER_QUERY = 500

_SHORT_WAIT = f"PRAGMA busy_timeout = {SLICE_SECONDS * 1000:.0f}"


def sqlite_uri(database: Path) -> str:
    """Return the tracking URI of an SQLite file. A new connection waits at most `SLICE_SECONDS` for a lock."""
    return f"sqlite:///{database}?timeout={SLICE_SECONDS}"


def shorten_waits(uri: str) -> None:
    """Keep MLflow's waits inside this SQLite database short; it asks for 20 s at every session.

    Touches the engine of this database only: MLflow keeps one engine per URI.
    """
    engine = SqlAlchemyStore._get_or_create_engine(uri)
    if not sqlalchemy.event.contains(engine, "before_cursor_execute", _shortened):
        sqlalchemy.event.listen(engine, "before_cursor_execute", _shortened, retval=True)


def _shortened(_c: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> tuple[str, Any]:
    return (_SHORT_WAIT if statement.startswith("PRAGMA busy_timeout") else statement), parameters


def is_of_other_version(uri: str) -> bool:
    """Return whether another version of MLflow made this database."""
    engine = SqlAlchemyStore._get_or_create_engine(uri)
    version, latest = _get_schema_version(engine), _get_latest_schema_revision()  # type: ignore[no-untyped-call]
    return version not in (None, latest)  # None: it has no tables yet


_LOCATIONS = (("experiments", "artifact_location"), ("runs", "artifact_uri"))
"""Tables and columns that hold the place of artifacts as an address."""


def moved_locations(database: Path, artifacts: Path) -> list[str]:
    """Return the addresses of experiments' artifacts that lie in an `artifacts` folder elsewhere.

    An experiment of knobs keeps its artifacts in `artifacts/<its name>`, so another place means a moved store.
    """
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True, timeout=SLICE_SECONDS)) as connection:
        rows = connection.execute("select name, artifact_location from experiments").fetchall()
    endings = {name: f"/artifacts/{quote(name)}" for name, _ in rows}
    ours = [
        (name, place) for name, place in rows if place and place.startswith("file:") and place.endswith(endings[name])
    ]
    return [place for name, place in ours if place != (artifacts / name).as_uri() and _is_here(place, artifacts / name)]


def _is_here(place: str, expected: Path) -> bool:
    """Return whether the artifacts of a place elsewhere are here now. They are not if only the database was copied."""
    return expected.is_dir() or not Path(unquote(place.removeprefix("file://"))).exists()


def repoint_artifacts(database: Path, artifacts: Path) -> None:
    """Let every address of a moved experiment, and of its runs, begin with the folder that holds the artifacts now."""
    moved = moved_locations(database, artifacts)
    with closing(sqlite3.connect(database, timeout=SLICE_SECONDS)) as connection, connection:
        for old in {place[: place.rindex("/artifacts/") + len("/artifacts")] for place in moved}:
            for table, column in _LOCATIONS:
                connection.execute(
                    f"update {table} set {column} = ? || substr({column}, ?) where substr({column}, 1, ?) = ?",
                    (artifacts.as_uri(), len(old) + 1, len(old) + 1, f"{old}/"),
                )


def read_metrics(database: Path, runs: Sequence[str]) -> Iterable[tuple[str, str, int, float]]:
    """Yield run, metric, step and value of every recorded value of these runs, in order of steps.

    Reads MLflow's own table; `get_metric_history` takes a call for each of thousands of curves.
    """
    connection = sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True, timeout=SLICE_SECONDS)
    try:
        for start in range(0, len(runs), RUNS_PER_QUERY):
            some = runs[start : start + RUNS_PER_QUERY]
            marks = ",".join("?" * len(some))
            rows: Iterable[tuple[str, str, int, float, int]] = connection.execute(
                f"select run_uuid, key, step, value, is_nan from metrics where run_uuid in ({marks})"
                " order by run_uuid, key, step, timestamp, value",
                some,
            )
            for run, metric, step, value, is_nan in rows:
                yield run, metric, step, float("nan") if is_nan else value
    finally:
        connection.close()


SHARED_VIEW = "mlflow.sharedViewState."
"""Followed by a key: an experiment's tag that holds a saved view as JSON. Its fields are what MLflow 3.17 reads."""

MOST_VIEW_CHARACTERS = 20_000
"""MLflow refuses a longer tag of an experiment."""

SHARED_VIEW_VERSIONS = "3.17."
"""Versions whose pages are known to read such a tag. Other versions get deep links."""
