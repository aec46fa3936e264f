"""Focal loss: cross-entropy that counts samples less the better they are predicted (Lin et al. 2017)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from knobs import NonNegative, ObjectiveConfig, part

if TYPE_CHECKING:
    import torch


@part
class Focal(ObjectiveConfig):
    """-(1 - p)^gamma log p for the probability p of the true class. With gamma 0 it is cross-entropy."""

    tasks: ClassVar = ("binary", "multiclass")
    loss_bounds: ClassVar = (0.0, float("inf"))

    gamma: NonNegative = 2.0
    """How much less samples count that are predicted well."""

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return each sample's loss: (batch,) or (batch, steps)."""
        import torch
        from torch.nn import functional as F

        if torch.is_floating_point(targets):  # binary: one logit, labels of 0.0 and 1.0
            right = F.logsigmoid(torch.where(targets == 1, outputs, -outputs)).squeeze(1)
        else:
            right = F.log_softmax(outputs, dim=1).gather(1, targets.unsqueeze(1)).squeeze(1)
        if self.gamma == 0:
            return -right
        wrong = -torch.expm1(right.clamp(max=-1e-12 if right.dtype == torch.float64 else -1e-7))
        return -(wrong**self.gamma) * right  # at a probability of 1 the power has no finite slope below gamma 1
