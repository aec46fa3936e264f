"""The loss of each step: an objective's own function, resolved before the first step and looked at in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from knobs.errors import BadInputError
from knobs.user_code import line_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from knobs.config import ObjectiveConfig

    Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

Tensor = torch.Tensor


class TrainingLoss:
    """The loss of one run. Call `compute`: from the second step on it is the objective's own function.

    The first step checks what `loss()` returns, and notes, without waiting for the device, whether it was finite.
    """

    def __init__(self, objective: ObjectiveConfig, targets: Callable[[], Tensor]) -> None:
        """`targets` returns all training targets, on the device."""
        self.objective, self.targets = objective, targets
        self.compute: Loss = self._first
        self.finite: tuple[Tensor, Tensor] | None = None
        """Whether outputs and losses of the first step were finite."""

    def _first(self, outputs: Tensor, targets: Tensor) -> Tensor:
        self.compute = self.resolve(outputs, targets)
        value = self.compute(outputs, targets)
        self.finite = (outputs.detach().isfinite().all(), value.detach().isfinite().all())
        return value

    def resolve(self, outputs: Tensor, targets: Tensor) -> Loss:
        """Return the function that every step calls, after a look at its value for this batch."""
        loss = self.objective.training_loss(self.targets)
        per_sample = is_per_sample(self.objective, looked_at(loss, outputs, targets), outputs, targets)
        return (lambda outputs, targets: loss(outputs, targets).mean()) if per_sample else loss

    def fault(self) -> str:
        """Return why a loss that is not finite is the objective's fault: it was so for finite outputs; else nothing."""
        if self.finite is None or not bool(self.finite[0]) or bool(self.finite[1]):
            return ""
        return f"{_where(self.objective)} is not finite in the first step, though the outputs are"


class BatchLoss(TrainingLoss):
    """The losses of runs trained as one batch, whose objectives are of one kind and may differ in numbers."""

    def __init__(self, objectives: Sequence[ObjectiveConfig], targets: Callable[[], Tensor]) -> None:
        super().__init__(objectives[0], targets)
        self.objectives = list(objectives)

    def resolve(self, outputs: Tensor, targets: Tensor) -> Loss:
        """Return a function from (members, batch, ...) to (members,).

        It is the objective's own, if there is one; else members are flattened into the batch if they agree and the
        loss of a sample depends on it alone; else they are taken one after another.
        """
        if stacked := self.objective.stacked_loss(self.objectives, outputs.new_empty(0)):
            return stacked
        losses = [objective.training_loss(self.targets) for objective in self.objectives]
        per_sample = all(
            is_per_sample(objective, looked_at(loss, outputs[i], targets[i]), outputs[i], targets[i])
            for i, (objective, loss) in enumerate(zip(self.objectives, losses, strict=True))
        )

        def one_by_one(outputs: Tensor, targets: Tensor) -> Tensor:
            return torch.stack([loss(outputs[i], targets[i]).mean() for i, loss in enumerate(losses)])

        def flattened(outputs: Tensor, targets: Tensor) -> Tensor:
            return losses[0](outputs.flatten(0, 1), targets.flatten(0, 1)).view(len(losses), -1).mean(1)

        if not per_sample or any(objective != self.objective for objective in self.objectives):
            return one_by_one
        alone, together = (looked_at(way, outputs, targets) for way in (one_by_one, flattened))
        return flattened if torch.allclose(alone, together, rtol=1e-3) else one_by_one  # samples may see the others


def looked_at(loss: Loss, outputs: Tensor, targets: Tensor) -> Tensor:
    """Return a loss without a gradient; a loss that draws random numbers draws the same ones again."""
    on_cpu = outputs.device.type == "cpu"  # elsewhere, the state would have to be read from the device
    with torch.no_grad(), torch.random.fork_rng(devices=[], enabled=on_cpu):
        return loss(outputs.detach(), targets)


def is_per_sample(objective: ObjectiveConfig, value: object, outputs: Tensor, targets: Tensor) -> bool:
    """Return whether a loss is one value per sample, not a mean.

    Raise `BadInputError`, with the user's line, if it is neither.
    """
    if not isinstance(value, Tensor):
        hint = "; a `return` is missing" if value is None else ""
        raise BadInputError(f"{_where(objective)} returns {type(value).__name__}; return a tensor{hint}")
    if not value.is_floating_point():
        raise BadInputError(f"{_where(objective)} returns {value.dtype} numbers, which have no gradient")
    shapes = {(), (len(outputs),), tuple(targets.shape) if outputs.dim() > 2 else ()}
    if tuple(value.shape) not in shapes:
        allowed = " or ".join(str(shape) for shape in sorted(shapes - {()}))
        raise BadInputError(
            f"{_where(objective)} returns a tensor of shape {tuple(value.shape)} for a batch of {len(outputs)}; return "
            f"the mean, or one value per sample: {allowed}"
        )
    return value.dim() > 0


def _where(objective: ObjectiveConfig) -> str:
    place = line_of(type(objective).loss)
    about = f"loss() of objective {objective.kind}"
    return f"{place}: {about}" if place else about
