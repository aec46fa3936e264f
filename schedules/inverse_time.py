"""1 / (1 + rate * step), the decay under which SGD converges (Robbins & Monro 1951)."""

from __future__ import annotations

from knobs import NonNegative, ScheduleConfig, part


@part
class InverseTime(ScheduleConfig):
    """1 / (1 + rate * step), the decay under which SGD converges (Robbins & Monro 1951)."""

    rate: NonNegative = 0.01
    """Decay per optimizer step."""

    def after_warmup(self, step: int, total: int) -> float:
        """Return the factor at `step` of `total`."""
        return 1.0 / (1.0 + self.rate * step)
