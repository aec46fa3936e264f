"""Directions and ranges of metrics as data: a report has no objective to ask."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from knobs.ablation import DERIVED
from knobs.config import Direction, RunConfig


@dataclass(frozen=True, kw_only=True)
class MetricDefinition:
    """The better direction of a metric, and its range; None: no bound."""

    direction: Direction
    low: float | None
    high: float | None

    @property
    def bounds(self) -> tuple[float, float]:
        """The lowest and the highest possible value."""
        low, high = self.low, self.high
        return -math.inf if low is None else low, math.inf if high is None else high


@dataclass(frozen=True, kw_only=True)
class MeasuredDefinition:
    """The metrics that runs of a study or an ablation record."""

    metrics: dict[str, MetricDefinition] = field(default_factory=dict)
    """By name."""

    def bounds(self, metric: str) -> tuple[float, float] | None:
        """Return the range of `test/accuracy` or `val/loss`; None if it is not known."""
        found = None if metric.startswith(DERIVED) else self.metrics.get(metric.rpartition("/")[2])
        return found.bounds if found else None


def define_metrics(configs: Iterable[RunConfig]) -> dict[str, MetricDefinition]:
    """Return the metrics of all runs; if they differ in the range of one, the widest."""
    found: dict[str, MetricDefinition] = {}
    for config in configs:
        for name, metric in config.metrics.items():
            low, high = metric.bounds
            if name in found:
                low, high = min(low, found[name].bounds[0]), max(high, found[name].bounds[1])
            found[name] = MetricDefinition(
                direction=metric.direction,
                low=low if math.isfinite(low) else None,
                high=high if math.isfinite(high) else None,
            )
    return found
