"""The exceptions a user can meet; each knows the exit code that it ends the command with."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class KnobsError(Exception):
    """One clear line for the user; `exit_code` is what the command returns."""

    exit_code = 4


class BadInputError(KnobsError):
    """Something the user gave is wrong: the message names it and the nearest valid thing."""

    exit_code = 2


class StoreError(KnobsError):
    """A store could not be written or read; what was recorded before is safe."""

    exit_code = 3


class DeviceError(KnobsError):
    """A device failed, or the processes that should use it cannot start."""

    exit_code = 3


class AnswerNoError(KnobsError):
    """The command ran and the answer is no: not reproduced, every trial failed."""

    exit_code = 1


class InterruptedBySignal(BaseException):
    """A signal ended the command after everything was saved. No `except Exception` of a library can swallow it."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"interrupted by signal {signum}; everything is saved, the same command goes on")
        self.signum = signum
        self.exit_code = 128 + signum


def nearest(name: str, valid: Iterable[str]) -> str:
    """`; did you mean X?` for the valid name closest to `name`, or all of them where none is close."""
    names = sorted(valid)
    close = get_close_matches(name, names, n=1, cutoff=0.5)
    if close:
        return f"; did you mean {close[0]}?"
    shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    return f"; there is: {shown}" if names else ""
