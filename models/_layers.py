"""Building blocks that the networks share: activations, norms, dropout and initial weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from torch import nn

from knobs import BadInputError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from knobs import DataSpec

Activation = Literal["identity", "sigmoid", "tanh", "relu", "leaky_relu", "elu", "selu", "gelu", "silu"]
Init = Literal["default", "xavier", "kaiming", "orthogonal"]
Norm = Literal["none", "batch", "layer"]

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "identity": nn.Identity,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "selu": nn.SELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
}

GAINS: dict[str, float] = {
    "identity": 1.0,
    "sigmoid": 1.8462,
    "tanh": 1.5926,
    "relu": 1.4142,
    "leaky_relu": 1.4141,
    "elu": 1.2452,
    "selu": 1.0,
    "gelu": 1.5335,
    "silu": 1.6765,
}
"""1 / sqrt(E[f(z)^2]) for z ~ N(0, 1). With weights of variance gain^2 / fan_in, a signal's mean square stays 1 from
layer to layer. For relu this is the sqrt(2) of He et al. 2015; the others follow from the same condition."""


def check_one_target(kind: str, spec: DataSpec) -> None:
    """Raise `BadInputError` if the data have a target at every time step. Such a network has one output per sample."""
    if spec.per_step:
        raise BadInputError(f"model {kind} has one output per sample, but these data have a target at every step")


def activation(name: str) -> list[nn.Module]:
    """Return the activation's module in a list; an empty list for the identity."""
    return [] if name == "identity" else [ACTIVATIONS[name]()]


def norm(name: str, width: int, *, spatial: bool = False) -> list[nn.Module]:
    """Return the normalisation of (batch, width), or of (batch, width, rows, columns) if spatial. Empty for `none`.

    batch: Ioffe & Szegedy 2015. layer: Ba et al. 2016, over all channels and positions of a sample.
    """
    if name == "batch":
        return [nn.BatchNorm2d(width) if spatial else nn.BatchNorm1d(width)]
    if name == "layer":
        return [nn.GroupNorm(1, width) if spatial else nn.LayerNorm(width)]
    return []


def dropout(rate: float) -> list[nn.Module]:
    """Return dropout (Srivastava et al. 2014) in a list. Empty for rate 0, so that no random numbers are drawn."""
    return [nn.Dropout(rate)] if rate else []


def initialise(modules: Iterable[nn.Module], init: str, gain: float) -> None:
    """Draw the weights of every linear or convolutional layer among `modules`. Biases start at 0.

    default: leave PyTorch's values (uniform, +-1/sqrt(fan_in), biases too). xavier: Glorot & Bengio 2010, uniform,
    gain 1. kaiming: He et al. 2015, normal, std gain/sqrt(fan_in). orthogonal: Saxe et al. 2014, times the gain; it
    keeps a signal's norm, so the mean square falls if a layer widens.
    """
    if init == "default":
        return
    for module in modules:
        if not isinstance(module, nn.Linear | nn.Conv2d):
            continue
        if init == "xavier":
            nn.init.xavier_uniform_(module.weight)
        elif init == "kaiming":
            nn.init.normal_(module.weight, std=gain * module.weight[0].numel() ** -0.5)
        else:
            nn.init.orthogonal_(module.weight, gain=gain)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
