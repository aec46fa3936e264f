"""Dense layers of several networks as one: (members, batch, features)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

Tensor = torch.Tensor


class StackedLinear(nn.Module):
    """Maps (members, batch, ..., in) to (members, batch, ..., out)."""

    def __init__(self, layers: Sequence[nn.Linear], _: Sequence[torch.Generator]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.stack([layer.weight.detach() for layer in layers]))
        has_bias = layers[0].bias is not None
        self.bias = nn.Parameter(torch.stack([layer.bias.detach() for layer in layers])) if has_bias else None

    def forward(self, x: Tensor) -> Tensor:
        """Return one batched matrix product."""
        weight, flat = self.weight.transpose(1, 2), x if x.dim() == 3 else x.flatten(1, -2)
        made = torch.bmm(flat, weight) if self.bias is None else torch.baddbmm(self.bias.unsqueeze(1), flat, weight)
        return made if x.dim() == 3 else made.view(*x.shape[:-1], -1)


class StackedFlatten(nn.Module):
    """Maps (members, batch, *shape) to (members, batch, features)."""

    def __init__(self, _layers: Sequence[nn.Flatten], _: Sequence[torch.Generator]) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        """Return a view."""
        return x.flatten(2)


class StackedDropout(nn.Module):
    """Dropout that draws each member's mask from its own generator: the numbers that its network alone would draw."""

    kept: Tensor

    def __init__(self, layers: Sequence[nn.Dropout], generators: Sequence[torch.Generator]) -> None:
        super().__init__()
        self.rates, self.generators = [layer.p for layer in layers], generators
        self.register_buffer("kept", torch.tensor([1.0 - rate for rate in self.rates]), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """In training, set entries to zero at random and scale the others."""
        if not self.training:
            return x
        mask = torch.empty(x.shape, dtype=x.dtype, device=x.device)
        for one, rate, generator in zip(mask, self.rates, self.generators, strict=True):
            one.bernoulli_(1.0 - rate, generator=generator)
        return x * mask.div_(self.kept.view(-1, *[1] * (x.dim() - 1)))


class StackedLayerNorm(nn.Module):
    """Layer normalisation over the last axis."""

    def __init__(self, layers: Sequence[nn.LayerNorm], _: Sequence[torch.Generator]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.stack([layer.weight.detach() for layer in layers]))
        self.bias = nn.Parameter(torch.stack([layer.bias.detach() for layer in layers]))
        self.shape, self.eps = list(layers[0].normalized_shape), layers[0].eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (members, batch, ..., features)."""
        shape = (len(self.weight), *[1] * (x.dim() - 2), -1)
        return F.layer_norm(x, self.shape, eps=self.eps) * self.weight.view(shape) + self.bias.view(shape)
