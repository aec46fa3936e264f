"""Adam with decoupled weight decay (Loshchilov & Hutter 2019)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from knobs import Positive, part
from optimizers.adam import Adam

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch


@part
class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019)."""

    lr: Positive = 0.001
    """Peak learning rate."""

    def build(self, named_parameters: Sequence[tuple[str, torch.nn.Parameter]]) -> torch.optim.Optimizer:
        """Return the torch optimizer over these parameters."""
        import torch

        return torch.optim.AdamW(
            self.groups(named_parameters),
            lr=self.lr,
            weight_decay=self.weight_decay,
            betas=(self.beta1, self.beta2),
            eps=self.eps,
            fused=True,
        )
