"""SIGINT and SIGTERM: the first one stops the command at a whole point; later ones change nothing.

If nothing has to be saved, a signal raises at once. Within `held()` it is only noted, and the code calls `check()` at
the points where it can stop. So a doubled Ctrl-C cannot end the saving that the first one started.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

from knobs.errors import InterruptedBySignal

SIGNALS = (signal.SIGINT, signal.SIGTERM)

AGAIN_SECONDS = 1.0
"""Seconds after which an interruption is raised again: Python drops what is raised inside a destructor."""


class _State:
    received: int | None = None
    holds = 0
    thrown: ClassVar[list[BaseException]] = []
    """Interruptions that were raised at once, because nothing had to be saved."""


def install() -> None:
    """Handle SIGINT and SIGTERM in this process."""
    for signum in SIGNALS:
        signal.signal(signum, _note)
    signal.signal(signal.SIGALRM, _again)
    sys.unraisablehook = _unraisable


def settle() -> None:
    """Ignore signals from now on: the command has ended."""
    _State.holds += 1
    for signum in (*SIGNALS, signal.SIGALRM):  # at exit the interpreter restores the default handlers
        signal.signal(signum, signal.SIG_IGN)
    signal.setitimer(signal.ITIMER_REAL, 0)


def arrived() -> bool:
    """Return whether a signal has arrived."""
    return _State.received is not None


def check() -> None:
    """Raise `InterruptedBySignal` if a signal has arrived."""
    if _State.received is not None:
        raise InterruptedBySignal(_State.received)


def interruption_behind(error: BaseException) -> BaseException:
    """Return the interruption that caused this error, or the error itself.

    A library that is interrupted within a transaction may fail while it cleans up. Errors that occur while an
    interrupted command saves its work are not caused by the interruption.
    """
    cause: BaseException | None = error
    while cause is not None and not any(cause is thrown for thrown in _State.thrown):
        cause = cause.__context__  # `raise ... from` sets it too
    return cause or error


@contextmanager
def held() -> Iterator[None]:
    """Within, a signal is only noted. At the end, raise `InterruptedBySignal` if one has arrived."""
    with undisturbed():
        yield
    check()


@contextmanager
def undisturbed() -> Iterator[None]:
    """Within, a signal is only noted. Use this for work at the end of a command."""
    with _holding(_State.holds + 1):
        yield


@contextmanager
def let_through() -> Iterator[None]:
    """Within `held()`, let a signal raise at once. Use this for long work that can stop at any instant."""
    with _holding(0):
        check()
        try:
            yield
        except InterruptedBySignal:
            _State.thrown.clear()  # whoever holds signals saves now
            raise


@contextmanager
def _holding(count: int) -> Iterator[None]:
    before, _State.holds = _State.holds, count
    try:
        yield
    finally:
        _State.holds = before


def _note(signum: int, _frame: object) -> None:
    if _State.received is None:
        _State.received = signum
        signal.setitimer(signal.ITIMER_REAL, AGAIN_SECONDS, AGAIN_SECONDS)
        _again(signum, _frame)


def _again(_signum: int, _frame: object) -> None:
    if not _State.holds:
        try:
            check()
        except InterruptedBySignal as error:
            _State.thrown.append(error)
            raise


def _unraisable(what: Any) -> None:
    if not isinstance(what.exc_value, InterruptedBySignal):
        sys.__unraisablehook__(what)
