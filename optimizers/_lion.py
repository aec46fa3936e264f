"""The torch optimizer of `lion.py`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch


class LionOptimizer(torch.optim.Optimizer):
    """Moves every weight by the rate against the sign of `beta1 * momentum + (1 - beta1) * gradient`."""

    def __init__(
        self, groups: Iterable[dict[str, Any]], *, lr: float, weight_decay: float, betas: tuple[float, float]
    ) -> None:
        # capturable: the rate may be a tensor on the device, as a CUDA graph needs it
        super().__init__(groups, {"lr": lr, "weight_decay": weight_decay, "betas": betas, "capturable": False})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Take one step. `closure` is not supported: knobs computes the gradients."""
        assert closure is None
        for group in self.param_groups:
            rate, (beta1, beta2) = group["lr"], group["betas"]
            weights = [p for p in group["params"] if p.grad is not None]
            if not weights:
                continue
            gradients = [p.grad for p in weights]
            momenta = [self.state[p].setdefault("momentum", torch.zeros_like(p)) for p in weights]
            updates = torch._foreach_lerp(gradients, momenta, beta1)
            torch._foreach_sign_(updates)
            torch._foreach_mul_(weights, 1.0 - rate * group["weight_decay"])
            torch._foreach_mul_(updates, -rate)
            torch._foreach_add_(weights, updates)
            torch._foreach_lerp_(momenta, gradients, 1.0 - beta2)
