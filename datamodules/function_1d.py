"""A named function of one number, smooth, kinked, steep or local, for one hidden layer to approximate."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from knobs import Array, BadInputError, Count, DataConfig, DataSpec, NonNegative, Split, Splits, part

HALF_WIDTH = 3.0**0.5
"""Inputs are uniform within +- this, so their standard deviation is 1."""


def evaluate(target: str, x: Array) -> Array:
    """Return the values of the function of this name at x. Each function has a range of about 2."""
    u = np.asarray(x, dtype=np.float64) / HALF_WIDTH
    if target == "sine":
        return np.asarray(np.sin(2.0 * np.pi * u))
    if target == "abs":
        return np.asarray(2.0 * np.abs(u) - 1.0)
    if target == "step":
        return np.asarray(np.tanh(25.0 * (u - 0.2)))
    if target == "bump":
        return np.asarray(2.0 * np.exp(-50.0 * (u + 0.3) ** 2) - 1.0)
    return np.asarray(np.sin(2.0 * np.pi * u * (1.0 + 1.5 * np.abs(u))))


@part
class Function1D(DataConfig):
    """Inputs are uniform within +- sqrt(3). Validation and test have no noise, so rmse is the approximation error."""

    batch_size: Count = 64
    """Samples in each optimizer step. The last, incomplete batch of an epoch is left out."""
    target: Literal["sine", "abs", "step", "bump", "chirp"] = "sine"
    """sine: two periods. abs: a kink at 0. step: from -1 to 1 over a hundredth of the range. bump: a narrow Gaussian.
    chirp: a sine whose frequency grows outward."""
    samples: Count = 512
    """Training samples, evenly spaced."""
    held: Count = 1000
    """Samples of the validation split, and of the test split, drawn at random."""
    noise: NonNegative = 0.0
    """Standard deviation of noise on the training targets."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Fixes the inputs of validation and test, and the noise."""

    def __post_init__(self) -> None:
        if self.samples < 2:
            raise BadInputError(f"data.samples = {self.samples}: two ends of the range need at least 2")

    def spec(self) -> DataSpec:
        """Return the spec: one feature; one target."""
        return DataSpec(task="regression", layout="vector", shape=(1,), outputs=1, metric="rmse")

    def files(self) -> list[str]:
        """Return no file: the samples are drawn."""
        return []

    def load(self) -> Splits:
        """Draw the inputs and evaluate the function."""
        random = np.random.default_rng(self.seed)
        grid = np.linspace(-HALF_WIDTH, HALF_WIDTH, self.samples).astype(np.float32)
        drawn = random.uniform(-HALF_WIDTH, HALF_WIDTH, 4 * self.held).astype(np.float32)
        held = np.setdiff1d(drawn, grid)  # drops duplicates and inputs of the training split
        held = random.permutation(held)[: 2 * self.held]
        if len(held) < 2 * self.held:
            raise BadInputError(f"data.held = {self.held}: so many different inputs cannot be drawn in 32 bits")
        noise = self.noise * random.standard_normal(self.samples)

        def split(x: Array, more: Array | float = 0.0) -> Split:
            return Split(x[:, None].copy(), (evaluate(self.target, x) + more)[:, None].astype(np.float32))

        val, test = (split(x) for x in np.split(held, 2))
        return Splits(train=split(grid, noise), val=val, test=test)
