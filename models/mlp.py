"""Multilayer perceptron; depth 0 is the linear or logistic model."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field
from torch import nn

from knobs import Count, Fraction, ModelConfig, part
from models._layers import GAINS, Activation, Init, Norm, activation, check_one_target, dropout, initialise, norm

if TYPE_CHECKING:
    from torch import Tensor

    from knobs import DataSpec


@part
class MLP(ModelConfig):
    """Fully connected layers over the flattened sample, of any layout."""

    same_layers: ClassVar[frozenset[str]] = frozenset({"dropout", "init", "head"})

    depth: Annotated[int, Field(ge=0)] = 2
    """Hidden layers. 0: the outputs are an affine function of the inputs."""
    width: Count = 100
    """Units in each hidden layer."""
    activation: Activation = "relu"
    """Nonlinearity after each hidden layer."""
    norm: Norm = "none"
    """Normalisation between each hidden layer and its nonlinearity."""
    dropout: Fraction = 0.0
    """Fraction of the hidden units that is zeroed at random in training, after each nonlinearity."""
    init: Init = "default"
    """Initial weights; kaiming and orthogonal are scaled to the activation."""
    head: Literal["default", "zero"] = "default"
    """Initial weights of the layer before the outputs: as `init` says, or all zero, as muP wants it."""
    residual: bool = False
    """Add each hidden layer's input to its output, from the second hidden layer on: h + f(W h + b)."""

    def build(self, spec: DataSpec) -> nn.Module:
        """Return the network: inputs (batch, *spec.shape) to outputs (batch, spec.outputs)."""
        check_one_target(self.kind, spec)
        return ResidualMLPNetwork(self, spec) if self.residual else MLPNetwork(self, spec)


class MLPNetwork(nn.Sequential):
    """Flatten, `depth` times (linear, norm, activation, dropout), linear."""

    def __init__(self, config: MLP, spec: DataSpec) -> None:
        hidden: list[nn.Module] = []
        fan_in = spec.features
        for _ in range(config.depth):
            # a batch norm subtracts what a bias adds, so the bias would have no gradient
            hidden.append(nn.Linear(fan_in, config.width, bias=config.norm != "batch"))
            hidden += norm(config.norm, config.width)
            hidden += activation(config.activation)
            hidden += dropout(config.dropout)
            fan_in = config.width
        head = nn.Linear(fan_in, spec.outputs)
        initialise(hidden, config.init, GAINS[config.activation])
        initialise([head], config.init, gain=1.0)
        if config.head == "zero":
            nn.init.zeros_(head.weight)
        super().__init__(*([nn.Flatten()] if len(spec.shape) > 1 else []), *hidden, head)


class ResidualMLPNetwork(MLPNetwork):
    """The same layers under the same names, with a skip over each hidden layer except the first.

    These layers have as many inputs as outputs, so every skip is an identity without parameters.
    """

    any_leading_axes = True

    def __init__(self, config: MLP, spec: DataSpec) -> None:
        super().__init__(config, spec)
        affine = [index for index, layer in enumerate(self) if isinstance(layer, nn.Linear)]
        self.skips = {begin: end - 1 for begin, end in pairwise(affine[1:])}

    def forward(self, x: Tensor) -> Tensor:
        """Map inputs (batch, *spec.shape) to outputs (batch, spec.outputs)."""
        kept, last = x, -1
        for index, layer in enumerate(self):
            if index in self.skips:
                kept, last = x, self.skips[index]
            x = layer(x)
            if index == last:
                x = kept + x
        return x
