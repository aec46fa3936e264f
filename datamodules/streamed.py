"""A synthetic set that may be larger than memory: made, kept and read from disk a shard at a time."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from knobs.config import Count, DataConfig, NonNegative, part
from knobs.data import DataSpec, Split, Splits
from knobs.disk import on_disk

CLASSES = 10
HELD = 2000
"""Samples of the validation and of the test split, which lie in memory."""


@part
class Streamed(DataConfig):
    """Standard normal features; the class is which output of a fixed random tanh teacher, plus noise, is greatest.

    "We don't have to hold all of the data in memory": a run holds two shards of the training split, whatever its size.
    """

    samples: Annotated[int, Field(ge=1000)] = 50_000
    """Training samples: each takes 4 bytes a feature on disk."""
    features: Count = 32
    """Numbers in a sample."""
    shard: Annotated[int, Field(ge=100)] = 5000
    """Training samples that are in memory at a time (and one shard more, where a batch ends in the next)."""
    noise: NonNegative = 0.1
    """Standard deviation of the noise on the teacher's outputs, which have a standard deviation of about 1."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Fixes teacher, inputs and noise."""

    def spec(self) -> DataSpec:
        """A vector; ten classes; read in shards."""
        return DataSpec(
            task="multiclass",
            layout="vector",
            shape=(self.features,),
            outputs=CLASSES,
            metric="accuracy",
            shard=self.shard,
        )

    def load(self) -> Splits:
        """Draw a shard at a time into files."""
        random = np.random.default_rng([self.seed, 0])
        inner = random.standard_normal((self.features, 32)) / np.sqrt(self.features)
        outer = random.standard_normal((32, CLASSES)) / np.sqrt(32 * 0.39)  # E tanh(z)^2 = 0.39 for z ~ N(0, 1)

        def drawn(count: int, stream: int) -> tuple[np.ndarray, np.ndarray]:
            own = np.random.default_rng([self.seed, 1, stream])
            x = own.standard_normal((count, self.features), dtype=np.float32)
            outputs = np.tanh(x @ inner) @ outer + self.noise * own.standard_normal((count, CLASSES))
            return x, outputs.argmax(1).astype(np.int64)

        x, y = on_disk((self.samples, self.features), np.float32), on_disk((self.samples,), np.int64)
        for stream, begin in enumerate(range(0, self.samples, self.shard), start=2):
            rows = slice(begin, min(begin + self.shard, self.samples))
            x[rows], y[rows] = drawn(rows.stop - begin, stream)
        return Splits(train=Split(x, y), val=Split(*drawn(HELD, 0)), test=Split(*drawn(HELD, 1)))
