"""The trials of a study that train together: those that no other trial has an effect on are known before the first."""

from __future__ import annotations

from knobs.config import RunConfig
from knobs.search import Search
from knobs.training.batch.rule import batches


class TrialBatches:
    """Batches among the first `total` trials on a kind of device. They do not depend on what was trained already."""

    def __init__(self, search: Search, total: int, device: str) -> None:
        known = {n: search.ask(n).config for n in range(total) if search.is_independent(n)}
        numbers: dict[str, int] = {}
        for number, config in known.items():
            numbers.setdefault(config.to_json(), number)  # an equal trial is a reused one: it needs no training
        self._numbers: dict[int, list[int]] = {}
        self._configs: dict[int, tuple[RunConfig, ...]] = {}
        for group in batches([known[number] for number in numbers.values()], device):
            members = [numbers[config.to_json()] for config in group]
            if len(members) > 1:
                self._numbers |= dict.fromkeys(members, members)
                self._configs |= dict.fromkeys(members, group)

    def numbers(self, number: int) -> list[int]:
        """Return the trials of a trial's batch; the trial itself if it trains alone."""
        return self._numbers.get(number, [number])

    def configs(self, number: int) -> tuple[RunConfig, ...]:
        """Return the configs of a trial's batch; nothing if it trains alone."""
        return self._configs.get(number, ())
