"""Sparse features: binary features whose frequency falls as a power law, with a logistic target."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated

import numpy as np
from pydantic import Field

from knobs import BadInputError, Count, DataConfig, DataSpec, Positive, Split, Splits, part

VALIDATION, TEST = 4000, 2000


@part
class SparseFeatures(DataConfig):
    """Feature j is on with probability min(1/2, j^-exponent), independently. A logistic model draws the target.

    The model's weights are standard normal for every frequency, so a rare feature matters as much as others if it
    occurs. One pass over the training samples takes samples / batch_size steps.
    """

    batch_size: Count = 4
    """Samples in each optimizer step. The last, incomplete batch of an epoch is left out."""
    samples: Annotated[int, Field(ge=100)] = 8000
    """Training samples. Validation has 4,000 and test 2,000."""
    features: Annotated[int, Field(ge=16)] = 1000
    """Features of a sample."""
    exponent: Annotated[float, Field(ge=0, le=4)] = 1.0
    """Exponent of the power law: 1 is Zipf's law, 0 makes all features equally frequent."""
    signal: Positive = 10.0
    """Standard deviation of the true logit. The greater it is, the less random the targets are."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Fixes weights, samples and targets."""

    def spec(self) -> DataSpec:
        """Return the spec: a vector of features; two classes."""
        return DataSpec(task="binary", layout="vector", shape=(self.features,), outputs=1, metric="auroc")

    def files(self) -> list[str]:
        """Return no file: the samples are drawn."""
        return []

    def load(self) -> Splits:
        """Draw samples without duplicates and divide all features by one number."""
        random = np.random.default_rng(self.seed)
        total = self.samples + VALIDATION + TEST
        frequency = np.minimum(0.5, np.arange(1.0, self.features + 1) ** -self.exponent)
        weights = random.standard_normal(self.features)
        on = self._distinct(random, frequency, total)
        # centre and scale the logit by the mean and deviation that the frequencies imply
        logit = (on - frequency) @ weights * self.signal / np.sqrt(weights**2 @ (frequency * (1 - frequency)))
        y = (random.random(total) < 0.5 * (1.0 + np.tanh(0.5 * logit))).astype(np.float32)[:, None]
        # one scale for all features: an absent feature stays 0, a rare one small on average
        x = on.astype(np.float32) / np.float32(on[: self.samples].std())
        ends = (0, self.samples, self.samples + VALIDATION, total)
        train, val, test = (Split(x[a:b].copy(), y[a:b].copy()) for a, b in pairwise(ends))
        return Splits(train=train, val=val, test=test)

    def _distinct(
        self, random: np.random.Generator, frequency: np.ndarray[tuple[int], np.dtype[np.float64]], total: int
    ) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
        """Draw `total` different rows, in the order of their first draw."""
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
