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
        """Return each sample's loss: (batch,) or (batch, steps).

        `targets` may be probabilities, (batch, classes), as `mixup` makes them.
        """
        from torch.nn import functional as F

        if outputs.shape[1] == 1:  # binary: one logit, labels of 0.0 and 1.0
            each = self._focused(F.logsigmoid(-outputs)).lerp(self._focused(F.logsigmoid(outputs)), targets)
            return each.squeeze(1)
        log_p = F.log_softmax(outputs, dim=1)
        if targets.is_floating_point():
            return (targets * self._focused(log_p)).sum(1)
        return self._focused(log_p.gather(1, targets.unsqueeze(1)).squeeze(1))

    def _focused(self, log_p: torch.Tensor) -> torch.Tensor:
        """Return the loss at log-probabilities of the true class."""
        import torch

        if self.gamma == 0:
            return -log_p
        nearly = -1e-12 if log_p.dtype == torch.float64 else -1e-7  # at 1 the power has no slope if gamma is below 1
        return -((-torch.expm1(log_p.clamp(max=nearly))) ** self.gamma) * log_p
