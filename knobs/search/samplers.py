"""Optuna's samplers and pruners by name."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable

import optuna

from knobs.config import RunConfig
from knobs.errors import BadInputError, nearest
from knobs.search.quasi_random import QuasiRandomSampler

LEARNS_FROM = {"tpe": 10, "gp": 10}
"""The first trial whose values follow from others', for samplers that learn; before it, they draw at random."""


def make_sampler(name: str, seed: int, number: int = 0, *, baseline_first: bool = True) -> optuna.samplers.BaseSampler:
    """Return the sampler of this name for one trial of a study of this seed. Raise `BadInputError` if there is none."""
    own = int.from_bytes(hashlib.sha256(f"{seed}/{number}".encode()).digest()[:4], "big")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made: dict[str, Callable[[], optuna.samplers.BaseSampler]] = {
            "tpe": lambda: optuna.samplers.TPESampler(seed=own, n_startup_trials=LEARNS_FROM["tpe"]),
            "qmc": lambda: QuasiRandomSampler(seed, number - baseline_first),
            "random": lambda: optuna.samplers.RandomSampler(seed=own),
            "gp": lambda: optuna.samplers.GPSampler(seed=own, n_startup_trials=LEARNS_FROM["gp"]),
        }
        if name not in made:
            raise BadInputError(f"no sampler named {name!r}" + nearest(name, made))
        return made[name]()


def make_pruner(name: str, baseline: RunConfig) -> optuna.pruners.BasePruner:
    """Return Optuna's pruner of this name, over optimizer steps. Raise `BadInputError` if there is none."""
    steps = baseline.training.max_steps
    made: dict[str, Callable[[], optuna.pruners.BasePruner]] = {
        "none": optuna.pruners.NopPruner,
        "median": lambda: optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=steps // 10),
        "hyperband": lambda: optuna.pruners.HyperbandPruner(max(1, steps // 27), steps, 3),
        "halving": lambda: optuna.pruners.SuccessiveHalvingPruner(max(1, steps // 27), 3),
    }
    if name not in made:
        raise BadInputError(f"no pruner named {name!r}" + nearest(name, made))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return made[name]()
