"""The rate falls geometrically to `final` at the last step."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from knobs import ScheduleConfig, part


@part
class Exponential(ScheduleConfig):
    """The rate falls geometrically to `final` at the last step."""

    final: Annotated[float, Field(gt=0, le=1)] = 0.01
    """Factor at the end."""

    def after_warmup(self, step: int, total: int) -> float:
        """Return the factor at `step` of `total`."""
        return float(self.final ** (step / total))
