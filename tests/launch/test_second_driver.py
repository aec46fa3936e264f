"""A study that is launched twice at the same time: the second launch is refused and harms nothing."""

from pathlib import Path

import pytest
from faults import project, reading
from faults.audit import audit_quiet
from faults.fixtures import ended, trains
from faults.processes import fork, until
from support import quick

pytestmark = pytest.mark.slow

COMMAND = ("study", "quick", "--trials", "2", "--devices", "cpu:1")


def test_a_second_launch_of_a_running_study_is_refused_and_the_first_ends_as_if_alone(tmp_path: Path) -> None:
    here, store = project.write(tmp_path / "project"), tmp_path / "store"
    first = fork(*COMMAND, project=here, store=store, KNOBS_SLOW="0.01")
    until(lambda: trains(first) or not first.alive, what="a trial")
    assert first.alive, first.text
    written = reading.acknowledged(store)
    second = quick(*COMMAND, store=store, cwd=here)
    assert second.code == 2, second
    assert f"process {first.process.pid} " in second.err
    assert second.err.count("\n") == 1
    assert second.out == ""
    assert first.alive
    ended(first)
    audit_quiet(store, "quick", written)
    assert [run.trial for run in reading.trials(store, "quick")] == [0, 1]
    assert {run.state for run in reading.trials(store, "quick")} <= {"finished", "pruned"}
    studies = [run for run in reading.runs(store) if run.tags["knobs.kind"] == "study"]
    assert [run.state for run in studies] == ["finished"]
