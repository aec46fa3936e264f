"""Half a cosine from 1 to `final` (Loshchilov & Hutter 2017, without restarts)."""

from __future__ import annotations

import math

from knobs import Fraction, ScheduleConfig, part


@part
class Cosine(ScheduleConfig):
    """Half a cosine from 1 to `final` (Loshchilov & Hutter 2017, without restarts)."""

    final: Fraction = 0.0
    """Factor at the end."""

    def after_warmup(self, step: int, total: int) -> float:
        """Return the factor at `step` of `total`."""
        return self.final + (1.0 - self.final) * 0.5 * (1.0 + math.cos(math.pi * min(1.0, step / total)))
