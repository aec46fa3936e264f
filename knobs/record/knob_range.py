"""The bounds or choices of a knob in a search space, as recorded."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from optuna.distributions import BaseDistribution, distribution_to_json

from knobs.config import RunConfig, as_tuple, text_of
from knobs.errors import BadInputError
from knobs.search import Space, SpaceProbe

EDGE = 0.05
"""A value within this share of the range, on the knob's own scale, lies at an edge."""


@dataclass(frozen=True)
class KnobRange:
    """The bounds or choices of one knob in a search space."""

    name: str
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    whole: bool = False
    """True if the knob takes whole numbers."""
    choices: tuple[Any, ...] = ()
    """Instead of bounds."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "choices", as_tuple(list(self.choices)))  # a definition's JSON has no tuples

    @classmethod
    def of(cls, name: str, distribution: BaseDistribution) -> KnobRange:
        """Return the range of one of Optuna's distributions."""
        written = json.loads(distribution_to_json(distribution))
        attributes, whole = written["attributes"], written["name"] == "IntDistribution"
        if "choices" in attributes:
            return cls(name, choices=attributes["choices"])
        return cls(name, attributes["low"], attributes["high"], bool(attributes.get("log")), whole)

    def parse(self, text: str) -> Any:
        """Return the value that a run's parameter stands for. Raise `BadInputError` if it is none of the choices."""
        if not self.choices:
            return int(text) if self.whole else float(text)
        for choice in self.choices:
            if text_of(choice) == text:
                return choice
        raise BadInputError(f"{self.name} = {text!r} is none of its recorded choices: {self.text}")

    def place(self, value: float) -> float:
        """Return 0 at the lower bound and 1 at the upper one, on the knob's own scale."""
        if self.high <= self.low:
            return 0.5
        if self.log:
            return (math.log(value) - math.log(self.low)) / (math.log(self.high) - math.log(self.low))
        return (value - self.low) / (self.high - self.low)

    def edge(self, value: Any) -> str:
        """Return `lower` or `upper` if a value lies at that edge of the range, else nothing. Choices have no edges."""
        if self.choices or self.high <= self.low:
            return ""
        place = self.place(float(value))
        return "lower" if place < EDGE else "upper" if place > 1 - EDGE else ""

    @property
    def text(self) -> str:
        """The range in words: `0.001 to 0.3, log`; `relu, tanh`."""
        if self.choices:
            return ", ".join(map(text_of, self.choices))
        return f"{self.low:g} to {self.high:g}" + (", log" if self.log else "")


def joint_range(ranges: Sequence[KnobRange]) -> KnobRange:
    """Return the smallest range that holds all of these ranges of one knob. There must be at least one."""
    first = ranges[0]
    if first.choices:
        return KnobRange(first.name, choices=tuple(dict.fromkeys(choice for r in ranges for choice in r.choices)))
    low, high = min(r.low for r in ranges), max(r.high for r in ranges)
    return KnobRange(first.name, low, high, all(r.log for r in ranges), first.whole)


def ranges_at(space: Space, config: RunConfig) -> dict[str, KnobRange]:
    """Return each knob's range in a space at this config. Conditional knobs are there only if this config has them."""
    probe = SpaceProbe(config.knobs())
    space(probe, config)
    return {name: KnobRange.of(name, distribution) for name, distribution in sorted(probe.seen.items())}
