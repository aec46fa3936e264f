"""The `model` part: an architecture and its knobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from knobs.config.data import DataSpec
from knobs.config.parts import KindedPart, part

if TYPE_CHECKING:
    from torch import nn


@part
class ModelConfig(KindedPart):
    """An architecture's knobs. Its kind is the name of its file in `models/`."""

    part_name: ClassVar[str] = "model"
    same_layers: ClassVar[frozenset[str]] = frozenset()
    """Knobs that change initial values or a dropout rate, and neither layers nor shapes: runs that differ in them can
    train as one batch."""

    def build(self, spec: DataSpec) -> nn.Module:
        """Return the network for data of this spec. It maps inputs (batch, *spec.shape) to (batch, spec.outputs).

        Raise `BadInputError`, one sentence, if the network cannot take such data.
        """
        raise AssertionError(f"{type(self).__name__} does not define build()")
