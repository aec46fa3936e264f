"""One check: what it is about, what it tries, and the error if it fails."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from knobs.errors import AnswerNoError
from knobs.user_code import placed_text


class FailedCheckError(AnswerNoError):
    """Content does not do what it must. The message names it, its file and line, and numbers."""


@dataclass(frozen=True)
class Check:
    """One check of one file's content. Call it: it returns what it found, in words, or raises."""

    subject: str
    """`model mlp`, `study s`, ..."""
    name: str
    """The name of the check: `fits one batch`."""
    act: Callable[[], str]

    def __call__(self) -> str:
        """Do the check. Raise `KnobsError`, or what user code raises, if it fails."""
        return self.act()

    def outcome(self) -> tuple[bool, str]:
        """Do the check. Return whether it passed, and what it found or what is wrong."""
        try:
            return True, self.act()
        except Exception as error:  # what content raises is the answer
            return False, placed_text(error)

    def __str__(self) -> str:
        return f"{self.subject}: {self.name}"
