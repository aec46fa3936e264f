"""Replicates of a trial: its config under other seeds, folds or time windows. The trial's value is their mean."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from knobs.config import RunConfig, Value
from knobs.errors import BadInputError, nearest

SEEDS_APART = 1_000_000
"""Two successive seeds of a trial differ by this number, so that no other repetition or fresh seed has them."""


@dataclass(frozen=True, kw_only=True)
class Replicates:
    """How often a trial is trained, and what differs between its trainings."""

    seeds: int = 1
    """Seeds of a trial: the config's own seed, and others."""
    knob: str = ""
    """A knob whose `values` are replicates too, for example the number of a fold: `data.fold`."""
    values: tuple[Value, ...] = ()

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise BadInputError(f"replicates: seeds = {self.seeds}; a trial has at least 1")
        if bool(self.knob) != bool(self.values):
            raise BadInputError("replicates: a knob needs values, and values need a knob")
        if self.knob == "seed":
            raise BadInputError("replicates: for other seeds, say how many: Replicates(seeds=3)")
        if len(set(self.values)) < len(self.values):
            raise BadInputError(f"replicates: a value of {self.knob} is given twice")

    @property
    def count(self) -> int:
        """Trainings of a trial."""
        return self.seeds * max(1, len(self.values))

    def check(self, baseline: RunConfig, searched: Iterable[str]) -> None:
        """Raise `BadInputError` if the knob is none of the baseline's, is searched, or cannot have the values."""
        if not self.knob:
            return
        if self.knob not in (knobs := baseline.knobs()):
            raise BadInputError(f"replicates: {self.knob} is no knob of this study" + nearest(self.knob, knobs))
        if self.knob in searched:
            raise BadInputError(f"replicates: {self.knob} is searched, so it cannot differ between replicates")
        self.configs(baseline)

    def configs(self, config: RunConfig) -> list[RunConfig]:
        """Return the config of each replicate of a trial with this config."""
        folds: list[dict[str, Value]] = [{self.knob: value} for value in self.values] or [{}]
        seeds = [config.seed + SEEDS_APART * number for number in range(self.seeds)]
        return [config.with_knobs({"seed": seed, **fold}) for fold in folds for seed in seeds]

    def identity(self) -> dict[str, Any]:
        """Return what makes trials with these replicates comparable."""
        return {"seeds": self.seeds, "knob": self.knob, "values": list(self.values)}
