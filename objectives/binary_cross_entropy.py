"""Cross-entropy in nats of one logit with a label of 0 or 1, with label smoothing and a weight of the positives."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, ClassVar

from knobs import BadInputError, Fraction, ObjectiveConfig, Positive, part

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import torch

    from knobs import DataSpec

    Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@part
class BinaryCrossEntropy(ObjectiveConfig):
    """Binary cross-entropy. Its knobs change the training loss; the `loss` that is recorded is without them."""

    tasks: ClassVar = ("binary",)
    loss_bounds: ClassVar = (0.0, float("inf"))

    label_smoothing: Fraction = 0.0
    """Mass moved from the true label to both alike (Szegedy et al. 2016, section 7)."""
    pos_weight: Positive = 1.0
    """Factor of the loss of positive samples."""
    balanced: bool = False
    """Weight either label by samples / (2 * its samples), counted in the training split."""

    def check(self, spec: DataSpec) -> None:
        """Raise `BadInputError` if two weights are asked for."""
        super().check(spec)
        if self.pos_weight != 1 and self.balanced:
            raise BadInputError("objective.balanced computes the weight that objective.pos_weight gives: set one")

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the mean loss; weights that depend on the training split come from `training_loss`."""
        if self.pos_weight != 1:
            return self._weighted(outputs.new_tensor([1.0, self.pos_weight]), outputs, targets)
        return _mean(self.label_smoothing)(outputs, targets)

    def reported_loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the mean cross-entropy, without smoothing and weights."""
        return _mean(0.0)(outputs, targets)

    def training_loss(self, targets: Callable[[], torch.Tensor]) -> Loss:
        """Return the loss with its weights made once. Raise `BadInputError` if a label is missing."""
        if self.pos_weight == 1 and not self.balanced:
            return _mean(self.label_smoothing)
        import torch

        labels = targets()
        if not self.balanced:
            return partial(self._weighted, labels.new_tensor([1.0, self.pos_weight]))
        counts = torch.stack([(labels == 0).sum(), (labels == 1).sum()])
        if not counts.all():
            raise BadInputError("objective.balanced: the training split has one label only")
        return partial(self._weighted, labels.numel() / (2.0 * counts))

    def stacked_loss(self, members: Sequence[BinaryCrossEntropy], like: torch.Tensor) -> Loss | None:
        """Return the loss of members that may differ in label smoothing; with weights there is none."""
        if any(member.balanced or member.pos_weight != 1 for member in members):
            return None
        import torch
        from torch.nn import functional as F

        smoothing = like.new_tensor([member.label_smoothing for member in members])
        smooths = bool(smoothing.any())

        def each(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
            if smooths:
                shares = smoothing.view(-1, *[1] * (targets.dim() - 1))
                targets = torch.lerp(targets, targets.new_full((), 0.5), shares)
            return F.binary_cross_entropy_with_logits(outputs, targets, reduction="none").flatten(1).mean(1)

        return each

    def _weighted(self, weights: torch.Tensor, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return each sample's loss times its label's weight: (batch,)."""
        from torch.nn import functional as F

        share = self.label_smoothing
        smooth = targets * (1.0 - share) + 0.5 * share if share else targets
        each = F.binary_cross_entropy_with_logits(outputs, smooth, reduction="none")
        return (each * weights[0].to(each.dtype).lerp(weights[1].to(each.dtype), targets)).squeeze(1)


def _mean(share: float) -> Loss:
    """Return the mean loss with label smoothing as a function; what it calls is looked up once."""
    from torch.nn.functional import binary_cross_entropy_with_logits

    def mean(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        smooth = targets * (1.0 - share) + 0.5 * share if share else targets
        return binary_cross_entropy_with_logits(outputs, smooth)

    return mean
