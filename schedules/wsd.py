"""Warm up, stay, fall: the rate is constant until the last part of the training (Hu et al. 2024)."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field

from knobs import Fraction, ScheduleConfig, part


@part
class WSD(ScheduleConfig):
    """Warm up, stay, fall (Hu et al. 2024). The constant part may be longer without a change of what came before it."""

    fall: Annotated[float, Field(gt=0, le=1)] = 0.2
    """Share of the steps, at the end, in which the rate falls."""
    shape: Literal["linear", "root"] = "linear"
    """linear: by equal amounts. root: by 1 - sqrt(share of the fall), steeper at first (Haegele et al. 2024)."""
    final: Fraction = 0.0
    """Factor at the end."""

    def after_warmup(self, step: int, total: int) -> float:
        """Return the factor at `step` of `total`."""
        begin = (1.0 - self.fall) * total
        if step <= begin:
            return 1.0
        done = min(1.0, (step - begin) / (total - begin))
        return self.final + (1.0 - self.final) * (1.0 - (done if self.shape == "linear" else math.sqrt(done)))
