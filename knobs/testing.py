"""Checks of content for your own tests: the same ones that `knobs check` does.

All of a project's files, each check a test of its own:

    import pytest
    from knobs.testing import Check, project_checks

    @pytest.mark.parametrize("check", project_checks(), ids=str)
    def test_project(check: Check) -> None:
        check()

Single checks take what they are about: `check_fits_one_batch(MLP(), spec, splits.train)`. Each returns what it found,
in words, and raises `FailedCheckError` or `BadInputError`, with the file and line, if it fails.
"""

from __future__ import annotations

from knobs.checks.ablations import check_ablation, check_cells_build, check_derived, check_extra_splits
from knobs.checks.check import Check, FailedCheckError
from knobs.checks.data_sets import check_loads_twice, check_spec, loaded_splits
from knobs.checks.models import check_fits_one_batch, check_gradients, check_outputs
from knobs.checks.objectives import check_loss, check_metrics
from knobs.checks.optimizers import check_optimizer
from knobs.checks.project import project_checks
from knobs.checks.schedules import check_schedule
from knobs.checks.studies import check_draws_build, check_study

__all__ = [
    "Check",
    "FailedCheckError",
    "check_ablation",
    "check_cells_build",
    "check_derived",
    "check_draws_build",
    "check_extra_splits",
    "check_fits_one_batch",
    "check_gradients",
    "check_loads_twice",
    "check_loss",
    "check_metrics",
    "check_optimizer",
    "check_outputs",
    "check_schedule",
    "check_spec",
    "check_study",
    "loaded_splits",
    "project_checks",
]
