"""SIGINT and SIGTERM: the first asks to stop, at a point where everything is whole; later ones change nothing.

Where nothing has to be saved it raises at once. Within `held` it only is noted, and whoever works there asks `check`
at the points where it can stop. So a doubled Ctrl-C cannot end the saving that the first one began.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from knobs.errors import InterruptedBySignal

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class _State:
    received: int | None = None
    holds = 0


def install() -> None:
    """Take over SIGINT and SIGTERM for this process."""
    for signum in SIGNALS:
        signal.signal(signum, _note)


def received() -> int | None:
    """The first signal that came, if one did."""
    return _State.received


def check() -> None:
    """Raise `InterruptedBySignal` if a signal has come."""
    if _State.received is not None:
        raise InterruptedBySignal(_State.received)


@contextmanager
def held() -> Iterator[None]:
    """Within, a signal is noted and nothing else; one that came raises at the end."""
    before, _State.holds = _State.holds, _State.holds + 1
    try:
        yield
    finally:
        _State.holds = before
    check()


@contextmanager
def let_through() -> Iterator[None]:
    """Within a `held`, for what may take long and can be left at any instant: a signal raises at once."""
    before, _State.holds = _State.holds, 0
    try:
        check()
        yield
    finally:
        _State.holds = before


def _note(signum: int, _frame: object) -> None:
    if _State.received is None:
        _State.received = signum
        if not _State.holds:
            raise InterruptedBySignal(signum)
