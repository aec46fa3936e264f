"""Take over the values of a finished run instead of training an equal one again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from knobs.errors import BadInputError
from knobs.launch.driver.open_run import OpenRun
from knobs.record.runs import recorded_reads
from knobs.record.schema import Artifact, Metric, Tag, has_tag, is_single, is_test
from knobs.record.stores.mlflow_store import Tracker
from knobs.record.stores.rows import Row
from knobs.training import CurvePoint
from knobs.training.curves_svg import draw_curves
from knobs.training.messages import Outcome

TWINS = 50
"""Finished runs of one identity that are looked at. They differ in the files or variables that they read."""


@dataclass(frozen=True)
class Reusable:
    """A finished run that answers for another one."""

    trained: str
    """Id of the run that was trained."""
    points: list[CurvePoint]
    summary: dict[str, float]
    """Its single values without those of test splits."""
    tested: dict[str, float]
    checkpoint: Path | None
    """Set if the test split has yet to be read, with this checkpoint."""

    def outcome(self, *, read_test: bool) -> Outcome:
        """Return the outcome of a run that takes over these values."""
        best_step = int(self.summary[Metric.BEST_STEP])
        summary = self.summary | (self.tested if read_test else {})
        drawn = draw_curves(self.points, best_step)
        return Outcome(state="finished", best_step=best_step, summary=summary, curves_svg=drawn)


def find_reusable(tracker: Tracker, run: OpenRun) -> Reusable | None:
    """Return the finished run that has the identity of `run`; None if there is none that answers for it.

    A run that reads the test split needs a twin that has read it, or one whose checkpoint is still there.
    """
    twins = tracker.search(f"{has_tag(Tag.IDENTITY, run.identity)} and attributes.status = 'FINISHED'", limit=TWINS)
    twin = next((row for row in twins if _read_the_same(tracker, row)), None)
    if twin is None:
        return None
    singles = {k: v for k, v in twin.metrics.items() if is_single(k) and not k.startswith(Metric.DERIVED)}
    tested = {name: value for name, value in singles.items() if is_test(name)}
    checkpoint: Path | None = None
    if run.planned.read_test and not tested:
        try:
            checkpoint = tracker.artifact(twin.trained_run, Artifact.BEST_CHECKPOINT)
        except BadInputError:  # removed by `knobs clean`, say
            return None
    summary = {name: value for name, value in singles.items() if name not in tested}
    return Reusable(twin.trained_run, _points(tracker, twin), summary, tested, checkpoint)


def _read_the_same(tracker: Tracker, twin: Row) -> bool:
    """Return whether the files and variables that a finished run read are as they were."""
    try:
        trained = twin if twin.trained_run == twin.id else tracker.get(twin.trained_run)
    except BadInputError:  # it was deleted
        return False
    return not recorded_reads(tracker, trained).difference()


def _points(tracker: Tracker, row: Row) -> list[CurvePoint]:
    steps: dict[int, tuple[int, dict[str, float]]] = {}
    for name in row.metrics:
        if not is_single(name):
            for step, value, time_ms in tracker.points(row.id, name):
                steps.setdefault(step, (time_ms, {}))[1][name] = value
    return [CurvePoint(step=step, values=values, time_ms=time) for step, (time, values) in sorted(steps.items())]
