"""A trial between its ask and its end: which of its replicates were handed out, and how they ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from knobs.record.states import STATES, StateName
from knobs.search import PendingTrial


@dataclass(frozen=True)
class ReplicateEnd:
    """The end of one replicate."""

    run: str
    """Id of its MLflow run."""
    state: str
    value: float | None
    """The study's metric, if it finished."""
    message: str = ""


@dataclass(eq=False)
class TrialInTraining:
    """A trial that has not ended."""

    asked: PendingTrial
    count: int
    """Its replicates; 1 if the trial is one training."""
    one_by_one: bool = False
    """The pruner decides after each replicate whether the next one is trained."""
    row: str = ""
    """Id of the MLflow run under which its replicates are; empty if it has none."""
    started: bool = False
    """A worker has trained a part of it in this launch."""
    handed: set[int] = field(default_factory=set)
    """Replicates that were handed out, or have ended."""
    ends: dict[int, ReplicateEnd] = field(default_factory=dict)
    """The end of each replicate that has ended."""
    pruned: bool = False

    @property
    def waiting_replicates(self) -> bool:
        """True if some replicates have yet to be handed out."""
        return len(self.handed) < self.count and not self.is_over

    def next_replicate(self) -> int | None:
        """Return the replicate to hand out now; None if there is none, or an earlier one has to end first."""
        first = next((k for k in range(self.count) if k not in self.handed), None)
        if first is None or self.is_over or (self.one_by_one and len(self.ends) < first):
            return None
        return first

    def note_end(self, replicate: int, end: ReplicateEnd) -> None:
        """Note the end of a replicate, and let the pruner see its value."""
        self.handed.add(replicate)
        self.ends[replicate] = end
        if end.value is not None and not self.asked.report(replicate, end.value) and self.one_by_one:
            self.pruned = True

    @property
    def is_over(self) -> bool:
        """True if no replicate will be trained any more."""
        if self.one_by_one and (self.pruned or self._bad is not None):
            return True
        return len(self.ends) == self.count

    @property
    def _bad(self) -> int | None:
        """The first replicate that did not finish."""
        return next((k for k in sorted(self.ends) if not STATES[self.ends[k].state].finished), None)

    def outcome(self) -> tuple[str, str]:
        """Return how the trial ended, and why it did not finish: the first replicate that did not says so."""
        if self._bad is not None:
            bad = self.ends[self._bad]
            return bad.state, f"replicate {self._bad}: {bad.message or bad.state}"
        if self.pruned:
            return StateName.PRUNED, f"pruned after {len(self.ends)} of {self.count} replicates"
        return StateName.FINISHED, ""

    def values(self) -> Mapping[int, float]:
        """Return the value of each replicate that finished."""
        return {k: end.value for k, end in sorted(self.ends.items()) if end.value is not None}
