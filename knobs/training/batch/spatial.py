"""Convolutions, pooling and norms over channels of several networks as one.

The members' channels lie side by side: a tensor of (members, batch, channels, rows, columns) is a view of one that has
(batch, members * channels, rows, columns), so that torch's own layers serve all members at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import nn
from torch.nn import functional as F

Tensor = torch.Tensor

FEW_CHANNELS = 4
"""Up to so many input channels, one product of unfolded inputs is faster than a grouped convolution on a CPU."""


def side_by_side(x: Tensor) -> Tensor:
    """Return (batch, members * channels, ...) of (members, batch, channels, ...); no copy if `apart` made it."""
    return x.transpose(0, 1).flatten(1, 2)


def apart(x: Tensor, members: int) -> Tensor:
    """Return a view (members, batch, channels, ...) of (batch, members * channels, ...)."""
    return x.view(len(x), members, -1, *x.shape[2:]).transpose(0, 1)


class StackedConv(nn.Module):
    """Convolutions over (members, batch, channels, rows, columns)."""

    def __init__(self, layers: Sequence[nn.Conv2d], _: Sequence[torch.Generator]) -> None:
        super().__init__()
        first = layers[0]
        self.weight = nn.Parameter(torch.stack([layer.weight.detach() for layer in layers]))
        self.bias = None
        if first.bias is not None:
            self.bias = nn.Parameter(torch.stack([cast("Tensor", layer.bias).detach() for layer in layers]))
        self.members = len(layers)
        self.settings: Any = {"stride": first.stride, "padding": first.padding, "dilation": first.dilation}
        self.kernel = first.kernel_size
        self.unfolds = first.in_channels <= FEW_CHANNELS

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs of all members."""
        if self.unfolds:
            return self._unfolded(x)
        weight, bias = self.weight.flatten(0, 1), None if self.bias is None else self.bias.flatten()
        return apart(F.conv2d(side_by_side(x), weight, bias, groups=self.members, **self.settings), self.members)

    def _unfolded(self, x: Tensor) -> Tensor:
        members, batch, _, rows, columns = x.shape
        patches = F.unfold(x.flatten(0, 1), self.kernel, **self.settings)
        high, wide = (
            (length + 2 * pad - gap * (kernel - 1) - 1) // stride + 1
            for length, pad, gap, kernel, stride in zip(
                (rows, columns),
                self.settings["padding"],
                self.settings["dilation"],
                self.kernel,
                self.settings["stride"],
                strict=True,
            )
        )
        flat = patches.transpose(1, 2).reshape(members, batch * high * wide, -1)
        weight = self.weight.flatten(2).transpose(1, 2)
        if self.bias is None:
            made = torch.bmm(flat, weight)
        else:
            made = torch.baddbmm(self.bias.unsqueeze(1), flat, weight)
        outputs = made.view(members, batch, high * wide, -1)
        together = outputs.permute(1, 0, 3, 2).contiguous()  # the layout of the other layers
        return together.view(batch, members, -1, high, wide).transpose(0, 1)


class StackedBatchNorm(nn.Module):
    """Batch normalisation of (members, batch, channels, ...); each member uses its own batch."""

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, layers: Sequence[nn.BatchNorm1d | nn.BatchNorm2d], _: Sequence[torch.Generator]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.stack([layer.weight.detach() for layer in layers]))
        self.bias = nn.Parameter(torch.stack([layer.bias.detach() for layer in layers]))
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            self.register_buffer(name, torch.stack([cast("Tensor", getattr(layer, name)) for layer in layers]))
        self.momentum, self.eps = cast("float", layers[0].momentum), layers[0].eps
        self.members, self.num_features = len(layers), self.weight.numel()

    def forward(self, x: Tensor) -> Tensor:
        """Normalise all members' channels as the channels of one batch normalisation."""
        if self.training:
            self.num_batches_tracked += 1
        mean, variance = self.running_mean.view(-1), self.running_var.view(-1)
        scale, shift = self.weight.flatten(), self.bias.flatten()
        made = F.batch_norm(side_by_side(x), mean, variance, scale, shift, self.training, self.momentum, self.eps)
        return apart(made, self.members)


class StackedGroupNorm(nn.Module):
    """Group normalisation of (members, batch, channels, ...)."""

    def __init__(self, layers: Sequence[nn.GroupNorm], _: Sequence[torch.Generator]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.stack([layer.weight.detach() for layer in layers]))
        self.bias = nn.Parameter(torch.stack([layer.bias.detach() for layer in layers]))
        self.members, self.groups, self.eps = len(layers), layers[0].num_groups, layers[0].eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each sample's groups of channels."""
        groups, weight, bias = self.members * self.groups, self.weight.flatten(), self.bias.flatten()
        return apart(F.group_norm(side_by_side(x), groups, weight, bias, self.eps), self.members)


class StackedPool(nn.Module):
    """Average or maximum pooling of (members, batch, channels, rows, columns): torch's layer, all channels at once."""

    def __init__(self, layers: Sequence[nn.AvgPool2d | nn.MaxPool2d], _: Sequence[torch.Generator]) -> None:
        super().__init__()
        self.pool, self.members = layers[0], len(layers)

    def forward(self, x: Tensor) -> Tensor:
        """Return the pooled channels of all members."""
        return apart(self.pool(side_by_side(x)), self.members)


class StackedEmbedding(nn.Module):
    """Rows of each member's own table for (members, ...) indices."""

    def __init__(self, layers: Sequence[nn.Embedding], _: Sequence[torch.Generator]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.stack([layer.weight.detach() for layer in layers]))

    def forward(self, x: Tensor) -> Tensor:
        """Return (members, ..., width)."""
        members, rows, width = self.weight.shape
        first = torch.arange(members, device=x.device).view(-1, *[1] * (x.dim() - 1)) * rows
        return F.embedding(x + first, self.weight.view(members * rows, width))


def can_stack_conv(layer: nn.Conv2d) -> bool:
    """Return whether `StackedConv` computes what this layer does."""
    return layer.groups == 1 and layer.padding_mode == "zeros" and not isinstance(layer.padding, str)


def can_stack_embedding(layer: nn.Embedding) -> bool:
    """Return whether `StackedEmbedding` computes what this layer does."""
    plain = layer.padding_idx is None and layer.max_norm is None
    return plain and not layer.scale_grad_by_freq and not layer.sparse
