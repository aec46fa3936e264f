"""Handwritten digits: 1,797 images of 8 by 8 pixels, from scikit-learn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from datamodules._splits import stratified
from knobs import DataConfig, DataSpec, Split, Splits, part

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@part
class Digits(DataConfig):
    """Images of 17 grey levels (Alpaydin & Kaynak 1998), ten classes. The random split keeps each class's share."""

    validation: Annotated[float, Field(gt=0, lt=0.5)] = 0.15
    """Fraction of the images in the validation split."""
    test: Annotated[float, Field(gt=0, lt=0.5)] = 0.2
    """Fraction of the images in the test split."""
    split_seed: Annotated[int, Field(ge=0)] = 0
    """Fixes the split of each image."""

    flat: bool = False
    """Give the 64 pixels as a vector, for networks of dense layers. Off: an image."""

    shift: Annotated[int, Field(ge=0, le=8)] = 0
    """Pixels by which training images are moved at random, up and down and sideways."""

    @property
    def augments(self) -> bool:
        """True if training images are moved, or a data set that builds on this one changes them."""
        return self.shift > 0 or type(self).augment is not Digits.augment

    def augment(self, x: Tensor, y: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return moved images. Gaps are filled with the mean grey level."""
        from knobs.data.augmentations import shift

        return shift(x.view(-1, 1, 8, 8), generator, self.shift).view(x.shape), y

    def spec(self) -> DataSpec:
        """Return the spec: one channel of 8 by 8, or 64 pixels if flat; ten classes."""
        if self.flat:
            return DataSpec(task="multiclass", layout="vector", shape=(64,), outputs=10, metric="accuracy")
        return DataSpec(task="multiclass", layout="image", shape=(1, 8, 8), outputs=10, metric="accuracy")

    def files(self) -> list[str]:
        """Return no file: the table is part of scikit-learn."""
        return []

    def load(self) -> Splits:
        """Read the images, subtract the mean of the training pixels and divide by their standard deviation."""
        from sklearn.datasets import load_digits

        bunch = load_digits()
        parts = stratified(bunch.data, bunch.target, self.validation, self.test, self.split_seed)
        pixels = bunch.data[parts[0]]
        scaled = ((bunch.data - pixels.mean()) / pixels.std()).astype(np.float32).reshape(-1, *self.spec().shape)
        train, val, test = (Split(scaled[rows], bunch.target[rows].astype(np.int64)) for rows in parts)
        return Splits(train=train, val=val, test=test)
