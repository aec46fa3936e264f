"""A quadratic loss of known curvature: linear regression whose Hessian has the condition number kappa."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from knobs import BadInputError, Count, DataConfig, DataSpec, Split, Splits, part


@part
class Quadratic(DataConfig):
    """Orthogonal inputs without noise. If a linear model (an MLP of depth 0) trains on all samples at once, the Hessian
    of the mean squared error is diagonal.

    Its eigenvalues run geometrically from 4 / (kappa + 1) to 4 kappa / (kappa + 1). The bias has the curvature 2 of
    every mean squared error, which lies in the middle. So the best constant rate, 2 / (greatest + smallest), is 1/2
    for every kappa. The minimum is 0, at weights of 0, so rounding is relative to the distance from it.
    """

    batch_size: Count = 64
    """Samples in each optimizer step. The Hessian is as stated if this is all of them."""
    kappa: Annotated[float, Field(ge=1, le=1e6)] = 10.0
    """Condition number: greatest curvature over smallest."""
    features: Annotated[int, Field(ge=2)] = 8
    """Weights, and so curvatures, without the bias."""
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
        """Return the eigenvalues of the Hessian, without the 2 of the bias."""
        scale = 4.0 / (self.kappa + 1.0)
        return np.geomspace(scale, scale * self.kappa, self.features)

    def spec(self) -> DataSpec:
        """Return the spec: a vector of features; one target."""
        return DataSpec(task="regression", layout="vector", shape=(self.features,), outputs=1, metric="rmse")

    def files(self) -> list[str]:
        """Return no file: the samples are drawn."""
        return []

    def load(self) -> Splits:
        """Draw columns that are orthogonal to each other and to the bias, scaled to the curvatures; targets are 0."""
        random = np.random.default_rng(self.seed)
        splits = []
        for _ in range(3):
            drawn = random.standard_normal((self.samples, self.features + 1))
            drawn[:, 0] = 1.0
            columns = np.linalg.qr(drawn)[0][:, 1:] * np.sqrt(self.samples)  # mean square 1
            x = (columns * np.sqrt(self.curvatures() / 2.0)).astype(np.float32)
            splits.append(Split(x, np.zeros((self.samples, 1), dtype=np.float32)))
        return Splits(train=splits[0], val=splits[1], test=splits[2])
