"""Gaussian likelihood: the network predicts a mean and a standard deviation of each target (Nix & Weigend 1994)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

from knobs import ObjectiveConfig, Positive, part

if TYPE_CHECKING:
    import torch

    from knobs import DataSpec


@part
class Gaussian(ObjectiveConfig):
    """Negative log density in nats, the mean over targets. The network returns all means, then all raw deviations."""

    tasks: ClassVar = ("regression",)

    min_sd: Positive = 0.001
    """The smallest standard deviation, in the targets' units: added to softplus of the raw one."""

    def outputs(self, spec: DataSpec) -> int:
        """Return two per target."""
        return 2 * spec.outputs

    def predictions(self, outputs: torch.Tensor) -> torch.Tensor:
        """Return the means."""
        return outputs[:, : outputs.shape[1] // 2]

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return each sample's loss, the mean over its targets: (batch,)."""
        from torch.nn import functional as F

        mean, raw = outputs.chunk(2, dim=1)
        sd = F.softplus(raw) + self.min_sd
        return (sd.log() + 0.5 * ((targets - mean) / sd) ** 2 + 0.5 * math.log(2 * math.pi)).mean(1)
