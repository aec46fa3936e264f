"""Multilayer perceptron; depth 0 is the linear or logistic model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field
from torch import nn

from knobs.config import Count, Fraction, ModelConfig, part
from models._layers import GAINS, Activation, Init, Norm, activation, dropout, initialise, norm

if TYPE_CHECKING:
    from knobs.data import DataSpec


@part
class MLP(ModelConfig):
    """Fully connected layers over the flattened sample: any layout will do."""

    depth: Annotated[int, Field(ge=0)] = 2
    """Hidden layers; 0: the outputs are an affine function of the inputs."""
    width: Count = 100
    """Units in each hidden layer."""
    activation: Activation = "relu"
    """Nonlinearity after each hidden layer."""
    norm: Norm = "none"
    """Normalisation between each hidden layer and its nonlinearity."""
    dropout: Fraction = 0.0
    """Part of the hidden units that is zeroed at random in training, after each nonlinearity."""
    init: Init = "default"
    """Initial weights; kaiming and orthogonal are scaled to the activation."""

    def build(self, spec: DataSpec) -> nn.Module:
        """Inputs (batch, *spec.shape) to outputs (batch, spec.outputs)."""
        return MLPNetwork(self, spec)


class MLPNetwork(nn.Sequential):
    """Flatten, `depth` times (linear, norm, activation, dropout), linear."""

    def __init__(self, config: MLP, spec: DataSpec) -> None:
        hidden: list[nn.Module] = []
        fan_in = spec.features
        for _ in range(config.depth):
            # a batch norm subtracts whatever a bias adds, so the bias would be a parameter without a gradient
            hidden.append(nn.Linear(fan_in, config.width, bias=config.norm != "batch"))
            hidden += norm(config.norm, config.width)
            hidden += activation(config.activation)
            hidden += dropout(config.dropout)
            fan_in = config.width
        head = nn.Linear(fan_in, spec.outputs)
        initialise(hidden, config.init, GAINS[config.activation])
        initialise([head], config.init, gain=1.0)
        super().__init__(*([nn.Flatten()] if len(spec.shape) > 1 else []), *hidden, head)
