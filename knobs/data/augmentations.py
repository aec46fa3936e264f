"""Changes of training samples, drawn anew in every epoch. `DataConfig.augment` calls them.

Every function takes a batch on its device and a generator on the same device, draws from that generator alone, and
returns a new batch of the same shape.
"""

from __future__ import annotations

import torch

Tensor = torch.Tensor


def shift(x: Tensor, generator: torch.Generator, most: int) -> Tensor:
    """Move every sample by up to `most` places along each axis but batch and channels. Zeros fill the gap.

    `x`: (batch, channels, ..., places). For images it is the crop from a padded image of He et al. 2016, section 4.2.
    """
    for axis in range(2, x.dim()):
        size = x.shape[axis]
        moved = torch.randint(-most, most + 1, (len(x), 1), generator=generator, device=x.device)
        source = torch.arange(size, device=x.device) + moved
        shape = [len(x), *[1] * (axis - 1), size, *[1] * (x.dim() - axis - 1)]
        inside = ((source >= 0) & (source < size)).view(shape)
        index = source.clamp(0, size - 1).view(shape).expand(x.shape)
        x = x.gather(axis, index) * inside
    return x


def flip(x: Tensor, generator: torch.Generator, axis: int = -1) -> Tensor:
    """Reverse half of the samples, chosen at random, along an axis; the last one of an image is left and right."""
    chosen = torch.rand(len(x), generator=generator, device=x.device) < 0.5
    return torch.where(chosen.view(-1, *[1] * (x.dim() - 1)), x.flip(axis), x)


def noise(x: Tensor, generator: torch.Generator, sd: float) -> Tensor:
    """Add normal noise of this standard deviation to every number."""
    return x + sd * torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)


def mixup(
    x: Tensor, y: Tensor, generator: torch.Generator, alpha: float, classes: int | None = None
) -> tuple[Tensor, Tensor]:
    """Mix every sample, and its target, with another one of the batch (Zhang et al. 2018).

    Args:
        x: The batch.
        y: (batch,) class numbers, or (batch, targets).
        generator: On the device of `x`.
        alpha: The share of the other sample is drawn from a beta distribution with both parameters `alpha`, one share
            for a batch.
        classes: The number of classes if `y` holds class numbers; the returned targets are then (batch, classes)
            probabilities.
    """
    gammas = torch._standard_gamma(torch.full((2,), alpha, device=x.device, dtype=x.dtype), generator=generator)
    share = gammas[0] / gammas.sum()
    order = torch.randperm(len(x), generator=generator, device=x.device)
    targets = y if classes is None else torch.nn.functional.one_hot(y, classes).to(x.dtype)
    return torch.lerp(x[order], x, share), torch.lerp(targets[order], targets, share)
