"""Quantile (pinball) loss: the network predicts a quantile of the target (Koenker & Bassett 1978)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from knobs import ObjectiveConfig, part

if TYPE_CHECKING:
    import torch


@part
class Quantile(ObjectiveConfig):
    """`level` times the error if the prediction is too low, 1 - `level` times the error if it is too high."""

    tasks: ClassVar = ("regression",)
    loss_bounds: ClassVar = (0.0, float("inf"))

    level: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """The share of targets that shall lie below the prediction; 0.5: the median."""

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return each sample's loss, the mean over its targets: (batch,)."""
        import torch

        missing = targets - outputs
        return torch.maximum(self.level * missing, (self.level - 1) * missing).mean(1)
