"""Networks of one shape as a single network: every parameter gets a leading axis of members.

A stacked network takes (members, batch, *shape) and answers (members, batch, outputs): one batched matrix product where
the networks alone would take one product each. Nothing flows between members.
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
"""Layers without parameters that do not care about axes."""

LARGEST = 1 << 15
"""Entries of the largest weight matrix up to which one batched product beats one product a member on a CPU."""


def can_stack(network: nn.Module) -> bool:
    """Whether `stack` knows every layer of a network.

    A container's own `forward` is trusted where it is a plain `nn.Sequential` or where its class says
    `any_leading_axes = True`: it treats all axes before the last alike.
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


def pays(network: nn.Module, device: str) -> bool:
    """Whether members train faster as one batch: `benchmarks/results/speed.md` has the figures behind this rule."""
    largest = max((parameter.numel() for parameter in network.parameters()), default=0)
    return device == "cpu" and largest <= LARGEST and can_stack(network)


def stack(networks: Sequence[nn.Module], generators: Sequence[torch.Generator]) -> nn.Module:
    """One network of these, all of one class and shape; names of parameters and buffers stay.

    `generators`: where each member's dropout draws from, as the default generator would be drawn from alone.
    """
    first = networks[0]
    if make := STACKED.get(type(first)):
        return make(networks, generators)
    made = copy.copy(first)
    made._modules = {
        name: stack([cast("nn.Module", getattr(network, name)) for network in networks], generators)
        for name, _ in first.named_children()
    }
    return made


def member(state: dict[str, Tensor], index: int) -> dict[str, Tensor]:
    """One member's state dict, as its network alone has it: a copy."""
    return {name: tensor[index].detach().clone() for name, tensor in state.items()}


class Linear(nn.Module):
    """(members, batch, in) to (members, batch, out)."""

    def __init__(self, layers: Sequence[nn.Linear], _: Sequence[torch.Generator]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.stack([layer.weight.detach() for layer in layers]))
        has_bias = layers[0].bias is not None
        self.bias = nn.Parameter(torch.stack([layer.bias.detach() for layer in layers])) if has_bias else None

    def forward(self, x: Tensor) -> Tensor:
        """One batched matrix product."""
        weight = self.weight.transpose(1, 2)
        return torch.bmm(x, weight) if self.bias is None else torch.baddbmm(self.bias.unsqueeze(1), x, weight)


class Flatten(nn.Module):
    """(members, batch, *shape) to (members, batch, features)."""

    def __init__(self, _layers: Sequence[nn.Flatten], _: Sequence[torch.Generator]) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        """A view."""
        return x.flatten(2)


class Dropout(nn.Module):
    """Each member's mask from its own generator: the numbers that its network alone would draw."""

    def __init__(self, layers: Sequence[nn.Dropout], generators: Sequence[torch.Generator]) -> None:
        super().__init__()
        self.kept, self.generators = 1.0 - layers[0].p, generators

    def forward(self, x: Tensor) -> Tensor:
        """Zeroes in training, scales the rest."""
        if not self.training:
            return x
        mask = torch.empty_like(x)
        for one, generator in zip(mask, self.generators, strict=True):
            one.bernoulli_(self.kept, generator=generator)
        return x * mask.div_(self.kept)


class BatchNorm(nn.Module):
    """Batch normalisation of (members, batch, features), every member by its own batch."""

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

    def forward(self, x: Tensor) -> Tensor:
        """Members' features side by side are the features of one batch norm."""
        if self.training:
            self.num_batches_tracked += 1
        members, batch, features = x.shape
        mean, variance = self.running_mean.view(-1), self.running_var.view(-1)
        flat = x.transpose(0, 1).reshape(batch, members * features)
        scale, shift = self.weight.reshape(-1), self.bias.reshape(-1)
        made = F.batch_norm(flat, mean, variance, scale, shift, self.training, self.momentum, self.eps)
        return made.view(batch, members, features).transpose(0, 1)


class LayerNorm(nn.Module):
    """Layer normalisation over the last axis."""

    def __init__(self, layers: Sequence[nn.LayerNorm], _: Sequence[torch.Generator]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.stack([layer.weight.detach() for layer in layers]))
        self.bias = nn.Parameter(torch.stack([layer.bias.detach() for layer in layers]))
        self.shape, self.eps = list(layers[0].normalized_shape), layers[0].eps

    def forward(self, x: Tensor) -> Tensor:
        """(members, batch, features), each sample by itself."""
        return F.layer_norm(x, self.shape, eps=self.eps) * self.weight.unsqueeze(1) + self.bias.unsqueeze(1)


STACKED: dict[type[nn.Module], Callable[[Any, Sequence[torch.Generator]], nn.Module]] = {
    nn.Linear: Linear,
    nn.Flatten: Flatten,
    nn.Dropout: Dropout,
    nn.BatchNorm1d: BatchNorm,
    nn.LayerNorm: LayerNorm,
}
"""Layers that need an axis of members of their own."""
