"""The `schedule` part: the learning rate as a closed form of the step, so that resuming is exact."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from knobs.config.parts import KindedPart, part


@part
class ScheduleConfig(KindedPart):
    """A learning-rate schedule's knobs. Its kind is the name of its file in `schedules/`."""

    part_name: ClassVar[str] = "schedule"
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    """Optimizer steps over which the factor rises linearly from near 0 before the schedule begins."""

    def after_warmup(self, step: int, total: int) -> float:
        """Return the factor at `step` of `total`, both counted after the warm-up."""
        raise AssertionError(f"{type(self).__name__} does not define after_warmup()")

    def factor(self, step: int, max_steps: int) -> float:
        """Return the factor of the peak learning rate in optimizer step `step` (0-based) of `max_steps`."""
        if step < self.warmup_steps:
            return (step + 1) / (self.warmup_steps + 1)
        return self.after_warmup(step - self.warmup_steps, max(1, max_steps - self.warmup_steps))
