"""Orthogonalised momentum for matrices, AdamW for the other weights (Jordan et al. 2024)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from knobs import Fraction, NonNegative, OptimizerConfig, Positive, part

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch


@part
class Muon(OptimizerConfig):
    """Orthogonalised momentum (Jordan et al. 2024) for the matrices between the first and the last one.

    The first and the last matrix, convolutions, biases and norms are trained by AdamW.
    """

    lr: Positive = 0.02
    """Peak learning rate of the matrices: a step changes their singular values by about this."""
    momentum: Fraction = 0.95
    """Nesterov momentum of the matrices."""
    weight_decay: NonNegative = 0.0
    """Decoupled weight decay of all weights."""
    adam_lr: Positive = 0.001
    """Peak learning rate of the weights that AdamW trains. The schedule multiplies it too."""
    beta1: Fraction = 0.9
    """AdamW's memory of the gradient's running mean."""
    beta2: Fraction = 0.999
    """AdamW's memory of the squared gradient's running mean."""

    def build(self, named_parameters: Sequence[tuple[str, torch.nn.Parameter]]) -> torch.optim.Optimizer:
        """Return one optimizer that steps Muon and AdamW, each over its own weights."""
        import torch

        from knobs import CombinedOptimizer  # imports torch

        matrices = [name for name, p in named_parameters if p.dim() > 1]
        hidden = {name for name, p in named_parameters if p.dim() == 2 and name in matrices[1:-1]}
        inner = [(name, p) for name, p in named_parameters if name in hidden]
        outer = [(name, p) for name, p in named_parameters if name not in hidden]
        parts: list[torch.optim.Optimizer] = []
        if inner:
            parts.append(torch.optim.Muon(inner, lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay))
        if outer:
            groups = [{"params": outer, "lr_scale": self.adam_lr / self.lr}]
            betas = (self.beta1, self.beta2)
            parts.append(
                torch.optim.AdamW(groups, lr=self.adam_lr, weight_decay=self.weight_decay, betas=betas, fused=True)
            )
        return CombinedOptimizer(parts)
