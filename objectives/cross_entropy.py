"""Cross-entropy in nats of logits with the true classes, with label smoothing and class weights."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, ClassVar

from knobs import BadInputError, Fraction, ObjectiveConfig, Positive, part
from knobs.devices import device_kind

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import torch

    from knobs import DataSpec

    Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@part
class CrossEntropy(ObjectiveConfig):
    """Cross-entropy over classes. Its knobs change the training loss; the `loss` that is recorded is without them."""

    tasks: ClassVar = ("multiclass",)
    loss_bounds: ClassVar = (0.0, float("inf"))

    label_smoothing: Fraction = 0.0
    """Mass moved from the true class to all classes alike (Szegedy et al. 2016, section 7)."""
    class_weights: tuple[Positive, ...] | None = None
    """Factor of the loss of each class's samples."""
    balanced: bool = False
    """Weight each class by samples / (classes * its samples), counted in the training split."""

    def check(self, spec: DataSpec) -> None:
        """Raise `BadInputError` if the weights do not fit the classes."""
        super().check(spec)
        if self.class_weights is not None and self.balanced:
            raise BadInputError("objective.balanced computes the weights that objective.class_weights gives: set one")
        if self.class_weights is not None and len(self.class_weights) != spec.outputs:
            raise BadInputError(
                f"objective.class_weights: {len(self.class_weights)} weights for {spec.outputs} classes"
            )

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the mean loss; weights that depend on the training split come from `training_loss`.

        `targets` may be probabilities, (batch, classes), as `mixup` makes them.
        """
        if self.class_weights is not None:
            return self._weighted(outputs.new_tensor(self.class_weights), outputs, targets)
        return _mean(self.label_smoothing)(outputs, targets)

    def reported_loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the mean cross-entropy, without smoothing and weights."""
        return _mean(0.0)(outputs, targets)

    def training_loss(self, targets: Callable[[], torch.Tensor]) -> Loss:
        """Return the loss with its weights made once."""
        if self.class_weights is None and not self.balanced:
            return _mean(self.label_smoothing)
        import torch

        labels = targets().flatten()
        if self.class_weights is not None:
            return partial(self._weighted, torch.tensor(self.class_weights, device=labels.device))
        counts = torch.bincount(labels).float()
        return partial(self._weighted, (len(labels) / (counts.count_nonzero() * counts)).nan_to_num(posinf=0.0))

    def stacked_loss(self, members: Sequence[CrossEntropy], like: torch.Tensor) -> Loss | None:
        """Return the loss of members that may differ in label smoothing; with weights there is none."""
        if any(member.balanced or member.class_weights is not None for member in members):
            return None
        import torch

        smoothing = like.new_tensor([member.label_smoothing for member in members])
        smooths = bool(smoothing.any())

        def each(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
            if targets.is_floating_point():  # probabilities of mixed samples
                shares = smoothing.view(-1, 1, 1)
                aims = torch.lerp(targets, torch.full_like(targets, 1 / targets.shape[2]), shares)
                return -(aims * outputs.log_softmax(2)).sum(2).mean(1)
            # torch's own takes three times as long for few classes
            total, right = outputs.logsumexp(2), outputs.gather(2, targets.unsqueeze(2)).squeeze(2)
            if not smooths:
                return (total - right).flatten(1).mean(1)
            shares = smoothing.view(-1, *[1] * (targets.dim() - 1))
            return (total - torch.lerp(right, outputs.mean(2), shares)).flatten(1).mean(1)

        return each

    def _weighted(self, weights: torch.Tensor, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return each target's loss times its class's weight: (rows,)."""
        from torch.nn import functional as F

        if targets.is_floating_point():
            each = F.cross_entropy(outputs, targets, label_smoothing=self.label_smoothing, reduction="none")
            return each * (targets @ weights.to(each.dtype))
        if outputs.dim() > 2:
            outputs = outputs.movedim(1, -1)
        rows, labels = outputs.flatten(0, -2), targets.flatten()
        each = F.cross_entropy(rows, labels, label_smoothing=self.label_smoothing, reduction="none")
        return (each * weights.to(each.dtype)[labels]).view(targets.shape)


def _mean(smoothing: float) -> Loss:
    """Return the mean loss as a function; what it calls is looked up once."""
    from torch.nn.functional import cross_entropy

    def mean(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        if outputs.dim() > 2 and not targets.is_floating_point() and device_kind(outputs.device.type).flattens_steps:
            outputs, targets = outputs.movedim(1, -1).flatten(0, -2), targets.flatten()
        return cross_entropy(outputs, targets, label_smoothing=smoothing)

    return mean
