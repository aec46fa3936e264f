"""The pages of a study whose trials have replicates."""

from __future__ import annotations

from pathlib import Path

from written_records import a_study, new_tracker, rate, record_study

from knobs import Replicates
from knobs.pages.pages import StudyPages


def test_replicates_have_a_view_of_their_own_below_their_trials(tmp_path: Path) -> None:
    tracker = new_tracker(tmp_path)
    recorded = record_study(tracker, "s", a_study(rate, replicates=Replicates(seeds=2)), trials=2)
    views = StudyPages(recorded).views()
    assert list(views) == ["trials", "replicates", "runs"]
    experiment = recorded.parent.experiment
    trials = tracker.search(views["trials"].filters, experiment)
    below = tracker.search(views["replicates"].filters, experiment)
    assert sorted(row.name.split()[0] for row in trials) == ["t000", "t001"]
    assert sorted(row.name.split()[0] for row in below) == ["t000.0", "t000.1", "t001.0", "t001.1"]
    assert views["replicates"].group_by == ("tags.`knobs.trial`",)
    assert {row.kind for row in tracker.search(views["runs"].filters, experiment)} == {"study"}
