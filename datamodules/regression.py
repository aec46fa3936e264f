"""Linear regression on synthetic data with a known exact solution; size, noise and conditioning are knobs."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated

import numpy as np
from pydantic import Field

from datamodules._linear import Evaluation, least_squares, predict
from knobs import BadInputError, Count, DataConfig, DataSpec, NonNegative, Split, Splits, part


@part
class Regression(DataConfig):
    """Normal inputs with feature variances of mean 1; y = x.w + noise, and x.w has variance 1."""

    samples: Count = 2000
    """Training samples."""
    held: Count = 1000
    """Samples of the validation split, and of the test split."""
    features: Count = 20
    """Features of each sample."""
    noise: NonNegative = 0.5
    """Standard deviation of the noise, relative to that of x.w."""
    condition: Annotated[float, Field(ge=1)] = 1.0
    """Greatest over smallest eigenvalue of the inputs' covariance. The others are spaced geometrically between."""
    evaluation: Evaluation = "noisy"
    """Targets of validation and test. noisy: as in training. truth: x.w, so that the loss is the excess risk. exact:
    the predictions of least squares on the training split, so that rmse is the distance to the exact solution."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Fixes weights, inputs and noise."""

    def __post_init__(self) -> None:
        if self.samples <= self.features:
            raise BadInputError(
                f"data.samples = {self.samples}: {self.features} features and an intercept need more to be determined"
            )

    def spec(self) -> DataSpec:
        """Return the spec: a vector of features; one target."""
        return DataSpec(task="regression", layout="vector", shape=(self.features,), outputs=1, metric="rmse")

    def files(self) -> list[str]:
        """Return no file: the samples are drawn."""
        return []

    def load(self) -> Splits:
        """Draw weights and samples. The exact solution is that of the arrays as rounded to float32."""
        random = np.random.default_rng(self.seed)
        variances = np.geomspace(1.0, 1.0 / self.condition, self.features)
        variances /= variances.mean()
        turn = np.linalg.qr(random.standard_normal((self.features, self.features)))[0]
        root = turn * np.sqrt(variances)  # the covariance is root @ root.T
        weights = random.standard_normal((self.features, 1))
        weights /= np.linalg.norm(root.T @ weights)
        total = self.samples + 2 * self.held
        x = (random.standard_normal((total, self.features)) @ root.T).astype(np.float32)
        truth = x.astype(np.float64) @ weights
        y = truth + self.noise * random.standard_normal(truth.shape)
        if self.evaluation != "noisy":
            fitted = least_squares(x[: self.samples], y[: self.samples])
            y[self.samples :] = (truth if self.evaluation == "truth" else predict(x, fitted))[self.samples :]
        ends = (0, self.samples, self.samples + self.held, total)
        train, val, test = (Split(x[a:b].copy(), y[a:b].copy()) for a, b in pairwise(ends))
        return Splits(train=train, val=val, test=test)
