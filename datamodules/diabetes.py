"""Diabetes: disease progression of 442 patients from ten measurements, from scikit-learn."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from datamodules._linear import least_squares, predict
from knobs import DataConfig, DataSpec, Split, Splits, part


@part
class Diabetes(DataConfig):
    """Age, sex, body mass index, blood pressure and six serum values against progression after a year.

    Efron et al. 2004. Inputs and target have mean 0 and standard deviation 1 on the training split.
    """

    validation: Annotated[float, Field(gt=0, lt=0.4)] = 0.2
    """Fraction of the patients in the validation split."""
    test: Annotated[float, Field(gt=0, lt=0.4)] = 0.2
    """Fraction of the patients in the test split."""
    evaluation: Literal["noisy", "exact"] = "noisy"
    """Targets of validation and test. noisy: as measured. exact: the predictions of least squares on the training
    split, so that rmse is the distance to the exact solution."""
    split_seed: Annotated[int, Field(ge=0)] = 0
    """Fixes the split of each patient."""

    def spec(self) -> DataSpec:
        """Return the spec: ten features; one target."""
        return DataSpec(task="regression", layout="vector", shape=(10,), outputs=1, metric="rmse")

    def files(self) -> list[str]:
        """Return no file: the table is part of scikit-learn."""
        return []

    def load(self) -> Splits:
        """Read the table, split it at random and scale it by the training split."""
        from sklearn.datasets import load_diabetes

        bunch = load_diabetes(scaled=False)
        order = np.random.default_rng(self.split_seed).permutation(len(bunch.data))
        tested, held = round(len(order) * self.test), round(len(order) * self.validation)
        rows = np.split(order, [len(order) - tested - held, len(order) - tested])
        x, y = bunch.data[rows[0]], bunch.target[rows[0]]
        scaled = ((bunch.data - x.mean(0)) / x.std(0)).astype(np.float32)
        target = ((bunch.target - y.mean()) / y.std())[:, None]
        if self.evaluation == "exact":
            fitted = least_squares(scaled[rows[0]], target[rows[0]])
            held_out = np.concatenate(rows[1:])
            target[held_out] = predict(scaled[held_out], fitted)
        train, val, test = (Split(scaled[part], target[part]) for part in rows)
        return Splits(train=train, val=val, test=test)
