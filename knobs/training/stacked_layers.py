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
from torch.nn import functional as F

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

LARGEST = 1 << 15
"""Entries of the largest weight matrix for which one batched product beats one product per member on a CPU."""


def can_stack(network: nn.Module) -> bool:
    """Return whether `stack_networks` knows every layer of the network.

    A container's own `forward` is trusted if it is a plain `nn.Sequential`, or if its class sets
    `any_leading_axes = True`, which means that it treats all axes before the last alike.
    """
    match network:
        case nn.BatchNorm1d():
            return network.affine and network.track_running_stats and network.momentum is not None
        case nn.LayerNorm():
            return network.elementwise_affine and network.bias is not None and len(network.normalized_shape) == 1
        case nn.Flatten():
            return (network.start_dim, network.end_dim) == (1, -1)
    if type(network) in STACKED or type(network) in ELEMENTWISE:
        return True
    plain = type(network).forward is nn.Sequential.forward or getattr(network, "any_leading_axes", False)
    own = [*network.parameters(recurse=False), *network.buffers(recurse=False)]
    return plain and not own and all(can_stack(child) for child in network.children())


def stacking_pays(network: nn.Module) -> bool:
    """Return whether members train faster as one batch. Figures: `benchmarks/speed/results/speed.md`."""
    largest = max((parameter.numel() for parameter in network.parameters()), default=0)
    return largest <= LARGEST and can_stack(network)


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


class StackedLinear(nn.Module):
    """Maps (members, batch, in) to (members, batch, out)."""

    def __init__(self, layers: Sequence[nn.Linear], _: Sequence[torch.Generator]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.stack([layer.weight.detach() for layer in layers]))
        has_bias = layers[0].bias is not None
        self.bias = nn.Parameter(torch.stack([layer.bias.detach() for layer in layers])) if has_bias else None

    def forward(self, x: Tensor) -> Tensor:
        """Return one batched matrix product."""
        weight = self.weight.transpose(1, 2)
        return torch.bmm(x, weight) if self.bias is None else torch.baddbmm(self.bias.unsqueeze(1), x, weight)


class StackedFlatten(nn.Module):
    """Maps (members, batch, *shape) to (members, batch, features)."""

    def __init__(self, _layers: Sequence[nn.Flatten], _: Sequence[torch.Generator]) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        """Return a view."""
        return x.flatten(2)


class StackedDropout(nn.Module):
    """Dropout that draws each member's mask from its own generator: the numbers that its network alone would draw."""

    def __init__(self, layers: Sequence[nn.Dropout], generators: Sequence[torch.Generator]) -> None:
        super().__init__()
        self.kept, self.generators = 1.0 - layers[0].p, generators

    def forward(self, x: Tensor) -> Tensor:
        """In training, set entries to zero at random and scale the others."""
        if not self.training:
            return x
        mask = torch.empty_like(x)
        for one, generator in zip(mask, self.generators, strict=True):
            one.bernoulli_(self.kept, generator=generator)
        return x * mask.div_(self.kept)


class StackedBatchNorm(nn.Module):
    """Batch normalisation of (members, batch, features); each member uses its own batch."""

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, layers: Sequence[nn.BatchNorm1d], _: Sequence[torch.Generator]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.stack([layer.weight.detach() for layer in layers]))
        self.bias = nn.Parameter(torch.stack([layer.bias.detach() for layer in layers]))
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            self.register_buffer(name, torch.stack([cast("Tensor", getattr(layer, name)) for layer in layers]))
        self.momentum, self.eps = cast("float", layers[0].momentum), layers[0].eps
        self.num_features = self.weight.numel()

    def forward(self, x: Tensor) -> Tensor:
        """Normalise all members' features as the features of one batch normalisation."""
        if self.training:
            self.num_batches_tracked += 1
        members, batch, features = x.shape
        mean, variance = self.running_mean.view(-1), self.running_var.view(-1)
        flat = x.transpose(0, 1).reshape(batch, members * features)
        scale, shift = self.weight.reshape(-1), self.bias.reshape(-1)
        made = F.batch_norm(flat, mean, variance, scale, shift, self.training, self.momentum, self.eps)
        return made.view(batch, members, features).transpose(0, 1)


class StackedLayerNorm(nn.Module):
    """Layer normalisation over the last axis."""

    def __init__(self, layers: Sequence[nn.LayerNorm], _: Sequence[torch.Generator]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.stack([layer.weight.detach() for layer in layers]))
        self.bias = nn.Parameter(torch.stack([layer.bias.detach() for layer in layers]))
        self.shape, self.eps = list(layers[0].normalized_shape), layers[0].eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each sample of (members, batch, features)."""
        return F.layer_norm(x, self.shape, eps=self.eps) * self.weight.unsqueeze(1) + self.bias.unsqueeze(1)


STACKED: dict[type[nn.Module], Callable[[Any, Sequence[torch.Generator]], nn.Module]] = {
    nn.Linear: StackedLinear,
    nn.Flatten: StackedFlatten,
    nn.Dropout: StackedDropout,
    nn.BatchNorm1d: StackedBatchNorm,
    nn.LayerNorm: StackedLayerNorm,
}
"""The stacked form of each layer that needs its own axis of members."""
