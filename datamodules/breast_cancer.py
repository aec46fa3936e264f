"""Breast cancer, Wisconsin: 569 tumours, 30 features of their cells' nuclei, binary; from scikit-learn."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from datamodules._splits import stratified
from knobs import Count, DataConfig, DataSpec, Split, Splits, part


@part
class BreastCancer(DataConfig):
    """Malignant tumours (37%) against benign ones (Street et al. 1993). The random split keeps each class's share."""

    batch_size: Count = 32
    """Samples in each optimizer step. The last, incomplete batch of an epoch is left out."""
    validation: Annotated[float, Field(gt=0, lt=0.5)] = 0.2
    """Fraction of the tumours in the validation split."""
    test: Annotated[float, Field(gt=0, lt=0.5)] = 0.2
    """Fraction of the tumours in the test split."""
    split_seed: Annotated[int, Field(ge=0)] = 0
    """Fixes the split of each tumour."""

    def spec(self) -> DataSpec:
        """Return the spec: 30 numbers per tumour (mean, standard error and worst of ten measures); 1 for malignant."""
        return DataSpec(task="binary", layout="vector", shape=(30,), outputs=1, metric="auroc")

    def files(self) -> list[str]:
        """Return no file: the table is part of scikit-learn."""
        return []

    def load(self) -> Splits:
        """Read the table and scale each feature by its mean and standard deviation in the training split."""
        from sklearn.datasets import load_breast_cancer

        bunch = load_breast_cancer()
        malignant = (bunch.target == 0).astype(np.float32)  # scikit-learn's 1 is benign
        parts = stratified(bunch.data, malignant, self.validation, self.test, self.split_seed)
        known = bunch.data[parts[0]]
        scaled = ((bunch.data - known.mean(0)) / known.std(0)).astype(np.float32)
        train, val, test = (Split(scaled[rows], malignant[rows, None]) for rows in parts)
        return Splits(train=train, val=val, test=test)
