"""The adding problem: the sum of two marked numbers in a long sequence, a test of memory."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from knobs import Count, DataConfig, DataSpec, Split, Splits, part


@part
class Adding(DataConfig):
    """Hochreiter & Schmidhuber 1997, section 5.4: each step has a number, uniform in [0, 1], and a marker, 0 or 1.

    Two steps are marked, one in each half of the sequence, and the target is the sum of their numbers. A model that
    predicts the mean, 1, has the mean squared error 1/6, the variance of the target. Inputs hold the numbers centred
    and at variance 1, (u - 1/2) * sqrt(12); the target is the sum of the u themselves.
    """

    steps: Annotated[int, Field(ge=2)] = 50
    """Length T of every sequence."""
    samples: Annotated[int, Field(ge=10)] = 20_000
    """Training sequences."""
    evaluation: Count = 1000
    """Sequences of the validation split, and of the test split."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Fixes numbers and markers."""

    def spec(self) -> DataSpec:
        """Return the spec: a sequence of two features; one number to predict."""
        return DataSpec(task="regression", layout="sequence", shape=(self.steps, 2), outputs=1, metric="r2")

    def files(self) -> list[str]:
        """Return no file: the samples are drawn."""
        return []

    def load(self) -> Splits:
        """Draw the three splits in turn."""
        random = np.random.default_rng(self.seed)
        train, val, test = (self._draw(random, rows) for rows in (self.samples, self.evaluation, self.evaluation))
        return Splits(train=train, val=val, test=test)

    def _draw(self, random: np.random.Generator, rows: int) -> Split:
        """Draw x (rows, steps, 2), number and marker, and y (rows, 1)."""
        numbers = random.random((rows, self.steps))
        half, row = self.steps // 2, np.arange(rows)
        first, second = random.integers(0, half, rows), random.integers(half, self.steps, rows)
        markers = np.zeros_like(numbers)
        markers[row, first] = markers[row, second] = 1.0
        x = np.stack([(numbers - 0.5) * np.sqrt(12), markers], axis=2).astype(np.float32)
        return Split(x, (numbers[row, first] + numbers[row, second]).astype(np.float32)[:, None])
