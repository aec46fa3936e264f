"""Losses and metrics of each task, from outputs and targets or from a network and a split."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional as F
from torchmetrics.functional import mean_squared_error, r2_score
from torchmetrics.functional.classification import (
    binary_auroc,
    binary_average_precision,
    binary_calibration_error,
)

from knobs.data.in_memory import float_type
from knobs.devices import device_kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from contextlib import AbstractContextManager

    from knobs.config import DataSpec, RunConfig
    from knobs.data.in_memory import Pair

Tensor = torch.Tensor


def mean_loss(spec: DataSpec, outputs: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Return the mean loss: squared error, or cross-entropy in nats.

    `outputs` are (batch, spec.outputs), logits for classes. With one target per time step they are
    (batch, spec.outputs, steps), and the mean is over the steps too.
    """
    if spec.task == "multiclass":
        if outputs.dim() > 2 and device_kind(outputs.device.type).flattens_steps:
            outputs, targets = outputs.movedim(1, -1).flatten(0, -2), targets.flatten()
        return F.cross_entropy(outputs, targets, label_smoothing=label_smoothing)
    if spec.task == "binary":
        smooth = targets * (1.0 - label_smoothing) + 0.5 * label_smoothing if label_smoothing else targets
        return F.binary_cross_entropy_with_logits(outputs, smooth)
    return F.mse_loss(outputs, targets)


def loss_per_member(spec: DataSpec, outputs: Tensor, targets: Tensor, smoothing: Tensor | None = None) -> Tensor:
    """Return each member's `mean_loss`, (members,), from outputs of (members, batch, spec.outputs[, steps]).

    `smoothing`: each member's label smoothing, (members,).
    """
    if smoothing is not None:
        smoothing = smoothing.view(-1, *[1] * (targets.dim() - 1))
    if spec.task == "multiclass":  # torch's own takes three times as long for few classes
        total, right = outputs.logsumexp(2), outputs.gather(2, targets.unsqueeze(2)).squeeze(2)
        aim = right if smoothing is None else torch.lerp(right, outputs.mean(2), smoothing)
        each = total - aim
    elif spec.task == "binary":
        smooth = targets if smoothing is None else torch.lerp(targets, targets.new_full((), 0.5), smoothing)
        each = F.binary_cross_entropy_with_logits(outputs, smooth, reduction="none")
    else:
        each = F.mse_loss(outputs, targets, reduction="none")
    return each.flatten(1).mean(1)


def evaluate(spec: DataSpec, outputs: Tensor, targets: Tensor) -> dict[str, float]:
    """Return loss and metrics (`knobs.config.METRICS`) over a whole split, in one transfer from the device."""
    return evaluate_members(spec, [outputs], targets)[0]


def evaluate_members(spec: DataSpec, outputs: Sequence[Tensor], targets: Tensor) -> list[dict[str, float]]:
    """Return what `evaluate` returns for each of several networks' outputs, in one transfer from the device."""
    values = [_scalars(spec, one, targets) for one in outputs]
    names = list(values[0])
    kind = device_kind(targets.device.type)
    numbers = iter(kind.numbers([value for one in values for value in one.values()]))
    found = [{name: next(numbers) for name in names} for _ in values]
    for one in found:
        if "accuracy" in one:  # a mean in 32 bits gives 0.7379999756813049 instead of 0.738
            one["accuracy"] /= targets.numel()
    return found


def _scalars(spec: DataSpec, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Return loss and metrics on the device; for the accuracy, the number of samples that are right."""
    values = {"loss": mean_loss(spec, outputs, targets)}
    if spec.task == "multiclass":
        values["accuracy"] = (outputs.argmax(1) == targets).sum()
    elif spec.task == "binary":
        scores, labels = outputs.squeeze(1).sigmoid(), targets.squeeze(1).long()
        values["accuracy"] = ((scores > 0.5) == (labels == 1)).sum()
        values["auroc"] = binary_auroc(scores, labels, validate_args=False)
        values["average_precision"] = binary_average_precision(scores, labels, validate_args=False)
        values["calibration_error"] = binary_calibration_error(scores, labels, validate_args=False)
    else:
        values["rmse"] = mean_squared_error(outputs, targets, squared=False, num_outputs=1)
        values["r2"] = r2_score(outputs, targets)
    return values


def autocast(config: RunConfig, device: torch.device) -> AbstractContextManager[Any]:
    """Return the context in which a network of this precision runs."""
    if config.training.precision == "bf16-mixed":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()


def evaluate_network(
    network: torch.nn.Module, batches: Iterable[Pair], config: RunConfig, device: torch.device
) -> dict[str, float]:
    """Return loss and metrics of a network over a whole split. The network is put into evaluation mode."""
    return evaluate(config.data.spec(), *network_outputs(network, batches, config, device))


def network_outputs(
    network: torch.nn.Module, batches: Iterable[Pair], config: RunConfig, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Return a network's outputs over a whole split, and the targets. The network is put into evaluation mode."""
    network.eval()
    outputs, targets = [], []
    with torch.inference_mode(), autocast(config, device):
        for x, y in batches:
            outputs.append(network(x).to(float_type(config)))
            targets.append(y)
    return torch.cat(outputs), torch.cat(targets)
