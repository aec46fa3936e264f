"""A launch stops if its first five runs fail alike; one run that ends otherwise, or another message, lets it go on."""

from pathlib import Path

import pytest
from memory_pool import QuietDisplay
from trainings import toy_config
from written_records import new_tracker

from knobs.errors import AnswerNoError
from knobs.launch.driver.open_run import OpenRun
from knobs.launch.driver.run_recorder import RunRecorder
from knobs.launch.driver.same_failures import ENOUGH, SameFailures
from knobs.launch.plans import PlannedRun
from knobs.record.schema import Kind
from knobs.training import Outcome


def ends(tmp_path: Path, *messages: str) -> None:
    """Note one end after the other: failed with this message, or finished if it is empty."""
    failures = SameFailures(RunRecorder(new_tracker(tmp_path)), QuietDisplay())
    for message in messages:
        run = OpenRun.of(PlannedRun(kind=Kind.TRIAL, label="t", name="t", config=toy_config()))
        state = "failed" if message else "finished"
        failures.note(run, state, Outcome(state=state, message=message))


ALIKE = [f"net.py:3: shapes {width}x4 and 3x{width}" for width in range(ENOUGH)]


def test_five_failures_that_differ_in_numbers_only_stop_a_launch(tmp_path: Path) -> None:
    with pytest.raises(AnswerNoError) as caught:
        ends(tmp_path, *ALIKE)
    assert "the first 5 runs failed alike: net.py:3: shapes" in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 4


@pytest.mark.parametrize(
    "messages",
    [ALIKE[:-1], ["", *ALIKE], [*ALIKE[:2], "", *ALIKE], [*ALIKE[:2], "another", *ALIKE]],
    ids=["four", "one finished before", "one finished between", "another message"],
)
def test_anything_else_goes_on(messages: list[str], tmp_path: Path) -> None:
    ends(tmp_path, *messages)
