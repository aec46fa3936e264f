"""A study: trials over one search space towards one metric and direction."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, distribution_to_json

from knobs.config import Direction, RunConfig, metric_names
from knobs.errors import BadInputError, nearest
from knobs.search.grid import grid_points, grid_size
from knobs.search.optuna_internals import SpaceProbe
from knobs.search.replicates import Replicates
from knobs.search.samplers import check_pruner, check_sampler

optuna.logging.set_verbosity(optuna.logging.ERROR)
warnings.filterwarnings("ignore", "Choices for a categorical distribution", UserWarning)  # tuples: stored as text

Space = Callable[[optuna.trial.BaseTrial, RunConfig], RunConfig]
"""A search space: `(trial, baseline) -> RunConfig`. It uses Optuna's suggest calls, each named by its knob."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """One study. A file in `studies/` holds one; the file's docstring says what is searched and why."""

    baseline: RunConfig
    """The config to start from. It fixes every knob outside the space."""
    space: Space
    metric: str
    """`val/<metric>`, read at the checkpoint that validation chose."""
    direction: Direction
    trials: int = 20
    """Number of trials, unless `--trials` or `--timeout` says otherwise."""
    seed: int = 0
    """Seed of the search. A run's own seed is `RunConfig.seed`."""
    feedback_lag: int = 4
    """Trial n sees the trials 0 to n - feedback_lag, and nothing else, at any number of workers."""
    baseline_first: bool = True
    """Trial 0 is the baseline. If false, it is drawn like the others."""
    sampler: str = "tpe"
    """tpe, gp, cmaes and nsga2 learn from earlier trials; qmc (quasi-random), random and grid do not."""
    pruner: str = ""
    """Ends bad trials early: median, hyperband and halving by their curves, wilcoxon by their replicates. If empty:
    median; none if a trial has replicates."""
    replicates: Replicates = field(default_factory=Replicates)
    """Trainings of each trial under other seeds, folds or time windows. The trial's value is their mean."""

    def __post_init__(self) -> None:
        if not self.pruner:
            object.__setattr__(self, "pruner", "median" if self.replicates.count == 1 else "none")
        check_goal(self.metric, self.direction, self.baseline)
        if self.trials < 1 or self.feedback_lag < 1:
            raise BadInputError("a study needs at least 1 trial and a feedback lag of at least 1")
        check_sampler(self.sampler)
        check_pruner(self.pruner, self.replicates.count)
        space = self.space_at_baseline()
        self.replicates.check(self.baseline, space)
        if self.sampler == "grid":
            grid_size(space)

    def space_at_baseline(self) -> dict[str, BaseDistribution]:
        """Return each knob that the space suggests at the baseline, with its distribution.

        Raise `BadInputError` if the baseline lies outside its own space.
        """
        probe = SpaceProbe(self.baseline.knobs())
        config = self.space(probe, self.baseline)
        if not isinstance(config, RunConfig):
            raise BadInputError(f"a space must return a RunConfig, not {type(config).__name__}")
        if config != self.baseline:
            knobs = config.knobs()
            off = next(k for k, v in self.baseline.knobs().items() if knobs.get(k, ...) != v)
            raise BadInputError(f"the baseline lies outside its own space at {off}")
        return probe.seen

    def possible_trials(self, asked: int) -> int:
        """Return how many of `asked` trials there can be: a grid ends after its last point."""
        return min(asked, grid_size(self.space_at_baseline())) if self.sampler == "grid" else asked

    def grid(self) -> list[dict[str, Any]]:
        """Return the values of every trial of a grid, by number."""
        first = self.baseline.knobs() if self.baseline_first else None
        return grid_points(self.space_at_baseline(), self.seed, first)

    def identity(self) -> dict[str, Any]:
        """Return what makes recorded trials comparable: everything but the budget. A change makes it another study."""
        return {
            "baseline": json.loads(self.baseline.to_json()),
            "space": {
                name: json.loads(distribution_to_json(d)) for name, d in sorted(self.space_at_baseline().items())
            },
            "metric": self.metric,
            "direction": self.direction,
            "seed": self.seed,
            "feedback_lag": self.feedback_lag,
            "baseline_first": self.baseline_first,
            "sampler": self.sampler,
            "pruner": self.pruner,
            "replicates": self.replicates.identity(),
        }


def check_goal(metric: Any, direction: Any, config: RunConfig) -> None:
    """Raise `BadInputError` if a run does not record a metric, or if its direction is that of the worse values."""
    if isinstance(metric, list | tuple) or isinstance(direction, list | tuple):
        raise BadInputError("a study has one metric and one direction; several objectives are not what knobs is for")
    recorded = {f"val/{name}": found for name, found in config.metrics.items()}
    if metric not in recorded:
        raise BadInputError(f"metric = {metric!r}: {not_recorded(str(metric), recorded, config)}")
    if direction not in ("maximize", "minimize"):
        raise BadInputError(f"direction = {direction!r}: either maximize or minimize")
    found = recorded[metric]
    if direction != found.direction:
        raise BadInputError(
            f"direction = {direction!r}: {metric} is better if it is {found.better}; use {found.direction}"
        )


def not_recorded(metric: str, recorded: Iterable[str], config: RunConfig) -> str:
    """Return that a run does not record `metric`, and the nearest one that it does, or how it would."""
    if metric.rpartition("/")[2] in metric_names(config.data.spec()):
        return "not recorded; add it to objective.extra_metrics"
    return f"not recorded by objective {config.objective.kind}" + nearest(metric, recorded)


def rank_trials(values: Mapping[int, float], direction: Direction) -> list[int]:
    """Return the numbers of trials, the best value first; of two equal values the earlier trial comes first."""
    sign = -1 if direction == "maximize" else 1
    return sorted(values, key=lambda number: (sign * values[number], number))
