"""Checks of data sets: they load, twice the same, and are what their spec says."""

from __future__ import annotations

import functools

import numpy as np

from knobs.checks.check import FailedCheckError
from knobs.config import METRICS, DataConfig, DataSpec, Split, Splits
from knobs.data import hash_splits
from knobs.data.files_read import load_arrays
from knobs.user_code import line_of


@functools.lru_cache(maxsize=4)
def loaded_splits(config: DataConfig) -> Splits:
    """Return the arrays of a data set. The last few are kept. Raise `BadInputError` if it does not load."""
    return load_arrays(config).splits


def check_spec(config: DataConfig, splits: Splits | None = None) -> str:
    """Raise `FailedCheckError` if the arrays are not what the spec says, or hold no full batch. Return their sizes.

    `splits` are the arrays, if they are loaded already.
    """
    spec, splits = config.spec(), splits or loaded_splits(config)
    if spec.metric not in ("loss", *METRICS[spec.task]):
        raise _failed(config, f"its metric {spec.metric!r} is none of the task {spec.task}")
    for name, split in splits.items():
        if reason := _difference(spec, split):
            raise _failed(config, f"{name} {reason}")
    if len(splits.train.x) < config.batch_size:
        raise _failed(config, f"train has {len(splits.train.x)} rows, less than one batch of {config.batch_size}")
    return ", ".join(f"{name} {len(split.x):,}" for name, split in splits.items())


def check_loads_twice(config: DataConfig, splits: Splits | None = None) -> str:
    """Raise `FailedCheckError` if a second load gives other arrays: it draws without a fixed seed."""
    if hash_splits(load_arrays(config).splits) != hash_splits(splits or loaded_splits(config)):
        raise _failed(config, "two loads differ: load() draws without a fixed seed, or reads what changes")
    return "twice the same"


def _failed(config: DataConfig, reason: str) -> FailedCheckError:
    place = line_of(type(config).load)
    return FailedCheckError(f"{place}: data.{config.kind}: {reason}" if place else f"data.{config.kind}: {reason}")


def _difference(spec: DataSpec, split: Split) -> str:
    """Return how a split differs from the spec, in words; empty if it does not."""
    rows, steps = len(split.x), spec.shape[: int(spec.per_step)]
    classes = spec.task == "multiclass"
    shape = (rows, *steps) if classes else (rows, spec.outputs)
    if not rows:
        return "is empty"
    if split.x.shape != (rows, *spec.shape):
        return f"x has shape {split.x.shape}, not {(rows, *spec.shape)}"
    if split.y.shape != shape:
        return f"y has shape {split.y.shape}, not {shape}"
    for word, array in (("x", split.x), ("y", split.y)):
        bad = np.argwhere(~np.isfinite(array)) if array.dtype.kind in "fc" else np.empty((0, 1), dtype=int)
        if len(bad):
            return f"{word} holds a value that is not finite (row {bad[0][0]})"
    if classes and (split.y.min() < 0 or split.y.max() >= spec.outputs):
        return f"y holds {int(split.y.min())} to {int(split.y.max())}; its {spec.outputs} classes are numbered from 0"
    if spec.task == "binary" and not np.isin(split.y, (0, 1)).all():
        return f"y holds {sorted(set(np.unique(split.y).tolist()))[:4]}; binary labels are 0 and 1"
    if spec.tokens and (split.x.min() < 0 or split.x.max() >= spec.tokens):
        return f"x holds token numbers outside of 0 to {spec.tokens - 1}"
    return ""
