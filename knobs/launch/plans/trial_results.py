"""The results of a study's trials so far."""

from __future__ import annotations

from knobs.record.states import STATES
from knobs.search import Direction, rank_trials


class TrialResults:
    """Values and states of the trials that have ended."""

    def __init__(self, direction: Direction) -> None:
        self.direction = direction
        self.values: dict[int, float] = {}
        """The metric of each finished trial."""
        self.counts: dict[str, int] = {}
        """Ended trials by state."""

    def add(self, number: int, state: str, value: float | None) -> None:
        """Add an ended trial."""
        self.counts[state] = self.counts.get(state, 0) + 1
        if STATES[state].finished and value is not None:
            self.values[number] = value

    def best_number(self, among: int | None = None) -> int:
        """Return the best finished trial; of the first `among` trials if given."""
        values = {n: value for n, value in self.values.items() if among is None or n < among}
        return rank_trials(values, self.direction)[0]
