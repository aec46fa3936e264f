"""A share from 0 to 1 of a distribution's range, as a value and back. All choices and steps own equal shares."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution


def value_at(distribution: BaseDistribution, share: float) -> Any:
    """Return the value at a share of a distribution's range: its lower end at 0, its upper end at 1."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[_index(share, len(distribution.choices))]
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    if (count := number_of_steps(distribution)) is not None:
        return nth_step(distribution, _index(share, count))
    low, high = _edges(distribution)
    at = low + share * (high - low)
    value = math.exp(at) if distribution.log else at
    value = distribution.low if share == 0 else distribution.high if share == 1 else value
    inside = min(max(value, distribution.low), distribution.high)
    return round(inside) if isinstance(distribution, IntDistribution) else float(inside)


def share_of(distribution: BaseDistribution, value: Any) -> float:
    """Return the share at which `value_at` gives a number; of a whole number or a step, the middle of its shares."""
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    if (count := number_of_steps(distribution)) is not None:
        assert distribution.step is not None
        steps: int = round((value - distribution.low) / distribution.step)
        return (steps + 0.5) / count
    low, high = _edges(distribution)
    at = math.log(value) if distribution.log else float(value)
    return 0.5 if low == high else (at - low) / (high - low)


def number_of_steps(distribution: FloatDistribution | IntDistribution) -> int | None:
    """Return how many values lie a step apart; None for a range of all floats, and for one on a log scale."""
    if distribution.log or distribution.step is None:
        return None
    return round((distribution.high - distribution.low) / distribution.step) + 1


def nth_step(distribution: FloatDistribution | IntDistribution, index: int) -> float | int:
    """Return a value by its number of steps from the lower end: 0.3, not 0.30000000000000004."""
    if isinstance(distribution, IntDistribution):
        return distribution.low + index * distribution.step
    value = float(Decimal(str(distribution.low)) + index * Decimal(str(distribution.step)))
    return min(value, float(distribution.high))


def _index(share: float, count: int) -> int:
    return min(int(share * count), count - 1)


def _edges(distribution: FloatDistribution | IntDistribution) -> tuple[float, float]:
    """Return the ends of a range on its own scale. A whole number on a log scale owns what rounds to it."""
    margin = 0.5 if isinstance(distribution, IntDistribution) else 0.0
    low, high = distribution.low - margin, distribution.high + margin
    return (math.log(low), math.log(high)) if distribution.log else (low, high)
