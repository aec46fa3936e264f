"""Mean squared error, the loss of the conditional mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from knobs import ObjectiveConfig, part

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import torch

    Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@part
class SquaredError(ObjectiveConfig):
    """Mean squared error over samples and targets."""

    tasks: ClassVar = ("regression",)
    loss_bounds: ClassVar = (0.0, float("inf"))

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the mean loss."""
        from torch.nn import functional as F

        return F.mse_loss(outputs, targets)

    def training_loss(self, targets: Callable[[], torch.Tensor]) -> Loss:
        """Return torch's own function."""
        from torch.nn.functional import mse_loss

        return mse_loss

    def stacked_loss(self, members: Sequence[SquaredError], like: torch.Tensor) -> Loss | None:
        """Return the mean loss of each member."""
        from torch.nn import functional as F

        return lambda outputs, targets: F.mse_loss(outputs, targets, reduction="none").flatten(1).mean(1)
