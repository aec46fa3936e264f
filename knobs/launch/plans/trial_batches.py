"""Runs of trials that train together: the replicates of a trial, and trials that are known before any has ended."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

from knobs.config import RunConfig
from knobs.search import Search
from knobs.training.batch.rule import batches

BLOCK_OF_TRIALS = 10
"""Trials of a study whose batches are formed together. A study that goes on changes no batch of the earlier ones."""


@dataclass(frozen=True)
class Place:
    """One training of a trial: its search, the number of the trial, the number of the replicate."""

    search: int
    number: int
    replicate: int


class TrialBatches:
    """Batches among these trials of some searches on a kind of device.

    They follow from the configs alone, not from what was trained already. Without a kind of device, every run trains
    alone. The trials are asked for when they are needed first.
    """

    def __init__(self, searches: list[Search], numbers: range, device: str) -> None:
        self.searches, self.numbers, self.device = searches, numbers, device

    def members(self, place: Place, trial: RunConfig) -> dict[Place, RunConfig]:
        """Return all runs of a run's batch by place; empty if it trains alone. `trial` is the config of its trial."""
        search = self.searches[place.search]
        if not self.device or search.study.pruner == "wilcoxon":  # it decides after each replicate
            return {}
        if search.is_independent(place.number):
            return self._independent.get(place, {})
        own = {replace(place, replicate=k): one for k, one in enumerate(search.study.replicates.configs(trial))}
        return _batched(own, self.device).get(place, {})

    @cached_property
    def _independent(self) -> dict[Place, dict[Place, RunConfig]]:
        """The members of each batch of independent trials, by the place of each member."""
        known = {
            Place(index, number, replicate): config
            for index, search in enumerate(self.searches)
            for number in self.numbers
            if search.is_independent(number)
            for replicate, config in enumerate(search.study.replicates.configs(search.ask(number).config))
        }
        return _batched(known, self.device)


class StudyBatches(TrialBatches):
    """Batches among the trials of one study, block by block."""

    def __init__(self, search: Search, device: str) -> None:
        super().__init__([search], range(0), device)
        self._blocks: dict[int, TrialBatches] = {}

    def members(self, place: Place, trial: RunConfig) -> dict[Place, RunConfig]:
        """Return all runs of a run's batch by place; empty if it trains alone."""
        first = place.number - place.number % BLOCK_OF_TRIALS
        if first not in self._blocks:
            end = self.searches[0].study.possible_trials(first + BLOCK_OF_TRIALS)
            self._blocks[first] = TrialBatches(self.searches, range(first, end), self.device)
        return self._blocks[first].members(place, trial)


def _batched(known: dict[Place, RunConfig], device: str) -> dict[Place, dict[Place, RunConfig]]:
    """Return the members of each batch of at least two, by the place of each member."""
    places: dict[str, Place] = {}
    for place, config in known.items():
        places.setdefault(config.to_json(), place)  # of two equal runs, one trains with the others
    found: dict[Place, dict[Place, RunConfig]] = {}
    for group in batches((known[place] for place in places.values()), device):
        members = {places[config.to_json()]: config for config in group}
        found |= dict.fromkeys(members, members) if len(members) > 1 else {}
    return found
