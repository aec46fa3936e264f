"""Initial weights from another run's checkpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING

from knobs.errors import BadInputError
from knobs.training.checkpoint import load_checkpoint

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn


def load_initial_weights(network: nn.Module, checkpoint: Path) -> str:
    """Put a checkpoint's weights into a network wherever name and shape fit. Return a line that says which do not.

    Raise `BadInputError` if none fits.
    """
    known, own = load_checkpoint(checkpoint)["network"], network.state_dict()
    fitting = {name: known[name] for name, held in own.items() if name in known and known[name].shape == held.shape}
    if not fitting:
        raise BadInputError("training.init_from: no weight of that run has a name and a shape of this network")
    network.load_state_dict({**own, **fitting})
    fresh = [name for name in own if name not in fitting]
    left = f"; the model's own: {', '.join(fresh)}" if fresh else ""
    return f"initial weights: {len(fitting)} of {len(own)} tensors from another run{left}"
