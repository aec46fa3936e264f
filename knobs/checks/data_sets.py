"""Checks of data sets: they load, twice the same, and are what their spec says."""

from __future__ import annotations

import functools

from knobs.checks.check import FailedCheckError
from knobs.config import DataConfig, Splits, metric_names, usual_objective
from knobs.data import hash_splits
from knobs.data.loading import load_checked
from knobs.user_code import line_of


@functools.lru_cache(maxsize=4)
def loaded_splits(config: DataConfig) -> Splits:
    """Return the arrays of a data set. The last few are kept. Raise `BadInputError` if it does not load."""
    return load_checked(config)


def check_spec(config: DataConfig, splits: Splits | None = None) -> str:
    """Raise `FailedCheckError` if the spec names no metric of its task, or train holds no full batch. Return the sizes.

    Loading has checked the arrays against the spec already.

    `splits` are the arrays, if they are loaded already.
    """
    spec, splits = config.spec(), splits or loaded_splits(config)
    if spec.metric not in {*usual_objective(spec.task).recorded_metrics(spec), *metric_names(spec)}:
        raise _failed(config, f"its metric {spec.metric!r} is none of the task {spec.task}")
    if len(splits.train.x) < config.batch_size:
        raise _failed(config, f"train has {len(splits.train.x)} rows, less than one batch of {config.batch_size}")
    return ", ".join(f"{name} {len(split.x):,}" for name, split in splits.items())


def check_loads_twice(config: DataConfig, splits: Splits | None = None) -> str:
    """Raise `FailedCheckError` if a second load gives other arrays: it draws without a fixed seed."""
    if hash_splits(load_checked(config)) != hash_splits(splits or loaded_splits(config)):
        raise _failed(config, "two loads differ: load() draws without a fixed seed, or reads what changes")
    return "twice the same"


def _failed(config: DataConfig, reason: str) -> FailedCheckError:
    place = line_of(type(config).load)
    return FailedCheckError(f"{place}: data.{config.kind}: {reason}" if place else f"data.{config.kind}: {reason}")
