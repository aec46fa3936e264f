"""A knob of a search space as recorded: its bounds or choices, and where in them a value lies."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

EDGE = 0.05
"""A value within this part of the range, on the knob's own scale, lies at an edge."""


@dataclass(frozen=True)
class Knob:
    """One knob that a sampler chose."""

    name: str
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    choices: tuple[Any, ...] = ()
    """Instead of bounds."""

    def place(self, value: float) -> float:
        """0 at the lower bound, 1 at the upper, on the knob's own scale."""
        if self.high <= self.low:
            return 0.5
        if self.log:
            return (math.log(value) - math.log(self.low)) / (math.log(self.high) - math.log(self.low))
        return (value - self.low) / (self.high - self.low)

    def edge(self, value: Any) -> str:
        """`lower` or `upper` where a value lies at that edge of the space, else nothing; choices have no edges."""
        if self.choices or self.high <= self.low:
            return ""
        place = self.place(float(value))
        return "lower" if place < EDGE else "upper" if place > 1 - EDGE else ""

    @property
    def text(self) -> str:
        """`0.001 to 0.3, log`; `relu, tanh`."""
        if self.choices:
            return ", ".join(str(choice) for choice in self.choices)
        return f"{self.low:g} to {self.high:g}" + (", log" if self.log else "")


def union(knobs: Sequence[Knob]) -> Knob:
    """The smallest knob that holds all of these, one knob's in several spaces; there is at least one."""
    first = knobs[0]
    if first.choices:
        return Knob(first.name, choices=tuple(dict.fromkeys(choice for knob in knobs for choice in knob.choices)))
    low, high = min(knob.low for knob in knobs), max(knob.high for knob in knobs)
    return Knob(first.name, low, high, all(knob.log for knob in knobs))


def knob_of(name: str, told: Mapping[str, Any]) -> Knob:
    """From a distribution as Optuna writes it."""
    attributes = told["attributes"]
    if "choices" in attributes:
        return Knob(name, choices=tuple(attributes["choices"]))
    return Knob(name, attributes["low"], attributes["high"], bool(attributes.get("log")))
