"""Plans: which runs to train, in which order."""

from __future__ import annotations

from knobs.launch.plans.fixed_plan import FixedPlan
from knobs.launch.plans.plan import FinishedRun, Plan, PlannedRun

__all__ = ["FinishedRun", "FixedPlan", "Plan", "PlannedRun"]
