"""Residual network: dense or convolutional blocks; the skip is a knob."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field
from torch import nn

from knobs import BadInputError, Count, Fraction, ModelConfig, part
from models._layers import GAINS, Activation, Init, Norm, activation, check_one_target, dropout, initialise, norm

if TYPE_CHECKING:
    from torch import Tensor

    from knobs import DataSpec


@part
class ResNet(ModelConfig):
    """Blocks of two weight layers that add their output to their input, in pre-activation order (He et al. 2016)."""

    same_layers: ClassVar[frozenset[str]] = frozenset({"dropout", "init", "zero_init"})

    depth: Annotated[int, Field(ge=0)] = 3
    """Residual blocks, of two weight layers each."""
    width: Count = 32
    """Channels of every block, or units if the data are vectors."""
    residual: bool = True
    """Add each block's input to its output. Off: the plain twin, the same network without the additions."""
    activation: Activation = "relu"
    """Nonlinearity before each weight layer except the first."""
    norm: Norm = "batch"
    """Normalisation before each nonlinearity."""
    dropout: Fraction = 0.0
    """Fraction of the units that is zeroed at random in training, before each block's second weight layer."""
    init: Init = "default"
    """Initial weights; kaiming and orthogonal are scaled to the activation."""
    zero_init: bool = False
    """Start each block's last weight layer at 0, so that a block starts as the identity (Goyal et al. 2017, section
    5.1). The plain twin ignores it, because without a skip no signal would pass."""
    kernel: Count = 3
    """Width of each convolution, an odd number. Vectors have no convolutions."""
    halve_every: Annotated[int, Field(ge=0)] = 1
    """Blocks between halvings of the length (or height and width) by average pooling; 0: never. Not for vectors."""

    def __post_init__(self) -> None:
        if self.kernel % 2 == 0:
            raise BadInputError(f"model.kernel = {self.kernel}: an even kernel has no middle; use an odd one")

    def build(self, spec: DataSpec) -> nn.Module:
        """Return the network: inputs (batch, *spec.shape) to outputs (batch, spec.outputs)."""
        check_one_target(self.kind, spec)
        return ResNetNetwork(self, spec)


class Block(nn.Module):
    """x + f(x) if residual, else f(x); f is the sequence of `layers`."""

    any_leading_axes = True

    def __init__(self, layers: list[nn.Module], *, residual: bool) -> None:
        super().__init__()
        self.branch = nn.Sequential(*layers)
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        """Return an output of the input's shape."""
        change: Tensor = self.branch(x)
        return x + change if self.residual else change


class HeightOne(nn.Module):
    """A sequence as an image one pixel high, which PyTorch convolves 1.4 times as fast on a CPU as a sequence."""

    any_leading_axes = True

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, steps, features) to (batch, features, 1, steps)."""
        return x.transpose(-1, -2).unsqueeze(-2)


class MeanOverPositions(nn.Module):
    """Global average pooling (Lin et al. 2014) as a mean: the pooling layer has no deterministic CUDA gradient."""

    any_leading_axes = True

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, channels, rows, columns) to (batch, channels)."""
        return x.flatten(-2).mean(-1)


class ResNetNetwork(nn.Sequential):
    """Stem, `depth` blocks of (norm, activation, weights) twice, norm, activation, mean over positions, linear.

    Halvings are between blocks and the width never changes, so every skip is an identity without parameters. The plain
    twin has the same parameters and draws the same initial weights.
    """

    def __init__(self, config: ResNet, spec: DataSpec) -> None:
        channels = spec.shape[-1] if spec.layout == "sequence" else spec.shape[0]
        size = {"vector": (), "sequence": (1, spec.shape[0]), "image": spec.shape[1:]}[spec.layout]

        def nonlinear() -> list[nn.Module]:
            return [*norm(config.norm, config.width, spatial=bool(size)), *activation(config.activation)]

        layers = [_weights(config, channels, size)]
        for index in range(config.depth):
            if config.halve_every and index and index % config.halve_every == 0 and max(size, default=1) > 1:
                layers.append(nn.AvgPool2d((min(2, size[0]), min(2, size[1])), ceil_mode=True))
                size = tuple(-(-length // 2) for length in size)
            first = [*nonlinear(), _weights(config, config.width, size)]
            second = [*nonlinear(), *dropout(config.dropout), _weights(config, config.width, size)]
            layers.append(Block([*first, *second], residual=config.residual))
        head = nn.Linear(config.width, spec.outputs)
        super().__init__(
            *([HeightOne()] if spec.layout == "sequence" else []),
            *layers,
            *nonlinear(),
            *([MeanOverPositions()] if size else []),
            head,
        )
        initialise([layer for layer in self.modules() if layer is not head], config.init, GAINS[config.activation])
        initialise([head], config.init, gain=1.0)
        if config.zero_init and config.residual:
            for block in (layer for layer in layers if isinstance(layer, Block)):
                for parameter in block.branch[-1].parameters():
                    nn.init.zeros_(parameter)


def _weights(config: ResNet, fan_in: int, size: tuple[int, ...]) -> nn.Module:
    """One weight layer that keeps the positions: a convolution, or a dense layer if there are no positions."""
    # every reader of this layer's output starts with the norm, and a batch norm subtracts what a bias adds
    bias = config.norm != "batch"
    if not size:
        return nn.Linear(fan_in, config.width, bias=bias)
    rows, columns = (config.kernel if length > 1 else 1 for length in size)
    return nn.Conv2d(fan_in, config.width, (rows, columns), padding=(rows // 2, columns // 2), bias=bias)
