"""The `data` part, and the plain values that describe a data set: its spec and its splits of arrays. NumPy only."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

import numpy as np

from knobs.config.parts import Count, Fraction, KindedPart, part
from knobs.errors import BadInputError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

SPLITS = ("train", "val", "test")
"""The splits that every data set has."""

Task = Literal["regression", "binary", "multiclass"]
Layout = Literal["vector", "sequence", "image"]
Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, kw_only=True)
class DataSpec:
    """Shapes and task of a data set. Networks take their input and output sizes from it."""

    task: Task
    layout: Layout
    """vector: (features,); sequence: (steps, features); image: (channels, height, width)."""
    shape: tuple[int, ...]
    """Shape of one sample, without the batch."""
    outputs: int
    """Numbers the network returns for a sample: classes (multiclass), 1 (binary), targets (regression)."""
    metric: str
    """The metric that chooses checkpoints unless `training.monitor` names another."""
    tokens: int = 0
    """Size of the vocabulary if a sequence (steps, 1) holds token numbers; 0 if the numbers are quantities."""
    per_step: bool = False
    """One target per time step: `y` is (samples, steps), and networks return (batch, outputs, steps)."""
    shard: int = 0
    """Training samples read from disk at a time, if they do not all fit into memory; 0: all."""

    def __post_init__(self) -> None:
        ranks = {"vector": 1, "sequence": 2, "image": 3}
        if self.layout not in get_args(Layout) or len(self.shape) != ranks[self.layout]:
            raise BadInputError(f"a {self.layout} cannot have shape {self.shape}")
        if (self.tokens or self.per_step) and self.layout != "sequence":
            raise BadInputError(f"tokens and targets per step are for sequences, not for a {self.layout}")
        if self.per_step and self.task != "multiclass":
            raise BadInputError(f"a target per step must be a class; the task is {self.task}")
        if min((*self.shape, self.outputs)) < 1 or min(self.tokens, self.shard) < 0:
            raise BadInputError(f"sizes in a spec are at least 1: shape {self.shape}, outputs {self.outputs}")
        if self.task == "binary" and self.outputs != 1:
            raise BadInputError(f"a binary task has one output, not {self.outputs}; more classes are multiclass")

    @property
    def features(self) -> int:
        """Numbers in one sample."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Split:
    """`x`: (samples, *spec.shape) float32. `y`: (samples,) or (samples, steps) int64 for classes, else
    (samples, outputs) float32. Both may be float64 if they are that precise.

    `load` may return other types and axes of length one if no number changes: see `knobs.data.check_splits`."""

    x: Array
    y: Array


@dataclass(frozen=True, kw_only=True)
class Splits:
    """The three disjoint parts of a data set. Scaling statistics come from `train` alone."""

    train: Split
    val: Split
    test: Split
    extra: Mapping[str, Split] = field(default_factory=dict)
    """More test splits by name. They are read whenever `test` is, as `test/<name>/<metric>`."""

    def items(self) -> list[tuple[str, Split]]:
        """Return name and split, in the order train, val, test, then the extra ones."""
        return [("train", self.train), ("val", self.val), ("test", self.test), *self.extra.items()]


@part
class DataConfig(KindedPart):
    """A data set's knobs. Its kind is the name of its file in `datamodules/`."""

    part_name: ClassVar[str] = "data"

    batch_size: Count = 100
    """Samples per optimizer step. The last, incomplete batch of an epoch is left out."""
    shuffle_features: bool = False
    """Reorder features, time steps or pixels at random, in the same way for all samples."""
    label_noise: Fraction = 0.0
    """Share of the training labels that is replaced by another class at random. Validation and test stay clean."""

    def spec(self) -> DataSpec:
        """Return shapes and task. They follow from the knobs alone; nothing is loaded."""
        raise AssertionError(f"{type(self).__name__} does not define spec()")

    def load(self) -> Splits:
        """Make or read the arrays. Called once in each launch, unless `files` says that nothing has changed."""
        raise AssertionError(f"{type(self).__name__} does not define load()")

    def files(self) -> Iterable[str | Path] | None:
        """Promise that spec and arrays depend on the knobs, the code, the installed packages and these files alone.

        Return no file for data that are drawn. The arrays are then kept, and `load` is called again only if one of
        these has changed. None (the default) promises nothing: `load` is called in each launch. Relative paths are
        relative to the project.
        """
        return None

    def augment(self, x: Tensor, y: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return a changed training batch; `knobs.data.augmentations` has common changes.

        Batch and generator are on the run's device, floating-point numbers in its precision. Draw from `generator`
        alone: it is seeded by (seed, epoch, batch), so any step can be the first. `x` keeps its shape. Not called for
        validation and test.
        """
        del generator
        return x, y

    @property
    def augments(self) -> bool:
        """True if this data set changes its training batches. Overwrite it if that depends on a knob."""
        return type(self).augment is not DataConfig.augment

    def sample(self, network: nn.Module) -> str:
        """Return text made with a trained network, or nothing. Recorded as `sample.txt` when the test split is read.

        `network` is in evaluation mode, on its own device; gradients are off.
        """
        del network
        return ""
