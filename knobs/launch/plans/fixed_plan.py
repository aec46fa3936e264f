"""A plan for runs that no sampler asks for: a fixed list."""

from __future__ import annotations

from collections.abc import Sequence

from knobs.launch.plans.plan import PlannedRun, group_batches
from knobs.training import Outcome


class FixedPlan:
    """These runs, in this order. Afterwards `outcomes` and `runs` have each run's outcome and MLflow id, by label."""

    def __init__(self, experiment: str, planned: Sequence[PlannedRun]) -> None:
        self.experiment, self.total = experiment, len(planned)
        self.outcomes: dict[str, Outcome] = {}
        self.runs: dict[str, str] = {}
        self._todo = group_batches(planned)

    @property
    def left(self) -> int:
        """Runs that have not ended."""
        return self.total - len(self.outcomes)

    @property
    def done(self) -> bool:
        """True if every run was handed out."""
        return not self._todo

    @property
    def waiting(self) -> str:
        """Empty: this plan never waits."""
        return ""

    @property
    def headline(self) -> str:
        """Empty: there is nothing to compare."""
        return ""

    def next(self) -> list[PlannedRun]:
        """Return the next run of the list, or the members of the next batch."""
        return self._todo.pop(0) if self._todo else []

    def started(self, planned: PlannedRun) -> None:
        """Do nothing."""

    def end_tags(self, planned: PlannedRun) -> dict[str, str]:
        """Return no tags."""
        del planned
        return {}

    def ended(self, planned: PlannedRun, run: str, state: str, outcome: Outcome) -> None:
        """Keep the outcome."""
        del state
        self.runs[planned.label], self.outcomes[planned.label] = run, outcome

    def interrupted(self, planned: PlannedRun) -> None:
        """Do nothing: the record holds the state."""
