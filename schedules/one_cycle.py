"""The rate rises from `start` to 1 by half a cosine, then falls to `final` (Smith & Topin 2019)."""

from __future__ import annotations

import math

from knobs import Fraction, ScheduleConfig, part


@part
class OneCycle(ScheduleConfig):
    """The rate rises from `start` to 1 by half a cosine, then falls to `final` (Smith & Topin 2019)."""

    rise: Fraction = 0.3
    """Fraction of the steps in which the rate rises."""
    start: Fraction = 0.04
    """Factor at the first step."""
    final: Fraction = 0.000004
    """Factor at the end."""

    def after_warmup(self, step: int, total: int) -> float:
        """Return the factor at `step` of `total`."""
        peak = self.rise * total
        low, done = (self.start, step / peak) if step < peak else (self.final, (total - step) / (total - peak))
        return low + (1.0 - low) * 0.5 * (1.0 - math.cos(math.pi * max(0.0, done)))
