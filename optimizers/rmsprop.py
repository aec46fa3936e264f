"""Per-coordinate rates from a running mean of squared gradients (Tieleman & Hinton 2012)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from knobs import Fraction, GroupedOptimizerConfig, Positive, part

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch


@part
class RMSprop(GroupedOptimizerConfig):
    """Per-coordinate rates from a running mean of squared gradients (Tieleman & Hinton 2012)."""

    elementwise: ClassVar[bool] = True

    lr: Positive = 0.001
    """Peak learning rate."""
    alpha: Fraction = 0.99
    """Memory of the running mean."""
    momentum: Fraction = 0.0
    """Momentum on the scaled gradient."""
    eps: Positive = 1e-8
    """Added to the root to avoid division by zero."""

    def build(self, named_parameters: Sequence[tuple[str, torch.nn.Parameter]]) -> torch.optim.Optimizer:
        """Return the torch optimizer over these parameters."""
        import torch

        return torch.optim.RMSprop(
            self.groups(named_parameters),
            lr=self.lr,
            weight_decay=self.weight_decay,
            alpha=self.alpha,
            momentum=self.momentum,
            eps=self.eps,
            foreach=True,
        )
