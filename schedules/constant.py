"""The peak rate throughout."""

from __future__ import annotations

from knobs import ScheduleConfig, part


@part
class Constant(ScheduleConfig):
    """The peak rate throughout."""

    def after_warmup(self, step: int, total: int) -> float:
        """Return the factor at `step` of `total`."""
        return 1.0
