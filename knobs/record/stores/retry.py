"""Wait for a store that is busy or away for a moment."""

from __future__ import annotations

import os
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from knobs import signals
from knobs.errors import BadInputError, KnobsError, StoreError
from knobs.record.stores.locations import without_password

T = TypeVar("T")

PATIENCE = float(os.environ.get("KNOBS_STORE_PATIENCE", "120"))
"""Seconds to wait for a busy store."""

PATIENCE_AT_OPENING = min(10.0, PATIENCE)
"""Seconds to wait until a server's database opens: it may be away, but its address or password may also be wrong."""

PATIENCE_AFTER_SIGNAL = 2.0
"""Seconds to wait for busy stores, all waits together, once a signal has arrived."""

SLICE_SECONDS = 1.0
"""Seconds that one attempt may wait inside SQLite, which handles no signal meanwhile."""

_TRANSIENT_SQLSTATES = {"40001", "40P01", "53300", "55P03", "57P01", "57P02", "57P03"}
"""PostgreSQL: serialization failure, deadlock, too many connections, lock not available, the server restarts."""

_UNAVAILABLE = {"TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED"}
"""Codes with which an MLflow server asks for another try."""


_NETWORK = {"ConnectionError", "Timeout", "MaxRetryError", "NewConnectionError", "ProtocolError"}
"""Exceptions of requests and urllib3 for a server that is away."""


SILENT_SECONDS = 3.0
"""A longer wait is announced."""


class _Waited:
    after_signal = 0.0


def retry(call: Callable[[], T], failures: tuple[type[Exception], ...] = (), patience: float = PATIENCE) -> T:
    """Call until it works, as long as the store is only busy. `failures` are the store's own exceptions.

    Raise `StoreError` after `patience` seconds or if the store refuses, `BadInputError` if the thing does not exist.
    """
    began, pause, announced = time.monotonic(), 0.05, False
    caught: tuple[type[Exception], ...] = (OSError, sqlite3.Error, *failures)
    while True:
        tried, signalled = time.monotonic(), signals.arrived()
        try:
            return call()
        except KnobsError:
            raise
        except caught as error:
            if (interruption := signals.interruption_behind(error)) is not error:
                raise interruption from None
            text = first_line(error)
            if getattr(error, "error_code", "") in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
                raise BadInputError(text) from None
            if not is_busy(error) or time.monotonic() - began > patience:
                raise StoreError(f"the store failed, its records are safe: {text}") from error
            if not announced and time.monotonic() - began > SILENT_SECONDS:
                announced = True
                print(f"knobs: waits for the store, up to {patience:.0f} s: {text}", file=sys.stderr, flush=True)
            if signalled:
                _Waited.after_signal += time.monotonic() - tried + pause
            if _Waited.after_signal > PATIENCE_AFTER_SIGNAL:
                signals.check()
            time.sleep(pause)
            pause = min(1.0, pause * 2)


def first_line(error: BaseException) -> str:
    """Return a store's message in one line, without passwords."""
    lines = without_password(str(error)).strip().splitlines() or [type(error).__name__]
    return next((line for line in lines if not line.startswith("(raised as a result of")), lines[0])


def is_busy(error: BaseException) -> bool:
    """Return whether waiting may help: decided by exception classes and codes, never by the words of a message."""
    return any(map(_says_busy, _chain(error)))


def _says_busy(error: Any) -> bool:
    if isinstance(error, ConnectionError | TimeoutError):
        return True
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
    kind = type(error)
    if kind.__module__.partition(".")[0] in ("psycopg2", "psycopg") and kind.__name__ != "ProgrammingError":
        code = getattr(error, "pgcode", None) or getattr(error, "sqlstate", None)
        lost = code is None and any(base.__name__ == "OperationalError" for base in kind.__mro__)
        return lost or code in _TRANSIENT_SQLSTATES or str(code).startswith("08")
    if kind.__module__ == "mlflow.exceptions" and kind.__name__ == "RestException":
        return error.error_code in _UNAVAILABLE
    names = {base.__name__ for base in kind.__mro__}
    return kind.__module__.startswith(("requests.", "urllib3.")) and bool(names & _NETWORK)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and the errors behind it; SQLAlchemy keeps the driver's own in `orig`."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        waiting += [one.__cause__, one.__context__, getattr(one, "orig", None)]
