"""Breast cancer, Wisconsin: 569 tumours, 30 features of their cells' nuclei, binary; from scikit-learn."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from datamodules._splits import stratified
from knobs.config import Count, DataConfig, part
from knobs.data import DataSpec, Split, Splits


@part
class BreastCancer(DataConfig):
    """Which tumour is malignant (37% are; Street et al. 1993), split at random with classes in proportion."""

    batch_size: Count = 32
    """Samples in each optimizer step; the last, incomplete batch of an epoch is left out."""
    validation: Annotated[float, Field(gt=0, lt=0.5)] = 0.2
    """Part of the tumours held for validation."""
    test: Annotated[float, Field(gt=0, lt=0.5)] = 0.2
    """Part of the tumours held for test."""
    split_seed: Annotated[int, Field(ge=0)] = 0
    """Fixes which tumours go where."""

    def spec(self) -> DataSpec:
        """30 numbers a tumour: mean, standard error and worst of ten measures; one output, 1 for malignant."""
        return DataSpec(task="binary", layout="vector", shape=(30,), outputs=1, metric="auroc")

    def load(self) -> Splits:
        """Read the table; scale each feature by its mean and standard deviation in the training split."""
        from sklearn.datasets import load_breast_cancer

        bunch = load_breast_cancer()
        malignant = (bunch.target == 0).astype(np.float32)  # the package calls the benign ones 1
        parts = stratified(bunch.data, malignant, self.validation, self.test, self.split_seed)
        known = bunch.data[parts[0]]
        scaled = ((bunch.data - known.mean(0)) / known.std(0)).astype(np.float32)
        train, val, test = (Split(scaled[rows], malignant[rows, None]) for rows in parts)
        return Splits(train=train, val=val, test=test)
