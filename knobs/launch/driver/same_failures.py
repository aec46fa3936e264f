"""Shows how runs end, and stops a launch whose first runs all fail in the same way: the next ones would too."""

from __future__ import annotations

import re

from knobs.errors import AnswerNoError
from knobs.launch.driver.display import Display, show_end
from knobs.launch.driver.open_run import OpenRun
from knobs.launch.driver.run_recorder import RunRecorder
from knobs.record.states import StateName
from knobs.training import Outcome

ENOUGH = 5
"""Equal failures, from the launch's first run on, after which it stops."""


class SameFailures:
    """Follows the ends of a launch's runs."""

    def __init__(self, recorder: RunRecorder, display: Display) -> None:
        self.recorder, self.display = recorder, display
        self._ended = 0
        self._messages: set[str] = set()
        """The different messages of failed runs, and the states of the others."""

    def note(self, run: OpenRun, state: str, outcome: Outcome) -> None:
        """Show the end of a run. Raise `AnswerNoError` if it is the last of `ENOUGH` equal failures.

        Numbers in a message do not count: a shape differs with the width.
        """
        if run.trains:
            show_end(self.display, run, state, outcome)
        self._ended += 1
        self._messages.add(re.sub(r"\d+", "0", outcome.message) if state == StateName.FAILED else f"<{state}>")
        if self._ended == ENOUGH and len(self._messages) == 1 and state == StateName.FAILED:
            raise AnswerNoError(
                f"stopped, since the first {ENOUGH} runs failed alike: {outcome.message}\n"
                f"{self.recorder.traceback_line(run.id)}"
                f"correct the code, then run the same command to go on with the other runs, or add --fresh to train\n"
                f"these {ENOUGH} again; what is recorded is safe"
            )
