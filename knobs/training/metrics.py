"""Metrics of a run, from outputs and targets or from a network and a split."""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import torch

from knobs.data.in_memory import float_type
from knobs.devices import device_kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from knobs.config import Metric, RunConfig
    from knobs.data.in_memory import Pair

Tensor = torch.Tensor
Numbers = dict[str, float]


def evaluate(
    metrics: Mapping[str, Metric], outputs: Tensor, targets: Tensor, chosen: Numbers | None = None
) -> dict[str, float]:
    """Return a run's metrics over a whole split, in one transfer from the device.

    `chosen`: numbers that were chosen on validation (`choose_numbers`), by metric; without one, it is chosen here.
    """
    return evaluate_members([metrics], [outputs], targets, chosen)[0]


def evaluate_members(
    metrics: Sequence[Mapping[str, Metric]], outputs: Sequence[Tensor], targets: Tensor, chosen: Numbers | None = None
) -> list[dict[str, float]]:
    """Return what `evaluate` returns for each of several runs' metrics and outputs, in one transfer from the device."""
    chosen = chosen or {}
    scalars = [
        {name: metric.scalar(one, targets, chosen.get(name)) for name, metric in asked.items()}
        for asked, one in zip(metrics, outputs, strict=True)
    ]
    tensors = [value for one in scalars for value in one.values() if isinstance(value, Tensor)]
    numbers = iter(device_kind(targets.device.type).numbers(tensors) if tensors else ())
    found = [
        {name: next(numbers) if isinstance(value, Tensor) else float(value) for name, value in one.items()}
        for one in scalars
    ]
    for asked, one in zip(metrics, found, strict=True):
        for name in one:
            if asked[name].counts:  # a mean in 32 bits gives 0.7379999756813049 instead of 0.738
                one[name] /= targets.numel()
    return found


def choose_numbers(
    network: torch.nn.Module, batches: Iterable[Pair], config: RunConfig, device: torch.device
) -> Numbers:
    """Return the number, such as a threshold, that each metric with a choice chooses on the validation split.

    `batches` is that split. The network is not called if no metric chooses.
    """
    choosing = {name: metric.choose for name, metric in config.metrics.items() if metric.choose is not None}
    if not choosing:
        return {}
    outputs, targets = network_outputs(network, batches, config, device)
    return {name: float(choose(outputs, targets)) for name, choose in choosing.items()}


def nan_fault(metrics: Mapping[str, Metric], values: Numbers) -> str:
    """Return whose line a metric is not finite in, if the losses are finite: a sentence; else nothing."""
    if not all(math.isfinite(values[name]) for name in ("val/loss", "train/loss")):
        return ""
    bad = [metric for name, metric in metrics.items() if not math.isfinite(values[f"val/{name}"])]
    return str(bad[0].refused(f"is {values[f'val/{bad[0].name}']} though the losses are finite")) if bad else ""


def autocast(config: RunConfig, device: torch.device) -> AbstractContextManager[Any]:
    """Return the context in which a network of this precision runs."""
    if config.training.precision == "bf16-mixed":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()


def evaluate_network(
    network: torch.nn.Module,
    batches: Iterable[Pair],
    config: RunConfig,
    device: torch.device,
    chosen: Numbers | None = None,
) -> dict[str, float]:
    """Return a run's metrics of a network over a whole split. The network is put into evaluation mode."""
    return evaluate(config.metrics, *network_outputs(network, batches, config, device), chosen)


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
