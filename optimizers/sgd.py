"""Stochastic gradient descent with optional momentum (Polyak 1964; Sutskever et al. 2013)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from knobs import Fraction, GroupedOptimizerConfig, Positive, part

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch


@part
class SGD(GroupedOptimizerConfig):
    """Stochastic gradient descent with optional momentum (Polyak 1964; Sutskever et al. 2013)."""

    elementwise: ClassVar[bool] = True
    normalizes: ClassVar[bool] = False

    lr: Positive = 0.1
    """Peak learning rate."""
    momentum: Fraction = 0.0
    """Heavy-ball momentum."""
    nesterov: bool = False
    """Look ahead along the momentum before taking the gradient. Needs momentum > 0."""

    def build(self, named_parameters: Sequence[tuple[str, torch.nn.Parameter]]) -> torch.optim.Optimizer:
        """Return the torch optimizer over these parameters."""
        import torch

        return torch.optim.SGD(
            self.groups(named_parameters),
            lr=self.lr,
            weight_decay=self.weight_decay,
            momentum=self.momentum,
            nesterov=self.nesterov and self.momentum > 0,
            fused=True,
        )
