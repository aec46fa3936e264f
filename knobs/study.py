"""A study: trials over one search space towards one metric."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import optuna

from knobs.config import RunConfig

Space = Callable[[optuna.trial.BaseTrial, RunConfig], RunConfig]
"""A search space: `(trial, baseline) -> RunConfig`, with Optuna's own suggest calls, each named by its knob."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """One file in `studies/` holds one of these; its docstring says what is searched and why."""

    baseline: RunConfig
    """Trial 0, and what every knob outside the space is held at."""
    space: Space
    metric: str
    """`val/<metric>`, read at the checkpoint that validation chose."""
    direction: Literal["maximize", "minimize"]
    trials: int = 20
    """Budget, unless `--trials` or `--timeout` says otherwise."""
    seed: int = 0
    """Seed of the search (a run's own seed is `RunConfig.seed`)."""
    lag: int = 4
    """Trial n is asked for with the trials 0..n-lag known, and nothing else."""
    sampler: str = "tpe"
    pruner: str = "median"
