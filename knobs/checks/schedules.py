"""Checks of schedules: a factor from 0 to 1 at every step, the same at every call."""

from __future__ import annotations

from knobs.checks.check import FailedCheckError
from knobs.config import ScheduleConfig
from knobs.user_code import line_of

LENGTHS = (1, 7, 100)
"""Optimizer steps of the trainings that are tried."""


def check_schedule(schedule: ScheduleConfig) -> str:
    """Raise `FailedCheckError` if a factor is no number from 0 to 1, if all are 0, or if a second call differs."""
    place = line_of(type(schedule).after_warmup)
    about = f"{place}: schedule.{schedule.kind}" if place else f"schedule.{schedule.kind}"
    for length in LENGTHS:
        factors = [schedule.factor(step, length) for step in range(length)]
        for step, factor in enumerate(factors):
            if not isinstance(factor, int | float) or not 0 <= factor <= 1:
                raise FailedCheckError(f"{about}: factor {factor!r} at step {step} of {length}; expected 0 to 1")
        if not any(factors):
            raise FailedCheckError(f"{about}: its factor is 0 at every step of {length}")
        if factors != [schedule.factor(step, length) for step in reversed(range(length))][::-1]:
            raise FailedCheckError(f"{about}: a second call gives other factors; it must depend on the step alone")
    return f"from {factors[0]:.3g} to {factors[-1]:.3g} over {length} steps"
