"""Convolutional network: strided layers, then a linear layer over all positions."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from torch import nn

from knobs import BadInputError, Count, ModelConfig, part
from models._layers import GAINS, Activation, Init, activation, check_one_target, initialise
from models.resnet import HeightOne

if TYPE_CHECKING:
    from knobs import DataSpec


@part
class CNN(ModelConfig):
    """The oldest shape (LeCun et al. 1989): each layer halves the length, and a linear layer reads all positions.

    `ResNet` averages over positions instead, so the place of a pattern does not matter to it.
    """

    same_layers: ClassVar[frozenset[str]] = frozenset({"init"})

    depth: Count = 3
    """Convolutions, each with a stride of 2."""
    width: Count = 25
    """Channels of each convolution."""
    stem: Count = 5
    """Width of the first convolution, an odd number."""
    kernel: Count = 3
    """Width of the other convolutions, an odd number."""
    activation: Activation = "relu"
    """Nonlinearity after each convolution."""
    init: Init = "default"
    """Initial weights; kaiming and orthogonal are scaled to the activation."""

    def __post_init__(self) -> None:
        for name, width in (("stem", self.stem), ("kernel", self.kernel)):
            if width % 2 == 0:
                raise BadInputError(f"model.{name} = {width}: an even width has no middle; use an odd one")

    def build(self, spec: DataSpec) -> nn.Module:
        """Return the network: inputs (batch, *spec.shape) to outputs (batch, spec.outputs)."""
        check_one_target(self.kind, spec)
        if spec.layout == "vector":
            raise BadInputError(f"model {self.kind} takes sequences and images, not a vector (shape {spec.shape})")
        return CNNNetwork(self, spec)


class CNNNetwork(nn.Sequential):
    """`depth` times (convolution, activation), flatten, linear."""

    def __init__(self, config: CNN, spec: DataSpec) -> None:
        sequence = spec.layout == "sequence"
        channels, rows, columns = (spec.shape[1], 1, spec.shape[0]) if sequence else spec.shape
        layers: list[nn.Module] = [HeightOne()] if sequence else []
        for index in range(config.depth):
            kernel = config.stem if index == 0 else config.kernel
            high, wide = (kernel if length > 1 else 1 for length in (rows, columns))
            strides = (min(2, rows), min(2, columns))
            layers.append(nn.Conv2d(channels, config.width, (high, wide), strides, (high // 2, wide // 2)))
            layers += activation(config.activation)
            channels, rows, columns = config.width, -(-rows // 2), -(-columns // 2)
        initialise(layers, config.init, GAINS[config.activation])
        head = nn.Linear(channels * rows * columns, spec.outputs)
        initialise([head], config.init, gain=1.0)
        super().__init__(*layers, nn.Flatten(), head)
