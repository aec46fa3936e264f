"""What a recorded study and a recorded ablation have in common."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cached_property

from knobs.record.knob_range import KnobRange
from knobs.record.runs import RecordedRun
from knobs.record.schema import Artifact, Tag, has_tag
from knobs.record.stores.mlflow_store import Tracker
from knobs.record.stores.rows import Row


class Recorded:
    """A study or an ablation in the record."""

    def __init__(self, tracker: Tracker, name: str, parent: Row) -> None:
        self.tracker, self.name, self.parent = tracker, name, parent

    @property
    def runs(self) -> list[RecordedRun]:
        """Every training that counts."""
        raise AssertionError

    @cached_property
    def test_readers(self) -> list[Row]:
        """Every run of the MLflow experiment that read a test split."""
        return self.tracker.search(has_tag(Tag.TEST_READ, "true"), self.parent.experiment)

    @cached_property
    def packages(self) -> Mapping[str, Mapping[str, str]]:
        """Each set of packages that a run was made with, by its hash."""
        return self._facts(Tag.PACKAGES, Artifact.PACKAGES)

    @cached_property
    def machines(self) -> Mapping[str, Mapping[str, str]]:
        """Each machine that a run was made on, by its hash."""
        return self._facts(Tag.MACHINE, Artifact.MACHINE)

    def _facts(self, tag: str, artifact: str) -> dict[str, dict[str, str]]:
        """Return the artifact of one run for each value of the tag."""
        holders = {run.trained.tags[tag]: run.trained for run in self.runs if tag in run.trained.tags}
        texts = {key: self.tracker.text(row, artifact) for key, row in sorted(holders.items())}
        return {key: json.loads(text) for key, text in texts.items() if text}


def every_range(defined: Mapping[str, KnobRange], trials: Sequence[RecordedRun]) -> dict[str, KnobRange]:
    """Return every range that any trial had; only trials show conditional knobs."""
    found = dict(defined)
    for trial in trials:
        found = {**trial.searched, **found}
    return dict(sorted(found.items()))
