"""Sparse features: binary features whose frequency falls as a power law, few of them on; a logistic target."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated

import numpy as np
from pydantic import Field

from knobs.config import Count, DataConfig, Positive, part
from knobs.data import DataSpec, Split, Splits
from knobs.errors import BadInputError

VALIDATION, TEST = 4000, 2000


@part
class SparseFeatures(DataConfig):
    """Feature j is on with probability min(1/2, j^-exponent), independently; the target is drawn from a logistic model.

    The model's weights are standard normal whatever the feature's frequency, so that rare features matter as much where
    they occur. One pass over the training samples takes samples / batch_size steps.
    """

    batch_size: Count = 4
    """Samples in each optimizer step; the last, incomplete batch of an epoch is left out."""
    samples: Annotated[int, Field(ge=100)] = 8000
    """Training samples; validation gets 4,000 and test 2,000."""
    features: Annotated[int, Field(ge=16)] = 1000
    """Features of a sample."""
    exponent: Annotated[float, Field(ge=0, le=4)] = 1.0
    """How fast frequency falls: 1 is Zipf's law, 0 makes all features as frequent as one another."""
    signal: Positive = 10.0
    """Standard deviation of the true logit; the greater, the less is left to chance."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Fixes weights, samples and targets."""

    def spec(self) -> DataSpec:
        """A vector of features; two classes."""
        return DataSpec(task="binary", layout="vector", shape=(self.features,), outputs=1, metric="auroc")

    def load(self) -> Splits:
        """Draw; a sample that has been drawn before is drawn again, and all features are divided by one number."""
        random = np.random.default_rng(self.seed)
        total = self.samples + VALIDATION + TEST
        frequency = np.minimum(0.5, np.arange(1.0, self.features + 1) ** -self.exponent)
        weights = random.standard_normal(self.features)
        on = self._distinct(random, frequency, total)
        # the logit's mean and deviation as the frequencies give them
        logit = (on - frequency) @ weights * self.signal / np.sqrt(weights**2 @ (frequency * (1 - frequency)))
        y = (random.random(total) < 0.5 * (1.0 + np.tanh(0.5 * logit))).astype(np.float32)[:, None]
        # one scale for all, so that an absent feature stays 0 and a rare one stays small on average
        x = on.astype(np.float32) / np.float32(on[: self.samples].std())
        ends = (0, self.samples, self.samples + VALIDATION, total)
        train, val, test = (Split(x[a:b].copy(), y[a:b].copy()) for a, b in pairwise(ends))
        return Splits(train=train, val=val, test=test)

    def _distinct(
        self, random: np.random.Generator, frequency: np.ndarray[tuple[int], np.dtype[np.float64]], total: int
    ) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
        """`total` different rows, in the order drawn."""
        rows = np.empty((0, self.features), dtype=np.bool_)
        for _ in range(10):
            rows = np.concatenate([rows, random.random((total, self.features), dtype=np.float32) < frequency])
            _, first = np.unique(np.packbits(rows, axis=1), axis=0, return_index=True)
            rows = rows[np.sort(first)]
            if len(rows) >= total:
                return rows[:total]
        raise BadInputError(
            f"data.exponent = {self.exponent:g}: {self.features} features so rare make no {total} different samples"
        )
