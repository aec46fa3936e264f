"""Trials that train together: those that no other trial has an effect on are known before the first."""

from __future__ import annotations

from functools import cached_property

from knobs.config import RunConfig
from knobs.search import Search
from knobs.training.batch.rule import batches

Place = tuple[int, int]
"""A search and the number of one of its trials."""


class TrialBatches:
    """Batches among the first `total` trials of some searches on a kind of device, across searches.

    They do not depend on what was trained already. Without a kind of device, every trial trains alone. The trials are
    asked for when they are needed first.
    """

    def __init__(self, searches: list[Search], total: int, device: str) -> None:
        self.searches, self.total, self.device = searches, total, device

    def members(self, search: int, number: int) -> list[Place]:
        """Return the trials of a trial's batch; the trial itself if it trains alone."""
        return list(self._of(search, number)) or [(search, number)]

    def configs(self, search: int, number: int) -> tuple[RunConfig, ...]:
        """Return the configs of a trial's batch; nothing if it trains alone."""
        return tuple(self._of(search, number).values())

    def _of(self, search: int, number: int) -> dict[Place, RunConfig]:
        return self._found.get((search, number), {}) if self.device else {}

    @cached_property
    def _found(self) -> dict[Place, dict[Place, RunConfig]]:
        """The members of each trial's batch by place."""
        known = {
            (index, number): search.ask(number).config
            for index, search in enumerate(self.searches)
            for number in range(self.total)
            if search.is_independent(number)
        }
        places: dict[str, Place] = {}
        for place, config in known.items():
            places.setdefault(config.to_json(), place)  # an equal trial is a reused one: it needs no training
        groups = batches([known[place] for place in places.values()], self.device)
        batched = [{places[config.to_json()]: config for config in group} for group in groups if len(group) > 1]
        return {place: members for members in batched for place in members}
