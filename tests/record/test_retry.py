"""Patience with stores: exception classes and codes decide whether waiting may help, never the words of a message."""

import contextlib
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest
import requests
import sqlalchemy
import urllib3
from faults import postgres
from mlflow.exceptions import MlflowException, RestException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST

from knobs import BadInputError
from knobs.errors import StoreError
from knobs.record.stores.locations import StoreLocations
from knobs.record.stores.mlflow_store import Tracker
from knobs.record.stores.retry import first_line, is_busy, retry

SECRET = "planted-5ecret"


def error_of(call: Callable[[], object]) -> Exception:
    """Return the exception that a call raises."""
    try:
        call()
    except Exception as error:
        return error
    raise AssertionError("it raised nothing")


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("retry") / "a.db"
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("create table t (a text)")
    return path


@contextlib.contextmanager
def locked(database: Path) -> Iterator[None]:
    """Hold an exclusive lock, as another program does."""
    with contextlib.closing(sqlite3.connect(database)) as connection:
        connection.execute("begin exclusive")
        yield
        connection.rollback()


def select(database: Path) -> object:
    with contextlib.closing(sqlite3.connect(database, timeout=0)) as connection:
        return connection.execute("select * from t").fetchall()


def select_by_sqlalchemy(database: Path) -> object:
    engine = sqlalchemy.create_engine(f"sqlite:///{database}", connect_args={"timeout": 0})
    try:
        with engine.connect() as connection:
            return connection.execute(sqlalchemy.text("select * from t")).fetchall()
    finally:
        engine.dispose()


def select_by_mlflow(database: Path) -> object:
    """Fail as MLflow does: its own exception, raised while it handles SQLAlchemy's."""
    try:
        return select_by_sqlalchemy(database)
    except sqlalchemy.exc.SQLAlchemyError as error:
        raise MlflowException(str(error)) from error


READS = {"sqlite3": select, "SQLAlchemy": select_by_sqlalchemy, "MLflow": select_by_mlflow}


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_a_locked_file_is_busy_and_a_missing_table_is_not(read: Callable[[Path], object], database: Path) -> None:
    with locked(database):
        assert is_busy(error_of(lambda: read(database)))
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("alter table t rename to busy_and_locked")
    try:
        error = error_of(lambda: read(database))
    finally:
        with contextlib.closing(sqlite3.connect(database)) as connection, connection:
            connection.execute("alter table busy_and_locked rename to t")
    assert not is_busy(error)


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_a_path_that_is_named_busy_locked_fails_at_once(read: Callable[[Path], object], tmp_path: Path) -> None:
    missing = tmp_path / "deadlock timed out, busy-locked" / "x.db"
    began = time.monotonic()
    with pytest.raises(StoreError, match="unable to open database file"):
        retry(lambda: read(missing), (sqlalchemy.exc.SQLAlchemyError, MlflowException), patience=30)
    assert time.monotonic() - began < 5


WORDS = [
    MlflowException("database is locked"),
    RestException({"error_code": "INTERNAL_ERROR", "message": "the server is busy, Connection refused, timed out"}),
    OSError("Connection refused: deadlock"),
    sqlite3.OperationalError("database is locked"),  # no code: nobody but a test raises it so
    RuntimeError("psycopg2.errors.DeadlockDetected"),
    psycopg2.ProgrammingError("server closed the connection unexpectedly"),
    psycopg2.IntegrityError("deadlock detected"),
]


@pytest.mark.parametrize("error", WORDS, ids=lambda error: type(error).__name__)
def test_words_alone_are_not_busy(error: Exception) -> None:
    assert not is_busy(error)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_server_that_is_away_is_busy() -> None:
    address = f"http://127.0.0.1:{free_port()}"
    assert is_busy(error_of(lambda: socket.create_connection(("127.0.0.1", free_port()), timeout=1)))
    assert is_busy(error_of(lambda: requests.get(address, timeout=5)))
    assert is_busy(error_of(lambda: urllib3.PoolManager().request("GET", address, retries=False)))
    assert is_busy(RestException({"error_code": "TEMPORARILY_UNAVAILABLE", "message": "later"}))
    assert is_busy(TimeoutError())
    assert not is_busy(error_of(lambda: requests.get("nothing://x", timeout=5)))
    assert not is_busy(RestException({"error_code": "PERMISSION_DENIED", "message": "no"}))


def test_retry_waits_for_a_store_that_is_only_busy(database: Path) -> None:
    calls: list[float] = []
    with locked(database):

        def read() -> object:
            calls.append(time.monotonic())
            return select(database)

        with pytest.raises(StoreError, match="the store failed, its records are safe: database is locked"):
            retry(read, patience=0.3)
    assert len(calls) > 1
    assert calls[-1] - calls[0] > 0.2
    assert retry(lambda: select(database)) == []


def test_retry_says_that_a_thing_does_not_exist() -> None:
    def missing() -> None:
        raise MlflowException("No Run with id=7", error_code=RESOURCE_DOES_NOT_EXIST)

    with pytest.raises(BadInputError, match="No Run with id=7"):
        retry(missing, (MlflowException,))


def test_an_error_shows_what_failed_in_one_line_without_passwords() -> None:
    address = f"postgresql://me:{SECRET}@127.0.0.1:1/db"
    text = f"(raised as a result of Query-invoked autoflush)\ncannot open {address}?password={SECRET}\nBackground: ..."

    def fail() -> None:
        raise sqlalchemy.exc.InvalidRequestError(text)

    with pytest.raises(StoreError) as caught:
        retry(fail, (sqlalchemy.exc.SQLAlchemyError,))
    shown = "cannot open postgresql://me:***@127.0.0.1:1/db?password=***"
    assert str(caught.value) == f"the store failed, its records are safe: {shown}"
    assert first_line(ValueError()) == "ValueError"


# PostgreSQL


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    if postgres.program("initdb") is None:
        pytest.skip("no PostgreSQL server is installed")
    with postgres.server(SECRET) as found:
        yield f"{found}/postgres"


@contextlib.contextmanager
def connections(address: str) -> Iterator[tuple[Any, Any]]:
    """Open two connections on a table of two rows."""
    with contextlib.closing(psycopg2.connect(address)) as one, contextlib.closing(psycopg2.connect(address)) as two:
        with one.cursor() as cursor:
            cursor.execute("drop table if exists t; create table t (a int); insert into t values (1), (2)")
        one.commit()
        yield one, two


def execute(connection: Any, statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


def error_or_none(call: Callable[[], object]) -> Exception | None:
    try:
        call()
    except Exception as error:
        return error
    return None


def serialization(one: Any, two: Any) -> None:
    """Change a row that another transaction has changed since."""
    one.set_session(isolation_level="REPEATABLE READ")
    execute(one, "select * from t")
    execute(two, "update t set a = 3 where a = 1")
    two.commit()
    execute(one, "update t set a = 4 where a = 1")


def lock_not_available(one: Any, two: Any) -> None:
    """Ask for a locked table without waiting."""
    execute(one, "lock table t")
    execute(two, "lock table t nowait")


def ended_by_the_server(one: Any, two: Any) -> None:
    """Use a connection that an administrator has ended."""
    one.autocommit = True
    execute(one, f"select pg_terminate_backend({two.get_backend_pid()})")
    execute(two, "select 1")


BUSY = {"40001": serialization, "55P03": lock_not_available, "57P01": ended_by_the_server}


@pytest.mark.parametrize(("code", "fail"), BUSY.items(), ids=lambda value: value if isinstance(value, str) else "")
def test_codes_of_postgresql_that_are_busy(code: str, fail: Callable[[Any, Any], None], address: str) -> None:
    with connections(address) as (one, two):
        error: Any = error_of(lambda: fail(one, two))
    assert error.pgcode in (code, None)  # None: the connection broke before the code came
    assert is_busy(error)
    assert is_busy(sqlalchemy.exc.DBAPIError("update t", {}, error))


def test_a_deadlock_of_postgresql_is_busy(address: str) -> None:
    with connections(address) as (one, two):
        for connection, row in ((one, 1), (two, 2)):
            execute(connection, "set deadlock_timeout = '50ms'")
            execute(connection, f"update t set a = a where a = {row}")
        errors: list[Exception | None] = []

        def second() -> None:
            errors.append(error_or_none(lambda: execute(two, "update t set a = a where a = 1")))
            two.rollback()

        other = threading.Thread(target=second)
        other.start()
        errors.append(error_or_none(lambda: execute(one, "update t set a = a where a = 2")))
        one.rollback()
        other.join()
    (victim,) = [error for error in errors if error is not None]
    assert isinstance(victim, psycopg2.Error)
    assert victim.pgcode == "40P01"
    assert is_busy(victim)


REFUSED = {
    "42P01": "select * from nothing",
    "42601": "selec 'deadlock detected, locked, busy'",
    "23505": "create table u (a int primary key); insert into u values (1), (1)",
    "57014": "set statement_timeout = '10ms'; select pg_sleep(1)",
    "22001": "create table v (a varchar(2)); insert into v values ('busy')",
}


@pytest.mark.parametrize(("code", "statement"), REFUSED.items(), ids=REFUSED)
def test_codes_of_postgresql_that_are_not_busy(code: str, statement: str, address: str) -> None:
    with connections(address) as (one, _):
        error = error_of(lambda: execute(one, statement))
    assert isinstance(error, psycopg2.Error)
    assert error.pgcode == code
    assert not is_busy(error)


def test_a_wrong_password_fails_soon_and_is_not_shown(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """libpq gives no code when it cannot connect, so a wrong password looks like a server that is away."""
    monkeypatch.setattr("knobs.record.stores.database.PATIENCE_AT_OPENING", 0.5)
    wrong = address.replace(SECRET, f"{SECRET}-wrong").replace("postgresql:", "postgresql+psycopg2:")
    began = time.monotonic()
    with pytest.raises(StoreError, match="password authentication failed") as caught:
        Tracker(StoreLocations(tmp_path, tmp_path / "mlruns", wrong))
    assert time.monotonic() - began < 10  # MLflow alone tries for 100 s
    assert SECRET not in str(caught.value)


def test_a_long_wait_is_announced_once(
    database: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("knobs.record.stores.retry.SILENT_SECONDS", 0.2)
    with locked(database), pytest.raises(StoreError):
        retry(lambda: select(database), patience=1.0)
    printed = capsys.readouterr().err
    assert printed.count("waits for the store, up to 1 s") == 1


def test_a_short_wait_is_not(database: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with locked(database), pytest.raises(StoreError):
        retry(lambda: select(database), patience=0.1)
    assert capsys.readouterr().err == ""


def test_a_server_that_is_away_is_said_within_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("knobs.record.stores.database.PATIENCE_AT_OPENING", 1.0)
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # bound and not listening: it refuses
        address = f"http://alice:{SECRET}@127.0.0.1:{held.getsockname()[1]}"
        with pytest.raises(StoreError, match=r"127\.0\.0\.1:\d+ does not answer") as caught:
            Tracker(StoreLocations(tmp_path, tmp_path / "mlruns", tracking_uri=address))
    assert SECRET not in str(caught.value)


def test_any_answer_of_a_server_will_do(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.0 404 Not Found\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        address = f"http://alice:{SECRET}@127.0.0.1:{server.getsockname()[1]}"
        Tracker(StoreLocations(tmp_path, tmp_path / "mlruns", tracking_uri=address))
        thread.join(5)


def test_mlflow_prints_no_address() -> None:
    """MLflow would print the address of every run at its end, the password included."""
    from mlflow.environment_variables import MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT

    assert MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT.get() is True
