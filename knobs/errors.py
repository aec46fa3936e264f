"""The exceptions that a user can meet, each with the exit code of the command."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class KnobsError(Exception):
    """An error with one clear line for the user. The command returns `exit_code`."""

    exit_code = 4


class BadInputError(KnobsError):
    """Some input is wrong. The message names it and the nearest valid thing."""

    exit_code = 2


class StoreError(KnobsError):
    """A store could not be written or read. Earlier records are safe."""

    exit_code = 3


class DeviceError(KnobsError):
    """A device failed, or its workers cannot start."""

    exit_code = 3


class AnswerNoError(KnobsError):
    """The command ran and the answer is no: not reproduced, or every trial failed."""

    exit_code = 1


class InterruptedBySignal(BaseException):
    """A signal ended the command after everything was saved. No `except Exception` of a library can swallow it."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"interrupted by signal {signum}; everything is saved; run the same command to continue")
        self.signum = signum
        self.exit_code = 128 + signum


def nearest(name: str, valid: Iterable[str]) -> str:
    """Return `; did you mean X?` for the valid name closest to `name`, or the list of names if none is close."""
    names = sorted(valid)
    close = get_close_matches(name, names, n=1, cutoff=0.5)
    if close:
        return f"; did you mean {close[0]}?"
    shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    return f"; there is: {shown}" if names else ""
