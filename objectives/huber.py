"""Huber's loss: squared for small errors, linear for large ones (Huber 1964)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from knobs import ObjectiveConfig, Positive, part

if TYPE_CHECKING:
    import torch


@part
class Huber(ObjectiveConfig):
    """Half the squared error up to `delta`, and `delta` times (the error - half of `delta`) beyond."""

    tasks: ClassVar = ("regression",)
    loss_bounds: ClassVar = (0.0, float("inf"))

    delta: Positive = 1.0
    """The error from which the loss grows linearly, in the targets' units."""

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return each sample's loss, the mean over its targets: (batch,)."""
        from torch.nn import functional as F

        return F.huber_loss(outputs, targets, delta=self.delta, reduction="none").mean(1)
