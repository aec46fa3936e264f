"""Adaptive moments (Kingma & Ba 2015)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from knobs import Fraction, GroupedOptimizerConfig, Positive, part

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch


@part
class Adam(GroupedOptimizerConfig):
    """Adaptive moments (Kingma & Ba 2015)."""

    elementwise: ClassVar[bool] = True

    lr: Positive = 0.001
    """Peak learning rate."""
    beta1: Fraction = 0.9
    """Memory of the gradient's running mean."""
    beta2: Fraction = 0.999
    """Memory of the squared gradient's running mean."""
    eps: Positive = 1e-8
    """Added to the root to avoid division by zero."""

    def build(self, named_parameters: Sequence[tuple[str, torch.nn.Parameter]]) -> torch.optim.Optimizer:
        """Return the torch optimizer over these parameters."""
        import torch

        return torch.optim.Adam(
            self.groups(named_parameters),
            lr=self.lr,
            weight_decay=self.weight_decay,
            betas=(self.beta1, self.beta2),
            eps=self.eps,
            fused=True,
        )
