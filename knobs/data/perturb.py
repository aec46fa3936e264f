"""Perturbations that any data set can have: reordered features and wrong training labels. NumPy only."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from knobs.config import SPLITS
from knobs.data.memmap import empty_like
from knobs.errors import BadInputError

if TYPE_CHECKING:
    from knobs.config import DataConfig, DataSpec, Split, Splits

SEED = 20260
"""Seed of both perturbations. It is fixed, so that every run sees the same perturbed data."""

ROWS = 4096
"""Samples that are reordered at a time."""


def perturb(splits: Splits, config: DataConfig) -> Splits:
    """Apply `shuffle_features` and `label_noise`. Raise `BadInputError` if noise is requested for a regression."""
    spec = config.spec()
    if config.label_noise:
        splits = replace(splits, train=_with_noise(splits.train, spec, config.label_noise))
    if config.shuffle_features:
        order = np.random.default_rng(SEED).permutation(_positions(spec))
        extra = {name: replace(split, x=_reordered(split.x, order, spec)) for name, split in splits.items()}
        main = {name: extra.pop(name) for name in SPLITS}
        splits = replace(splits, **main, extra=extra)
    return splits


def _positions(spec: DataSpec) -> int:
    """Return the number of a vector's features, a sequence's steps or an image's pixels."""
    return spec.shape[1] * spec.shape[2] if spec.layout == "image" else spec.shape[0]


def _reordered(x: np.ndarray[Any, Any], order: np.ndarray[Any, Any], spec: DataSpec) -> np.ndarray[Any, Any]:
    made = empty_like(x)
    for begin in range(0, len(x), ROWS):  # the whole array may not fit into memory
        rows = x[begin : begin + ROWS]
        pixels = rows.reshape(*rows.shape[:2], -1) if spec.layout == "image" else rows
        chosen = pixels[..., order] if spec.layout == "image" else pixels[:, order]
        made[begin : begin + ROWS] = chosen.reshape(rows.shape)
    return made


def _with_noise(split: Split, spec: DataSpec, share: float) -> Split:
    """Replace exactly this share of the labels (rounded), each by another class."""
    if spec.task == "regression":
        raise BadInputError(f"data.label_noise = {share}: a regression has no labels; leave it at 0")
    random = np.random.default_rng([SEED, 1])
    y = split.y.copy()
    flat = y.reshape(-1)
    chosen = random.choice(len(flat), round(share * len(flat)), replace=False)
    classes = spec.outputs if spec.task == "multiclass" else 2
    flat[chosen] = (flat[chosen] + random.integers(1, classes, len(chosen))) % classes
    return replace(split, y=y)
