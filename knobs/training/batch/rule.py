"""Which runs train as one batch: a rule on config and kind of device alone, so that membership never depends on chance.

It follows the figures in `benchmarks/speed/results/speed.md`, measured on a CPU.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

import torch
from torch import nn

from knobs.config import RunConfig
from knobs.devices import device_kind
from knobs.training.batch.stacking import can_stack

BATCH_SIZE = 10
"""Members of a full batch. More members save little and keep work from other workers."""

LARGEST_DENSE = 1 << 16
"""Entries of the largest dense weight for which one batched product beats one product per member."""

LARGEST_LSTM = 1 << 10
"""Samples of a batch times units of a layer, up to which stacked LSTMs beat oneDNN's LSTM, which torch calls alone."""

LARGEST_INPUT = 1 << 18
"""Numbers in the inputs of one step, up to which networks were measured. The activations of large images, ten times,
also need memory that one run does not."""

OWN_KNOBS = frozenset({"seed", "training.clip_norm", "training.early_stop", "training.monitor", "training.keep"})
"""Knobs in which members of a batch may differ, besides those of `ModelConfig.same_layers`, those of the schedule, and
those of optimizer and objective that are numbers. Members share the kinds of all parts."""


def batch_key(config: RunConfig, device: str) -> str:
    """Return a key that runs share exactly if they can train as one batch on this kind of device.

    It is empty if the run trains faster alone, or can only train alone.
    """
    spec, training = config.data.spec(), config.training
    alone = training.precision == "bf16-mixed" or training.cuda_graph or training.init_from is not None
    if alone or spec.shard:  # shards: each order needs its own
        return ""
    if not device_kind(device).stacks_runs:
        return ""
    with torch.random.fork_rng(devices=[]):
        network = config.model.build(config.network_spec)
    large = config.data.batch_size * spec.features > LARGEST_INPUT
    if large or not can_stack(network) or not pays(network, config.data.batch_size):
        return ""
    layers = re.sub(r"Dropout\(p=[^)]*\)", "Dropout()", repr(network))  # a rate of 0 makes no layer
    return json.dumps([_shared_knobs(config), layers], sort_keys=True, default=str)


def pays(network: nn.Module, batch_size: int) -> bool:
    """Return whether members train faster as one batch on a CPU."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):  # grouped convolutions took 1.5 times as long as one after the other
            return False
        if isinstance(layer, nn.LSTM) and batch_size * layer.hidden_size > LARGEST_LSTM:
            return False
        if isinstance(layer, nn.Linear) and layer.weight.numel() > LARGEST_DENSE:
            return False
    return True


def batches(configs: Iterable[RunConfig], device: str, size: int = BATCH_SIZE) -> list[tuple[RunConfig, ...]]:
    """Return the runs in groups, in order: those that train as one batch together, at most `size`; the others alone."""
    groups: dict[object, list[RunConfig]] = {}
    for config in configs:
        groups.setdefault(batch_key(config, device) or config.to_json(), []).append(config)
    return [tuple(members[at : at + size]) for members in groups.values() for at in range(0, len(members), size)]


def _shared_knobs(config: RunConfig) -> dict[str, object]:
    own = OWN_KNOBS | {f"model.{name}" for name in config.model.same_layers}
    return {
        name: value
        for name, value in config.knobs().items()
        if name not in own
        and (name == "schedule.kind" or not name.startswith("schedule."))
        and not (name.startswith(("optimizer.", "objective.")) and type(value) in (int, float))
    }
