"""The rate is multiplied by `gamma` at `drops` evenly spaced points."""

from __future__ import annotations

from knobs import Count, Positive, ScheduleConfig, part


@part
class Step(ScheduleConfig):
    """The rate is multiplied by `gamma` at `drops` evenly spaced points."""

    gamma: Positive = 0.1
    """Factor of each drop."""
    drops: Count = 2
    """Number of drops: after 1/(drops+1), 2/(drops+1), ... of the steps."""

    def after_warmup(self, step: int, total: int) -> float:
        """Return the factor at `step` of `total`."""
        return self.gamma ** min(self.drops, step * (self.drops + 1) // total)
