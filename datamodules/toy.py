"""A tiny synthetic set of any task and layout, for tests and first steps."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from knobs import Count, DataConfig, DataSpec, NonNegative, Split, Splits, part

SHAPES: dict[str, tuple[int, ...]] = {"vector": (8,), "sequence": (12, 2), "image": (1, 6, 6)}
CLASSES = 3


@part
class Toy(DataConfig):
    """Standard normal inputs. The target is a fixed random teacher of one tanh layer, with noise on its outputs."""

    batch_size: Count = 32
    """Samples in each optimizer step. The last, incomplete batch of an epoch is left out."""
    task: Literal["regression", "binary", "multiclass"] = "multiclass"
    """regression: two numbers. binary: the sign of one. multiclass: the greatest of three."""
    layout: Literal["vector", "sequence", "image"] = "vector"
    """vector: 8 features. sequence: 12 steps of 2 features. image: one channel of 6 by 6."""
    samples: Annotated[int, Field(ge=8)] = 256
    """Training samples. Validation and test have half as many each."""
    noise: NonNegative = 0.1
    """Standard deviation of the noise on the teacher's outputs, which have variance 1."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Fixes teacher, inputs and noise."""

    def spec(self) -> DataSpec:
        """Return the spec: shape and task as the knobs choose them."""
        outputs = {"regression": 2, "binary": 1, "multiclass": CLASSES}[self.task]
        metric = {"regression": "r2", "binary": "auroc", "multiclass": "accuracy"}[self.task]
        return DataSpec(task=self.task, layout=self.layout, shape=SHAPES[self.layout], outputs=outputs, metric=metric)

    def files(self) -> list[str]:
        """Return no file: the samples are drawn."""
        return []

    def load(self) -> Splits:
        """Draw the teacher and the samples."""
        spec = self.spec()
        random = np.random.default_rng(self.seed)
        inner = random.standard_normal((spec.features, 16)) / np.sqrt(spec.features)
        outer = random.standard_normal((16, spec.outputs))
        half = self.samples // 2
        total = self.samples + 2 * half
        x = random.standard_normal((total, spec.features))
        signal = np.tanh(x @ inner) @ outer
        signal = (signal - signal[: self.samples].mean(0)) / signal[: self.samples].std(0)
        signal += self.noise * random.standard_normal(signal.shape)
        if self.task == "regression":
            y = signal.astype(np.float32)
        elif self.task == "binary":
            y = (signal > 0).astype(np.float32)
        else:
            y = signal.argmax(1).astype(np.int64)
        shaped = x.astype(np.float32).reshape(total, *spec.shape)
        ends = (0, self.samples, self.samples + half, total)
        train, val, test = (Split(shaped[a:b].copy(), y[a:b].copy()) for a, b in pairwise(ends))
        return Splits(train=train, val=val, test=test)
