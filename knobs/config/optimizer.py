"""The `optimizer` part: an optimizer and its knobs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from knobs.config.parts import Count, KindedPart, NonNegative, Positive, part

if TYPE_CHECKING:
    import torch


@part
class OptimizerConfig(KindedPart):
    """An optimizer's knobs. Its kind is the name of its file in `optimizers/`."""

    part_name: ClassVar[str] = "optimizer"
    elementwise: ClassVar[bool] = False
    """True if all weights are treated alike, and each one's update depends on its own gradients alone. Then runs of one
    batch that share the optimizer's knobs and the schedule take one update together."""
    lr: Positive
    """Peak learning rate. The schedule multiplies it by a factor of at most 1."""
    weight_decay: NonNegative = 0.0
    """L2 penalty added to the gradient (decoupled in AdamW)."""

    @property
    def treats_all_alike(self) -> bool:
        """False if groups of weights differ in rate or decay."""
        return True

    def build(self, named_parameters: Sequence[tuple[str, torch.nn.Parameter]]) -> torch.optim.Optimizer:
        """Return the torch optimizer over these trainable parameters: one fused or foreach update per step.

        Parameter groups are the optimizer's business. Before every step each group's `lr` is set to the run's rate,
        times the group's `lr_scale` if it has one.
        """
        raise AssertionError(f"{type(self).__name__} does not define build()")


@part
class GroupedOptimizerConfig(OptimizerConfig):
    """An optimizer whose knobs may treat some weights differently: `build` passes `groups(...)` to torch's class."""

    normalizes: ClassVar[bool] = True
    """True if the size of an update does not depend on the size of the gradient, as in Adam. muP needs to know."""

    decay_vectors: bool = True
    """Decay biases and the weights of normalisations too: all parameters with one dimension."""
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Factor of the learning rate from each layer to the one below it. The last layer has the full rate."""
    mup_base_width: Count | None = None
    """Scale rates with the width, so that the best rate of this width is the best one of any: muP (Yang et al. 2022,
    table 3). The layer before the outputs must start at zero: `model.head=zero`."""

    @property
    def treats_all_alike(self) -> bool:
        """True if all weights form one group."""
        return self.decay_vectors and self.layer_decay == 1.0 and self.mup_base_width is None

    def groups(self, named_parameters: Sequence[tuple[str, torch.nn.Parameter]]) -> list[dict[str, Any]]:
        """Return parameter groups for torch's optimizers: weights of one rate and one decay share a group.

        A group that differs has `lr_scale`, the factor of its learning rate, or a `weight_decay` of its own.
        """
        if self.treats_all_alike:
            return [{"params": list(named_parameters)}]
        found: dict[tuple[float, bool], list[tuple[str, torch.nn.Parameter]]] = {}
        for (name, parameter), scale in zip(named_parameters, self._scales(named_parameters), strict=True):
            decays = self.decay_vectors or parameter.dim() > 1
            found.setdefault((scale, decays), []).append((name, parameter))
        return [
            {"params": members, "lr_scale": scale, **({} if decays else {"weight_decay": 0.0})}
            for (scale, decays), members in found.items()
        ]

    def _scales(self, named: Sequence[tuple[str, torch.nn.Parameter]]) -> list[float]:
        """Return the factor of each parameter's rate. A layer starts with a matrix; vectors after it belong to it."""
        modules = [name.rpartition(".")[0] for name, parameter in named if parameter.dim() > 1]
        layers = {module: number for number, module in enumerate(dict.fromkeys(modules))}
        scales, layer, last = [], 0, max(0, len(layers) - 1)
        for name, parameter in named:
            layer = layers.get(name.rpartition(".")[0], layer)
            mup = 1.0 if self.mup_base_width is None else self._mup_scale(parameter, layer, last)
            scales.append(self.layer_decay ** (last - layer) * mup)
        return scales

    def _mup_scale(self, parameter: torch.nn.Parameter, layer: int, last: int) -> float:
        """Return muP's factor for a parameter of this layer (Yang et al. 2022, table 3), 1 at the base width.

        Inputs and outputs of the network do not grow with the width: the first layer has a fixed number of inputs, and
        the last layer's bias a fixed number of entries.
        """
        base = self.mup_base_width or 1
        matrix = parameter.dim() > 1
        if matrix and layer > 0:  # its inputs are units of the layer below
            return base / parameter.shape[1] if self.normalizes or layer == last else 1.0
        return 1.0 if self.normalizes or layer == last else parameter.shape[0] / base
