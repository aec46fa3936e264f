"""Say what is odd about a data set, one line each: leaks, empty classes, useless features, wild scales. NumPy only.

Nothing here is an error: a constant pixel is no fault of a camera. The lines are computed once for each fingerprint.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from knobs.data.checks import pieces

if TYPE_CHECKING:
    from knobs.config import Array, DataSpec, Splits

ALONE = 0.99
"""A feature that explains the targets better than this, alone, is probably made from them."""

SAMPLED_ROWS, SAMPLED_NUMBERS = 20_000, 1 << 25
"""At most so many training rows, and numbers in them, are looked at feature by feature; taken evenly."""

SCREENED = 200
"""Rows of each class on which every feature is tried; promising ones are tried on all rows."""

SCALE = (0.05, 20.0)
"""Standard deviations of a regression target for which default learning rates were made."""

LISTED = 5
"""Numbers that a line lists."""


def warnings_about(spec: DataSpec, splits: Splits) -> list[str]:
    """Return a line for each oddity of checked arrays, without the data set's name."""
    most = max(2, min(SAMPLED_ROWS, SAMPLED_NUMBERS // spec.features))
    step = -(-len(splits.train.x) // most)
    x = np.asarray(splits.train.x[::step], dtype=np.float32).reshape(-1, spec.features)
    y = np.asarray(splits.train.y[::step])
    varying = x.max(0) > x.min(0)
    return [
        *_shared_rows(splits),
        *_constant_features(spec, splits.train.x, ~varying),
        *_telling_features(spec, x[:, varying], y, np.flatnonzero(varying)),
        *_classes(spec, splits),
        *_scales(spec, splits),
    ]


def row_hashes(x: Array) -> Array:
    """Return a 64-bit hash of each row: (rows,) uint64. Equal rows have equal hashes; others differ, but for luck."""
    found = np.empty(len(x), dtype=np.uint64)
    width = -(-x[:1].nbytes // 4)
    odd = np.random.default_rng(0).integers(0, 2**63, width, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    for begin, rows in pieces(x):
        lanes = np.ascontiguousarray(rows).reshape(len(rows), -1).view(np.uint32)
        mixed = (lanes ^ (lanes >> np.uint32(16))).astype(np.uint64) @ odd  # whole numbers end in zero bits
        found[begin : begin + len(rows)] = mixed ^ (mixed >> np.uint64(32))
    return found


def _shared_rows(splits: Splits) -> list[str]:
    """Count the rows of every other split whose inputs are in train too."""
    train, lines = np.unique(row_hashes(splits.train.x)), []
    for name, split in splits.items()[1:]:
        if split.x.dtype == splits.train.x.dtype:
            hashes = row_hashes(split.x)
            place = np.minimum(np.searchsorted(train, hashes), len(train) - 1)
            shared = int((train[place] == hashes).sum())
            if shared:
                lines.append(f"{shared} of {len(hashes)} rows of {name} are rows of train too")
    return lines


def _constant_features(spec: DataSpec, x: Array, seems: Array) -> list[str]:
    """Name features that are the same in all training rows: of a vector; of all steps; channels of an image.

    `seems`: which numbers of a row are constant in a sample of the rows.
    """
    for _, rows in pieces(x) if seems.any() else ():
        seems = seems & (rows == x[:1]).all(0).reshape(-1)
    shaped = seems.reshape(spec.shape)
    if spec.layout == "image":
        constant, word = shaped.all((1, 2)), "channel"
    else:
        constant, word = shaped.all(0) if spec.layout == "sequence" else shaped, "feature"
    found = np.flatnonzero(constant)
    if not len(found):
        return []
    several = "s are" if len(found) > 1 else " is"
    return [f"{len(found)} of {constant.size} {word}{several} constant in train: {_listed(found)}"]


def _telling_features(spec: DataSpec, x: Array, y: Array, names: Array) -> list[str]:
    """Name features each of which predicts the targets alone: by their order (binary) or on a line."""
    if spec.features == 1 or spec.per_step or spec.tokens or not x.size:
        return []
    lines = []
    for target in range(1 if y.ndim == 1 else y.shape[1]):
        wanted = (y if y.ndim == 1 else y[:, target]).astype(np.float64)
        if wanted.min() == wanted.max():
            continue
        of = f" of target {target}" if spec.task == "regression" and spec.outputs > 1 else ""
        squared = _squared_correlations(x, wanted)
        scores, metric = squared, "R2"
        if spec.task == "binary":
            metric, scores = "AUROC", _aurocs(x, wanted)
        if spec.task == "multiclass":
            of = " of the class number"
        for feature in np.flatnonzero(scores > ALONE)[:LISTED]:
            place = ", ".join(map(str, np.unravel_index(names[feature], spec.shape)))
            lines.append(f"feature {place} alone gives {metric} {scores[feature]:.4f}{of} in train")
    return lines


def _squared_correlations(x: Array, wanted: Array) -> Array:
    """Return the squared correlation of each column of x (rows, features) with the target: (features,)."""
    centred = wanted - wanted.mean()
    deviations = x.std(0, dtype=np.float64)
    means = x.mean(0, dtype=np.float64)
    products = centred.astype(np.float32) @ x / len(x) - centred.mean() * means
    return np.asarray((products / np.maximum(deviations * centred.std(), 1e-30)) ** 2)


def _aurocs(x: Array, labels: Array) -> Array:
    """Return the AUROC of each column of x (rows, features); 0 if a few hundred rows show that it is far from 1."""
    few = np.concatenate([np.flatnonzero(labels == label)[:SCREENED] for label in (0, 1)])
    scores = np.zeros(x.shape[1])
    for feature in range(x.shape[1]):
        if _auroc(x[few, feature], labels[few]) > ALONE - 0.03:
            scores[feature] = _auroc(x[:, feature], labels)
    return scores


def _auroc(scores: Array, labels: Array) -> float:
    """Return the area under the ROC curve of a score or of its negative, whichever is greater; ties count half."""
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
    positive = labels == 1
    ones, zeros = int(positive.sum()), int((~positive).sum())
    area = (float(ranks[positive].sum()) - ones * (ones + 1) / 2) / (ones * zeros)
    return max(area, 1.0 - area)


def _classes(spec: DataSpec, splits: Splits) -> list[str]:
    """Name classes without a training sample; for two classes, also test splits that lack one."""
    if spec.task == "regression":
        return []
    classes, lines = spec.outputs if spec.task == "multiclass" else 2, []
    for name, split in splits.items():
        missing = np.setdiff1d(np.arange(classes), np.unique(split.y))
        if name == "train" and len(missing):
            lines.append(f"train holds no sample of {len(missing)} of {classes} classes: {_listed(missing)}")
        elif spec.task == "binary" and len(missing):
            lines.append(
                f"{name} holds no sample of class {missing[0]}: auroc and average_precision mean nothing there"
            )
    return lines


def _scales(spec: DataSpec, splits: Splits) -> list[str]:
    """Name targets of a regression whose mean or deviation is far from that of a standardised one."""
    if spec.task != "regression":
        return []
    y, lines = np.asarray(splits.train.y, dtype=np.float64), []
    for target, (mean, deviation) in enumerate(zip(y.mean(0), y.std(0), strict=True)):
        name = f"target {target}" if spec.outputs > 1 else "the target"
        if deviation == 0:
            lines.append(f"{name} is constant in train: {mean:g}")
        elif not SCALE[0] <= deviation <= SCALE[1] or abs(mean) > SCALE[1]:
            lines.append(
                f"{name} has mean {mean:.3g} and deviation {deviation:.3g} in train; networks start near 0 and 1"
            )
    return lines


def _listed(numbers: Sequence[int] | Array) -> str:
    shown = ", ".join(str(int(number)) for number in numbers[:LISTED])
    return shown + (", ..." if len(numbers) > LISTED else "")
