"""SIGINT and SIGTERM: the first asks to stop, at a point where everything is whole; later ones change nothing.

Where nothing has to be saved it raises at once. Within `held` it only is noted, and whoever works there asks `check`
at the points where it can stop. So a doubled Ctrl-C cannot end the saving that the first one began.
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
"""What was raised within a destructor is lost, so it is raised again."""


class _State:
    received: int | None = None
    holds = 0
    thrown: ClassVar[list[BaseException]] = []
    """Raised at any instant, where nothing has to be saved."""


def install() -> None:
    """Take over SIGINT and SIGTERM for this process."""
    for signum in SIGNALS:
        signal.signal(signum, _note)
    signal.signal(signal.SIGALRM, _again)
    sys.unraisablehook = _unraisable


def settle() -> None:
    """The command is over and its answer is given: what comes now changes nothing."""
    _State.holds += 1
    for signum in (*SIGNALS, signal.SIGALRM):  # at the interpreter's end a handler of ours is the default again
        signal.signal(signum, signal.SIG_IGN)
    signal.setitimer(signal.ITIMER_REAL, 0)


def came() -> bool:
    """Whether a signal has come."""
    return _State.received is not None


def check() -> None:
    """Raise `InterruptedBySignal` if a signal has come."""
    if _State.received is not None:
        raise InterruptedBySignal(_State.received)


def behind(error: BaseException) -> BaseException:
    """The interruption that this error came of where nothing had to be saved, else the error itself.

    A library that is interrupted within a transaction may fail at cleaning up, and say that instead. What fails while
    an interrupted command saves is no such error.
    """
    cause: BaseException | None = error
    while cause is not None and not any(cause is thrown for thrown in _State.thrown):
        cause = cause.__context__  # `raise ... from` sets it too
    return cause or error


@contextmanager
def held() -> Iterator[None]:
    """Within, a signal is noted and nothing else; one that came raises at the end."""
    with ending():
        yield
    check()


@contextmanager
def ending() -> Iterator[None]:
    """Within, what has to be done at an end is done undisturbed."""
    with _holding(_State.holds + 1):
        yield


@contextmanager
def let_through() -> Iterator[None]:
    """Within a `held`, for what may take long and can be left at any instant: a signal raises at once."""
    with _holding(0):
        check()
        try:
            yield
        except InterruptedBySignal:
            _State.thrown.clear()  # who holds has to save now
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
