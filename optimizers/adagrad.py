"""Per-coordinate rates from the sum of squared gradients (Duchi et al. 2011)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from knobs import GroupedOptimizerConfig, Positive, part

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch


@part
class Adagrad(GroupedOptimizerConfig):
    """Per-coordinate rates from the sum of squared gradients (Duchi et al. 2011)."""

    elementwise: ClassVar[bool] = True

    lr: Positive = 0.01
    """Peak learning rate."""
    eps: Positive = 1e-10
    """Added to the root to avoid division by zero."""

    def build(self, named_parameters: Sequence[tuple[str, torch.nn.Parameter]]) -> torch.optim.Optimizer:
        """Return the torch optimizer over these parameters."""
        import torch

        return torch.optim.Adagrad(
            self.groups(named_parameters), lr=self.lr, weight_decay=self.weight_decay, eps=self.eps, foreach=True
        )
