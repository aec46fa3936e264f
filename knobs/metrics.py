"""Losses and metrics of each task, over a whole split at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F
from torchmetrics.functional import mean_squared_error, r2_score
from torchmetrics.functional.classification import (
    binary_auroc,
    binary_average_precision,
    binary_calibration_error,
)

if TYPE_CHECKING:
    from knobs.data import DataSpec

Tensor = torch.Tensor


def loss(spec: DataSpec, outputs: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Mean loss: squared error, or cross-entropy in nats. `outputs` are (batch, spec.outputs), logits for classes.

    With a target a step, `outputs` are (batch, spec.outputs, steps) and the mean is over steps too.
    """
    if spec.task == "multiclass":
        return F.cross_entropy(outputs, targets, label_smoothing=label_smoothing)
    if spec.task == "binary":
        smooth = targets * (1.0 - label_smoothing) + 0.5 * label_smoothing if label_smoothing else targets
        return F.binary_cross_entropy_with_logits(outputs, smooth)
    return F.mse_loss(outputs, targets)


def member_losses(spec: DataSpec, outputs: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """`loss` of each member: `outputs` are (members, batch, spec.outputs); the answer is (members,)."""
    if spec.task == "multiclass":
        flat, labels = outputs.flatten(0, 1), targets.flatten()
        each = F.cross_entropy(flat, labels, reduction="none", label_smoothing=label_smoothing)
    elif spec.task == "binary":
        smooth = targets * (1.0 - label_smoothing) + 0.5 * label_smoothing if label_smoothing else targets
        each = F.binary_cross_entropy_with_logits(outputs, smooth, reduction="none")
    else:
        each = F.mse_loss(outputs, targets, reduction="none")
    return each.view(len(outputs), -1).mean(1)


def evaluate(spec: DataSpec, outputs: Tensor, targets: Tensor) -> dict[str, float]:
    """The task's loss and metrics (`knobs.data.METRICS`) over a whole split, read from the device in one transfer."""
    values = {"loss": loss(spec, outputs, targets)}
    if spec.task == "multiclass":
        values["accuracy"] = _share(outputs.argmax(1) == targets)
    elif spec.task == "binary":
        scores, labels = outputs.squeeze(1).sigmoid(), targets.squeeze(1).long()
        values["accuracy"] = _share((scores > 0.5) == (labels == 1))
        values["auroc"] = binary_auroc(scores, labels, validate_args=False)
        values["average_precision"] = binary_average_precision(scores, labels, validate_args=False)
        values["calibration_error"] = binary_calibration_error(scores, labels, validate_args=False)
    else:
        values["rmse"] = mean_squared_error(outputs, targets, squared=False, num_outputs=1)
        values["r2"] = r2_score(outputs, targets)
    numbers = torch.stack([value.to(torch.float64) for value in values.values()]).tolist()
    return dict(zip(values, numbers, strict=True))


def _share(right: Tensor) -> Tensor:
    """How many are right, counted: 0.738, where a mean in 32 bits says 0.7379999756813049."""
    return right.sum().to(torch.float64) / right.numel()
