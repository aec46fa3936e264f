"""Sign of an interpolated momentum (Chen et al. 2023): one state per weight; rates are 3 to 10 times below Adam's."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from knobs import Fraction, GroupedOptimizerConfig, Positive, part

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch


@part
class Lion(GroupedOptimizerConfig):
    """Sign of an interpolated momentum (Chen et al. 2023, algorithm 2), with decoupled weight decay."""

    elementwise: ClassVar[bool] = True

    lr: Positive = 0.0003
    """Peak learning rate: every weight moves by it in every step."""
    beta1: Fraction = 0.9
    """Share of the momentum in the update."""
    beta2: Fraction = 0.99
    """Memory of the momentum."""

    def build(self, named_parameters: Sequence[tuple[str, torch.nn.Parameter]]) -> torch.optim.Optimizer:
        """Return the optimizer over these parameters."""
        from optimizers._lion import LionOptimizer

        return LionOptimizer(
            self.groups(named_parameters), lr=self.lr, weight_decay=self.weight_decay, betas=(self.beta1, self.beta2)
        )
