"""The `optimizer` part: an optimizer and its knobs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from knobs.config.parts import KindedPart, NonNegative, Positive, part

if TYPE_CHECKING:
    import torch


@part
class OptimizerConfig(KindedPart):
    """An optimizer's knobs. Its kind is the name of its file in `optimizers/`."""

    part_name: ClassVar[str] = "optimizer"
    elementwise: ClassVar[bool] = False
    """True if all weights are treated alike, and each one's update depends on its own gradients alone. Then runs of one
    batch that share the optimizer's knobs and the schedule take one update together."""
    lr: Positive
    """Peak learning rate. The schedule multiplies it by a factor of at most 1."""
    weight_decay: NonNegative = 0.0
    """L2 penalty added to the gradient (decoupled in AdamW)."""

    def build(self, named_parameters: Sequence[tuple[str, torch.nn.Parameter]]) -> torch.optim.Optimizer:
        """Return the torch optimizer over these trainable parameters: one fused or foreach update per step.

        Parameter groups are the optimizer's business. Each group's `lr` is set before every step.
        """
        raise AssertionError(f"{type(self).__name__} does not define build()")
