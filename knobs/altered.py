"""What can be done to any data set: its positions reordered, some of its training labels wrong. NumPy only."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from knobs.disk import like
from knobs.errors import BadInputError

if TYPE_CHECKING:
    from knobs.config import DataConfig
    from knobs.data import DataSpec, Split, Splits

SEED = 20260
"""Of both draws, which are thus the same for every run: what a network meets, not what its seed decides."""

ROWS = 4096


def altered(splits: Splits, config: DataConfig) -> Splits:
    """The splits as `shuffle_features` and `label_noise` want them. Raises `BadInputError` for labels that are none."""
    spec = config.spec()
    if config.label_noise:
        splits = replace(splits, train=_noisy(splits.train, spec, config.label_noise))
    if config.shuffle_features:
        order = np.random.default_rng(SEED).permutation(_positions(spec))
        made = {name: replace(split, x=_reordered(split.x, order, spec)) for name, split in splits.items()}
        main = {name: made.pop(name) for name in ("train", "val", "test")}
        splits = replace(splits, **main, extra=made)
    return splits


def _positions(spec: DataSpec) -> int:
    """Features of a vector, steps of a sequence, pixels of an image."""
    return spec.shape[1] * spec.shape[2] if spec.layout == "image" else spec.shape[0]


def _reordered(x: np.ndarray[Any, Any], order: np.ndarray[Any, Any], spec: DataSpec) -> np.ndarray[Any, Any]:
    made = like(x)
    for begin in range(0, len(x), ROWS):  # a shard's worth at a time: the whole may not fit into memory
        rows = x[begin : begin + ROWS]
        pixels = rows.reshape(*rows.shape[:2], -1) if spec.layout == "image" else rows
        chosen = pixels[..., order] if spec.layout == "image" else pixels[:, order]
        made[begin : begin + ROWS] = chosen.reshape(rows.shape)
    return made


def _noisy(split: Split, spec: DataSpec, part: float) -> Split:
    """Exactly this part of the labels, rounded, each replaced by one of the other classes."""
    if spec.task == "regression":
        raise BadInputError(f"data.label_noise = {part}: a regression has no labels; leave it at 0")
    random = np.random.default_rng([SEED, 1])
    y = split.y.copy()
    flat = y.reshape(-1)
    chosen = random.choice(len(flat), round(part * len(flat)), replace=False)
    classes = spec.outputs if spec.task == "multiclass" else 2
    flat[chosen] = (flat[chosen] + random.integers(1, classes, len(chosen))) % classes
    return replace(split, y=y)
