"""Samplers and pruners by name: Optuna's, and our own."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Mapping

import optuna
from optuna.distributions import BaseDistribution

from knobs.config import RunConfig
from knobs.errors import BadInputError, nearest
from knobs.search.evolution import CmaEsSampler
from knobs.search.quasi_random import QuasiRandomSampler

SAMPLERS = ("tpe", "gp", "cmaes", "qmc", "random", "grid", "nsga2")

BY_CURVE = ("median", "hyperband", "halving")
"""Pruners that end a training by its curve."""

PRUNERS = ("none", *BY_CURVE, "wilcoxon")

FEWEST_REPLICATES = 5
"""Wilcoxon's test of fewer than four pairs never reaches the pruner's 0.1; after the last, there is nothing to end."""

POPULATION = 10
"""Trials of a generation of nsga2. With Optuna's 50, a study of 100 trials would hardly learn."""

LEARNS_FROM = {"tpe": 10, "gp": 10, "cmaes": 4, "nsga2": POPULATION}
"""The first trial whose values follow from others', for samplers that learn; before it, they draw at random.

The first generation of cmaes is at least that large.
"""


def check_sampler(name: str) -> None:
    """Raise `BadInputError` if there is no sampler of this name."""
    if name not in SAMPLERS:
        raise BadInputError(f"no sampler named {name!r}" + nearest(name, SAMPLERS))


def make_sampler(
    name: str, space: Mapping[str, BaseDistribution], *, seed: int, number: int, point: int
) -> optuna.samplers.BaseSampler:
    """Return the sampler that chooses the values of one trial.

    `space` is the study's at its baseline, `seed` the study's, `number` the trial's; `point` is its place in a
    sequence, which may start after the baseline.
    """
    own = int.from_bytes(hashlib.sha256(f"{seed}/{number}".encode()).digest()[:4], "big")
    made: dict[str, Callable[[], optuna.samplers.BaseSampler]] = {
        "tpe": lambda: optuna.samplers.TPESampler(seed=own, n_startup_trials=LEARNS_FROM["tpe"]),
        "gp": lambda: optuna.samplers.GPSampler(seed=own, n_startup_trials=LEARNS_FROM["gp"]),
        "cmaes": lambda: CmaEsSampler(space, own),
        "qmc": lambda: QuasiRandomSampler(seed, point),
        "random": lambda: optuna.samplers.RandomSampler(seed=own),
        "grid": lambda: optuna.samplers.RandomSampler(seed=own),  # chooses nothing: each trial is given its point
        "nsga2": lambda: optuna.samplers.NSGAIISampler(seed=own, population_size=POPULATION),
    }
    return made[name]()


def check_pruner(name: str, replicates: int) -> None:
    """Raise `BadInputError` if there is no pruner of this name, or if it cannot end trials with so many replicates."""
    if name not in PRUNERS:
        raise BadInputError(f"no pruner named {name!r}" + nearest(name, PRUNERS))
    if name in BY_CURVE and replicates > 1:
        raise BadInputError(
            f"pruner = {name!r} compares curves, but a trial has {replicates} replicates, each with its own; "
            f"use wilcoxon, which compares replicates, or none"
        )
    if name == "wilcoxon" and replicates < FEWEST_REPLICATES:
        raise BadInputError(
            f"pruner = 'wilcoxon' ends a trial after its fourth replicate at the earliest, so it needs at least "
            f"{FEWEST_REPLICATES}, not {replicates}"
        )


def make_pruner(name: str, baseline: RunConfig) -> optuna.pruners.BasePruner:
    """Return Optuna's pruner of this name, over optimizer steps, or over the numbers of replicates for wilcoxon."""
    steps = baseline.training.max_steps
    made: dict[str, Callable[[], optuna.pruners.BasePruner]] = {
        "none": optuna.pruners.NopPruner,
        "median": lambda: optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=steps // 10),
        "hyperband": lambda: optuna.pruners.HyperbandPruner(max(1, steps // 27), steps, 3),
        "halving": lambda: optuna.pruners.SuccessiveHalvingPruner(max(1, steps // 27), 3),
        "wilcoxon": optuna.pruners.WilcoxonPruner,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return made[name]()
