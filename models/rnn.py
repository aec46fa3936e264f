"""Recurrent network over sequences: tanh, relu from the identity, gru or lstm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import nn

from knobs import BadInputError, Count, Fraction, ModelConfig, part
from models._layers import Init, dropout, initialise

if TYPE_CHECKING:
    from torch import Tensor

    from knobs import DataSpec

GATES = {"tanh": 1, "relu": 1, "gru": 3, "lstm": 4}


@part
class RNN(ModelConfig):
    """Stacked recurrent layers, a readout over time, a linear layer. Takes the layout sequence only.

    Tokens are embedded in as many dimensions as a layer has units; embeddings start standard normal. If there is a
    target at every step, the linear layer reads each step's state.
    """

    same_layers: ClassVar[frozenset[str]] = frozenset({"dropout", "init", "forget_bias"})

    cell: Literal["tanh", "relu", "gru", "lstm"] = "gru"
    """tanh: Elman 1990; relu: recurrent weights start at the identity (Le et al. 2015); gru: Cho et al. 2014; lstm:
    Hochreiter & Schmidhuber 1997."""
    depth: Count = 1
    """Recurrent layers; each reads the states of the layer below."""
    width: Count = 32
    """Units of each layer, in each direction."""
    bidirectional: bool = False
    """Also read the sequence backward, with separate weights (Schuster & Paliwal 1997)."""
    readout: Literal["last", "mean", "max", "all"] = "last"
    """States of the top layer that the linear layer reads: each direction's last state, the mean or maximum over time,
    or the states of all steps side by side."""
    dropout: Fraction = 0.0
    """Fraction of the units that is zeroed at random in training, after each layer."""
    init: Init = "default"
    """Initial weights, gate by gate. The recurrent weights of a relu cell always start at the identity."""
    forget_bias: Annotated[float, Field(ge=-10, le=10)] = 1.0
    """Initial bias of an lstm's forget gate (Jozefowicz et al. 2015 recommend 1). Other cells have no forget gate."""

    def build(self, spec: DataSpec) -> nn.Module:
        """Return the network: inputs (batch, steps, features) to outputs (batch, spec.outputs).

        If every step has a target, outputs are (batch, spec.outputs, steps).
        """
        if spec.layout != "sequence":
            raise BadInputError(
                f"model {self.kind} takes data of layout sequence, not {spec.layout} (shape {spec.shape})"
            )
        if spec.per_step and (self.bidirectional or self.readout != "last"):
            setting = "bidirectional" if self.bidirectional else f"with readout {self.readout}"
            raise BadInputError(
                f"model {self.kind} {setting} would read ahead: these data have a target at every step, which may "
                "depend on the past only"
            )
        return RNNNetwork(self, spec)


class InOrder(nn.Module):
    """Puts a tensor's numbers in memory as its axes say. Dropout draws in the order of memory, which layers choose."""

    any_leading_axes = True

    def forward(self, x: Tensor) -> Tensor:
        """Return the same numbers."""
        return x.contiguous()


class RNNNetwork(nn.Module):
    """The recurrent layers, the readout and the linear layer."""

    any_leading_axes = True

    def __init__(self, config: RNN, spec: DataSpec) -> None:
        super().__init__()
        self.embedding = nn.Embedding(spec.tokens, config.width) if spec.tokens else None
        kinds = {"tanh": nn.RNN, "relu": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}
        states = config.width * (1 + config.bidirectional)
        first = config.width if spec.tokens else spec.shape[1]
        self.recurrent = nn.ModuleList(
            kinds[config.cell](
                first if layer == 0 else states,
                config.width,
                bidirectional=config.bidirectional,
                batch_first=True,
                **({"nonlinearity": config.cell} if GATES[config.cell] == 1 else {}),
            )
            for layer in range(config.depth)
        )
        self.between = nn.Sequential(*_dropout(config.dropout))  # no checkpoint can hold cuDNN's own state
        seen = states * (spec.shape[0] if config.readout == "all" else 1)
        self.head = nn.Sequential(*_dropout(config.dropout), nn.Linear(seen, spec.outputs))
        self.readout = config.readout
        self.per_step = spec.per_step
        self.width, self.bidirectional = config.width, config.bidirectional
        self._initialise(config)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, steps, features) to (batch, outputs), or to (batch, outputs, steps) with a target per step."""
        if self.embedding is not None:
            x = self.embedding(x.squeeze(-1).long())
        states = x
        for depth, layer in enumerate(self.recurrent):
            states, _ = layer(self.between(states) if depth else states)
        if self.per_step:
            stepwise: Tensor = self.head(states).transpose(-1, -2)
            return stepwise
        if self.readout == "mean":
            seen = states.mean(-2)
        elif self.readout == "max":
            seen = states.amax(-2)
        elif self.readout == "all":
            seen = states.flatten(-2)
        elif self.bidirectional:  # the backward direction ends at the first step
            seen = torch.cat([states[..., -1, : self.width], states[..., 0, self.width :]], -1)
        else:
            seen = states[..., -1, :]
        outputs: Tensor = self.head(seen)
        return outputs

    @torch.no_grad()
    def _initialise(self, config: RNN) -> None:
        initialise(self.head, config.init, gain=1.0)
        for name, parameter in self.recurrent.named_parameters():
            recurrent, bias = "_hh_" in name, ".bias" in name
            if bias:
                if config.init != "default" or config.cell == "relu":
                    parameter.zero_()
                if config.cell == "lstm":  # gate order: input, forget, cell, output; the two biases are added
                    parameter.view(4, -1)[1] = 0.0 if recurrent else config.forget_bias
                continue
            for gate in parameter.view(GATES[config.cell], config.width, -1):
                if config.cell == "relu" and recurrent:
                    nn.init.eye_(gate)
                elif config.init == "xavier":
                    nn.init.xavier_uniform_(gate)
                elif config.init == "kaiming":
                    nn.init.normal_(gate, std=gate.shape[1] ** -0.5)
                elif config.init == "orthogonal":
                    nn.init.orthogonal_(gate)


def _dropout(rate: float) -> list[nn.Module]:
    return [InOrder(), *dropout(rate)] if rate else []
