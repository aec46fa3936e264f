"""Sawtooth: Telgarsky's points, whose two classes alternate 2^k times on a line."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from knobs import Count, DataConfig, DataSpec, Split, Splits, part


@part
class Sawtooth(DataConfig):
    """x is uniform in (0, 1). The class is 1 if the tent map, applied `folds` times to x, is above 1/2.

    Telgarsky 2016: the iterated tent map is a ReLU network of depth `folds` and width 2, and a network of few layers
    needs exponentially many units to follow it. `experiments/_telgarsky.py` has the construction.
    """

    batch_size: Count = 100
    """Samples in each optimizer step. The last, incomplete batch of an epoch is left out."""
    folds: Annotated[int, Field(ge=1, le=12)] = 4
    """Applications of the tent map. The classes alternate along 2^folds + 1 intervals."""
    samples: Annotated[int, Field(ge=200)] = 3000
    """Training samples. Validation and test have a third as many each."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Fixes the samples and their split."""

    def spec(self) -> DataSpec:
        """Return the spec: a vector of one number; two classes with one output each."""
        return DataSpec(task="multiclass", layout="vector", shape=(1,), outputs=2, metric="accuracy")

    def files(self) -> list[str]:
        """Return no file: the samples are drawn."""
        return []

    def load(self) -> Splits:
        """Draw one sample at a random place in each of equal bins. x is scaled to mean 0 and deviation 1."""
        random = np.random.default_rng(self.seed)
        held = self.samples // 3
        total = self.samples + 2 * held
        place = (np.arange(total) + random.random(total)) / total
        y = (tent(place, self.folds) > 0.5).astype(np.int64)
        x = ((place - 0.5) * np.sqrt(12.0)).astype(np.float32)[:, None]
        order = random.permutation(total)
        train, val, test = (Split(x[rows], y[rows]) for rows in np.split(order, [self.samples, self.samples + held]))
        return Splits(train=train, val=val, test=test)


def tent(
    x: np.ndarray[tuple[int, ...], np.dtype[np.float64]], folds: int
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Apply the tent map min(2x, 2 - 2x) `folds` times, which makes a sawtooth of 2^(folds-1) teeth."""
    for _ in range(folds):
        x = np.minimum(2.0 * x, 2.0 - 2.0 * x)
    return x
