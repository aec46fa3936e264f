"""Learning-rate schedules as closed forms: the factor is a pure function of the step, so resuming is exact."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import Field

from knobs.part import Count, Fraction, NonNegative, Positive, ScheduleConfig, part


@part
class Constant(ScheduleConfig):
    """The peak rate throughout."""

    def after_warmup(self, step: int, total: int) -> float:
        return 1.0


@part
class Step(ScheduleConfig):
    """Multiplied by `gamma` at `drops` evenly spaced points."""

    gamma: Positive = 0.1
    """Factor of each drop."""
    drops: Count = 2
    """Number of drops: after 1/(drops+1), 2/(drops+1), ... of the steps."""

    def after_warmup(self, step: int, total: int) -> float:
        return self.gamma ** min(self.drops, step * (self.drops + 1) // total)


@part
class Exponential(ScheduleConfig):
    """Falls geometrically to `final` at the last step."""

    final: Annotated[float, Field(gt=0, le=1)] = 0.01
    """Factor at the end."""

    def after_warmup(self, step: int, total: int) -> float:
        return float(self.final ** (step / total))


@part
class InverseTime(ScheduleConfig):
    """1 / (1 + rate * step): the Robbins-Monro decay, under which SGD converges (Robbins & Monro 1951)."""

    rate: NonNegative = 0.01
    """Decay per optimizer step."""

    def after_warmup(self, step: int, total: int) -> float:
        return 1.0 / (1.0 + self.rate * step)


@part
class Cosine(ScheduleConfig):
    """Half a cosine from 1 to `final` (Loshchilov & Hutter 2017, without restarts)."""

    final: Fraction = 0.0
    """Factor at the end."""

    def after_warmup(self, step: int, total: int) -> float:
        return self.final + (1.0 - self.final) * 0.5 * (1.0 + math.cos(math.pi * min(1.0, step / total)))


@part
class OneCycle(ScheduleConfig):
    """Up from `start` to 1 by half a cosine, then down to `final` (Smith & Topin 2019)."""

    rise: Fraction = 0.3
    """Part of the steps in which the rate rises."""
    start: Fraction = 0.04
    """Factor at the first step."""
    final: Fraction = 0.000004
    """Factor at the end."""

    def after_warmup(self, step: int, total: int) -> float:
        peak = self.rise * total
        low, done = (self.start, step / peak) if step < peak else (self.final, (total - step) / (total - peak))
        return low + (1.0 - low) * 0.5 * (1.0 - math.cos(math.pi * max(0.0, done)))


KINDS: dict[str, type[ScheduleConfig]] = {
    c.kind: c for c in (Constant, Step, Exponential, InverseTime, Cosine, OneCycle)
}
