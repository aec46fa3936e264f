"""Results of a network on the test splits: metrics, the same metrics without a part of the samples, predictions.

The test samples are one draw. To say how a metric would vary over other draws, each of `GROUPS` groups of samples is
left out in turn (delete-a-group jackknife). The groups depend on the number of samples alone, so they are the same
samples in every run, and differences between runs can be treated alike.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from knobs.training.metrics import Numbers, evaluate, network_outputs

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from knobs.config import RunConfig
    from knobs.data.in_memory import InMemoryData

GROUPS = 20
"""Groups of test samples. With fewer samples, each is a group."""

MOST_BYTES = 64 << 20
"""Larger outputs are not kept: of a text model they may be a thousand times its data."""

PREDICTIONS = "test.npz"
"""Name of the file with the outputs and targets of every test split, float32, compressed."""


@dataclass
class Tested:
    """The results on all test splits."""

    values: dict[str, float] = field(default_factory=dict)
    """`test/accuracy`; of an extra test split, `test/SPLIT/accuracy`."""
    left_out: dict[str, list[float]] = field(default_factory=dict)
    """Each metric without group 0, without group 1, and so on."""
    predictions: Path | None = None
    """The file with outputs and targets; None if they are too large."""


def run_tests(network: nn.Module, config: RunConfig, data: InMemoryData, folder: Path, chosen: Numbers) -> Tested:
    """Evaluate a network on every test split, and write its predictions into `folder`.

    `chosen`: the numbers that metrics chose on validation.
    """
    found, metrics = Tested(), config.metrics
    arrays: dict[str, Any] = {}
    for split, batches in data.test_batches():
        prefix = f"test/{split}/" if split else "test/"
        outputs, targets = network_outputs(network, batches, config, data.device)
        found.values |= {prefix + name: value for name, value in evaluate(metrics, outputs, targets, chosen).items()}
        group = sample_groups(len(targets)).to(data.device)
        for number in range(int(group.max()) + 1) if len(targets) > 1 else ():
            kept = group != number
            for name, value in evaluate(metrics, outputs[kept], targets[kept], chosen).items():
                found.left_out.setdefault(prefix + name, []).append(value)
        arrays[f"{split or 'test'}.outputs"] = outputs.float().cpu().numpy()
        arrays[f"{split or 'test'}.targets"] = targets.cpu().numpy()
    if arrays and sum(array.nbytes for array in arrays.values()) <= MOST_BYTES:
        found.predictions = folder / PREDICTIONS
        folder.mkdir(parents=True, exist_ok=True)
        with found.predictions.open("wb") as file:
            small: dict[str, Any] = {name: _small(array) for name, array in arrays.items()}
            np.savez_compressed(file, **small)
    return found


def sample_groups(samples: int) -> torch.Tensor:
    """Return each sample's group, (samples,): random, of equal sizes up to one sample, the same at every call."""
    order = torch.randperm(samples, generator=torch.Generator().manual_seed(samples))
    return order % min(GROUPS, samples)


def _small(array: Any) -> Any:
    """Return labels as 32-bit integers and other numbers as 32-bit floats."""
    return array.astype(np.int32 if np.issubdtype(array.dtype, np.integer) else np.float32)
