"""The optimizers that a run can use: their knobs, and how each is built over a network's parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from knobs.part import Fraction, OptimizerConfig, Positive, part

if TYPE_CHECKING:
    from collections.abc import Iterable

    import torch


@part
class SGD(OptimizerConfig):
    """Stochastic gradient descent, with momentum where asked (Polyak 1964; Sutskever et al. 2013)."""

    lr: Positive = 0.1
    """Peak learning rate."""
    momentum: Fraction = 0.0
    """Heavy-ball momentum."""
    nesterov: bool = False
    """Look ahead along the momentum before taking the gradient; needs momentum > 0."""


@part
class Adagrad(OptimizerConfig):
    """Per-coordinate rates from the sum of squared gradients (Duchi et al. 2011)."""

    lr: Positive = 0.01
    """Peak learning rate."""
    eps: Positive = 1e-10
    """Added to the root, so that nothing is divided by zero."""


@part
class RMSprop(OptimizerConfig):
    """Per-coordinate rates from a running mean of squared gradients (Tieleman & Hinton 2012)."""

    lr: Positive = 0.001
    """Peak learning rate."""
    alpha: Fraction = 0.99
    """Memory of the running mean."""
    momentum: Fraction = 0.0
    """Momentum on the scaled gradient."""
    eps: Positive = 1e-8
    """Added to the root, so that nothing is divided by zero."""


@part
class Adam(OptimizerConfig):
    """Adaptive moments (Kingma & Ba 2015)."""

    lr: Positive = 0.001
    """Peak learning rate."""
    beta1: Fraction = 0.9
    """Memory of the gradient's running mean."""
    beta2: Fraction = 0.999
    """Memory of the squared gradient's running mean."""
    eps: Positive = 1e-8
    """Added to the root, so that nothing is divided by zero."""


@part
class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019)."""

    lr: Positive = 0.001
    """Peak learning rate."""


KINDS: dict[str, type[OptimizerConfig]] = {c.kind: c for c in (SGD, Adagrad, RMSprop, Adam, AdamW)}


def build(config: OptimizerConfig, parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
    """The torch optimizer for this config: one fused (or foreach) update a step, no Python loop over tensors."""
    import torch

    shared: dict[str, Any] = {"lr": config.lr, "weight_decay": config.weight_decay}
    match config:
        case SGD():
            extra: dict[str, Any] = {"momentum": config.momentum, "nesterov": config.nesterov and config.momentum > 0}
            return torch.optim.SGD(parameters, **shared, **extra, fused=True)
        case Adagrad():
            return torch.optim.Adagrad(parameters, **shared, eps=config.eps, foreach=True)
        case RMSprop():
            extra = {"alpha": config.alpha, "momentum": config.momentum, "eps": config.eps}
            return torch.optim.RMSprop(parameters, **shared, **extra, foreach=True)
        case Adam():
            chosen = torch.optim.AdamW if isinstance(config, AdamW) else torch.optim.Adam
            return chosen(parameters, **shared, betas=(config.beta1, config.beta2), eps=config.eps, fused=True)
    raise AssertionError(f"no torch optimizer for {config.kind}")
