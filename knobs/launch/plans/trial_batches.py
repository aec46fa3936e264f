"""The trials of a study that train together: those that no other trial has an effect on are known before the first."""

from __future__ import annotations

from functools import cached_property

from knobs.config import RunConfig
from knobs.search import Search
from knobs.training.batch.rule import batches


class TrialBatches:
    """Batches among the first `total` trials on a kind of device. They do not depend on what was trained already.

    Without a kind of device, every trial trains alone. The trials are asked for when they are needed first.
    """

    def __init__(self, search: Search, total: int, device: str) -> None:
        self.search, self.total, self.device = search, total, device

    def numbers(self, number: int) -> list[int]:
        """Return the trials of a trial's batch; the trial itself if it trains alone."""
        return list(self._of(number)) or [number]

    def configs(self, number: int) -> tuple[RunConfig, ...]:
        """Return the configs of a trial's batch; nothing if it trains alone."""
        return tuple(self._of(number).values())

    def _of(self, number: int) -> dict[int, RunConfig]:
        return self._found.get(number, {}) if self.device else {}

    @cached_property
    def _found(self) -> dict[int, dict[int, RunConfig]]:
        """The members of each trial's batch by number."""
        known = {n: self.search.ask(n).config for n in range(self.total) if self.search.is_independent(n)}
        numbers: dict[str, int] = {}
        for number, config in known.items():
            numbers.setdefault(config.to_json(), number)  # an equal trial is a reused one: it needs no training
        groups = batches([known[number] for number in numbers.values()], self.device)
        batched = [{numbers[config.to_json()]: config for config in group} for group in groups if len(group) > 1]
        return {number: members for members in batched for number in members}
