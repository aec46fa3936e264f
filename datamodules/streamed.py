"""A synthetic set that may be larger than memory: it is made, stored and read one shard at a time."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from knobs import Count, DataConfig, DataSpec, NonNegative, Split, Splits, on_disk, part

CLASSES = 10
HELD = 2000
"""Samples of the validation split, and of the test split; both are in memory."""


@part
class Streamed(DataConfig):
    """Standard normal features. The class is the greatest output of a fixed random tanh teacher plus noise.

    A run holds two shards of the training split in memory, whatever the split's size.
    """

    samples: Annotated[int, Field(ge=1000)] = 50_000
    """Training samples. Each takes 4 bytes per feature on disk."""
    features: Count = 32
    """Features of a sample."""
    shard: Annotated[int, Field(ge=100)] = 5000
    """Training samples in a shard. One shard is in memory, or two if a batch ends in the next one."""
    noise: NonNegative = 0.1
    """Standard deviation of the noise on the teacher's outputs, which have a standard deviation of about 1."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Fixes teacher, inputs and noise."""

    def spec(self) -> DataSpec:
        """Return the spec: a vector; ten classes; read in shards."""
        return DataSpec(
            task="multiclass",
            layout="vector",
            shape=(self.features,),
            outputs=CLASSES,
            metric="accuracy",
            shard=self.shard,
        )

    def files(self) -> list[str]:
        """Return no file: the samples are drawn."""
        return []

    def load(self) -> Splits:
        """Draw one shard after the other into files."""
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
