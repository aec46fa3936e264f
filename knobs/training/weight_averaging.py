"""The running mean of a network's weights over the steps of its training (Ruppert 1988; Polyak & Juditsky 1992)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence


class RunningMean:
    """Mean of `weights` over the steps after `begins`. It has no effect before the first `add`."""

    def __init__(self, weights: Sequence[torch.Tensor], begins: int) -> None:
        self.weights, self.begins = list(weights), begins
        self.means: list[torch.Tensor] = []

    @torch.no_grad()
    def add(self, steps: int) -> None:
        """Add the weights after `steps` optimizer steps. Until the mean begins, it equals the weights."""
        if not self.means:
            self.means = [weight.detach().clone() for weight in self.weights]
        torch._foreach_lerp_(self.means, self.weights, 1.0 / max(1, steps - self.begins))

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange the weights with their mean."""
        for weight, mean in zip(self.weights, self.means, strict=False):
            kept = weight.clone()
            weight.copy_(mean)
            mean.copy_(kept)
