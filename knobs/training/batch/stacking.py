"""Networks of one shape as a single network: every parameter gets a leading axis of members.

A stacked network maps (members, batch, *shape) to (members, batch, outputs). One batched matrix product replaces one
product per network. Nothing flows between members.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import nn

from knobs.training.batch.dense import StackedDropout, StackedFlatten, StackedLayerNorm, StackedLinear
from knobs.training.batch.recurrent import StackedRecurrent, can_stack_recurrent
from knobs.training.batch.spatial import (
    StackedBatchNorm,
    StackedConv,
    StackedEmbedding,
    StackedGroupNorm,
    StackedPool,
    can_stack_conv,
    can_stack_embedding,
)

Tensor = torch.Tensor

ELEMENTWISE = (
    nn.Identity,
    nn.Sigmoid,
    nn.Tanh,
    nn.ReLU,
    nn.LeakyReLU,
    nn.ELU,
    nn.SELU,
    nn.GELU,
    nn.SiLU,
)
"""Layers without parameters that work on any number of axes."""


def can_stack(network: nn.Module) -> bool:
    """Return whether `stack_networks` knows every layer of the network.

    A container's own `forward` is trusted if it is a plain `nn.Sequential`, or if its class sets
    `any_leading_axes = True`, which means that it treats all axes before the last alike.
    """
    match network:
        case nn.BatchNorm1d() | nn.BatchNorm2d():
            return network.affine and network.track_running_stats and network.momentum is not None
        case nn.GroupNorm():
            return network.affine
        case nn.Conv2d():
            return can_stack_conv(network)
        case nn.Embedding():
            return can_stack_embedding(network)
        case nn.RNN() | nn.GRU() | nn.LSTM():
            return can_stack_recurrent(network)
        case nn.LayerNorm():
            return network.elementwise_affine and network.bias is not None and len(network.normalized_shape) == 1
        case nn.Flatten():
            return (network.start_dim, network.end_dim) == (1, -1)
    if type(network) in STACKED or type(network) in ELEMENTWISE:
        return True
    plain = type(network) is nn.ModuleList or type(network).forward is nn.Sequential.forward
    plain |= getattr(network, "any_leading_axes", False)
    own = [*network.parameters(recurse=False), *network.buffers(recurse=False)]
    return plain and not own and all(can_stack(child) for child in network.children())


def stack_networks(networks: Sequence[nn.Module], generators: Sequence[torch.Generator]) -> nn.Module:
    """Return one network made of these, which are of one class and shape; parameters and buffers keep their names.

    Each member's dropout draws from its generator in `generators`, as a run alone draws from torch's default generator.
    """
    first = networks[0]
    if make := STACKED.get(type(first)):
        return make(networks, generators)
    made = copy.copy(first)
    made._modules = {
        name: stack_networks([cast("nn.Module", getattr(network, name)) for network in networks], generators)
        for name, _ in first.named_children()
    }
    return made


def member_state(state: dict[str, Tensor], index: int) -> dict[str, Tensor]:
    """Return a copy of one member's state dict, in the form of its network alone."""
    return {name: tensor[index].detach().clone() for name, tensor in state.items()}


STACKED: dict[type[nn.Module], Callable[[Any, Sequence[torch.Generator]], nn.Module]] = {
    nn.Linear: StackedLinear,
    nn.Flatten: StackedFlatten,
    nn.Dropout: StackedDropout,
    nn.LayerNorm: StackedLayerNorm,
    nn.BatchNorm1d: StackedBatchNorm,
    nn.BatchNorm2d: StackedBatchNorm,
    nn.GroupNorm: StackedGroupNorm,
    nn.Conv2d: StackedConv,
    nn.AvgPool2d: StackedPool,
    nn.MaxPool2d: StackedPool,
    nn.Embedding: StackedEmbedding,
    nn.RNN: StackedRecurrent,
    nn.GRU: StackedRecurrent,
    nn.LSTM: StackedRecurrent,
}
"""The stacked form of each layer that needs its own axis of members."""
