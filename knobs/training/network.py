"""Builds a config's network, and says what is wrong if `build()` returns something else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from knobs.errors import BadInputError
from knobs.user_code import line_of

if TYPE_CHECKING:
    from knobs.config import DataSpec, ModelConfig


def build_network_of(model: ModelConfig, spec: DataSpec) -> nn.Module:
    """Return the network. Raise `BadInputError` if the model refuses this data, or returns no plain network."""
    network = model.build(spec)
    names = {cls.__name__ for cls in type(network).__mro__}
    place = line_of(type(model).build)
    where = f"{place}: build() of model {model.kind}" if place else f"build() of model {model.kind}"
    if "LightningModule" in names:
        raise BadInputError(
            f"{where} returns a LightningModule ({type(network).__name__}); return the plain torch network inside it: "
            f"knobs trains it with its own loop and would ignore the module's loss and optimizer"
        )
    if not isinstance(network, nn.Module):
        hint = "; a `return` is missing" if network is None else ""
        raise BadInputError(f"{where} returns {type(network).__name__}; return a torch.nn.Module{hint}")
    return network
