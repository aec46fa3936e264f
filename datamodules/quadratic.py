"""A quadratic loss of known curvature: linear regression whose Hessian has the condition number kappa."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from knobs.config import Count, DataConfig, part
from knobs.data import DataSpec, Split, Splits
from knobs.errors import BadInputError


@part
class Quadratic(DataConfig):
    """Orthogonal inputs without noise: for a linear model (an MLP of depth 0) trained on all samples at once, the mean
    squared error has a diagonal Hessian.

    Its eigenvalues run geometrically from 4 / (kappa + 1) to 4 kappa / (kappa + 1). The bias has the curvature 2 of
    every mean squared error; so it lies in the middle, and the best constant rate, 2 / (greatest + smallest), is 1/2
    for every kappa. The minimum is 0, at weights of 0, so that rounding is relative to the distance from it.
    """

    batch_size: Count = 64
    """Samples in each optimizer step; the Hessian is the stated one where that is all of them."""
    kappa: Annotated[float, Field(ge=1, le=1e6)] = 10.0
    """Condition number: greatest by smallest curvature."""
    features: Annotated[int, Field(ge=2)] = 8
    """Weights, and so curvatures, beside the bias."""
    samples: Count = 64
    """Samples of each split."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Fixes the inputs."""

    def __post_init__(self) -> None:
        if self.samples <= self.features:
            raise BadInputError(
                f"data.samples = {self.samples}: {self.features} orthogonal features and a bias need more samples"
            )

    def curvatures(self) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """Eigenvalues of the Hessian, the bias's 2 left out."""
        scale = 4.0 / (self.kappa + 1.0)
        return np.geomspace(scale, scale * self.kappa, self.features)

    def spec(self) -> DataSpec:
        """A vector of features; one target."""
        return DataSpec(task="regression", layout="vector", shape=(self.features,), outputs=1, metric="rmse")

    def load(self) -> Splits:
        """Columns orthogonal to each other and to the bias's ones, and scaled to the curvatures; targets 0."""
        random = np.random.default_rng(self.seed)
        splits = []
        for _ in range(3):
            drawn = random.standard_normal((self.samples, self.features + 1))
            drawn[:, 0] = 1.0
            columns = np.linalg.qr(drawn)[0][:, 1:] * np.sqrt(self.samples)  # of mean square 1
            x = (columns * np.sqrt(self.curvatures() / 2.0)).astype(np.float32)
            splits.append(Split(x, np.zeros((self.samples, 1), dtype=np.float32)))
        return Splits(train=splits[0], val=splits[1], test=splits[2])
