"""Optimizer steps as replays of one recorded step: the device gets one order per step instead of one per kernel.

On a GPU a small network's step lasts as long as its kernels take to launch. A CUDA graph launches all of them at once.
Not measured yet: `python -m benchmarks.speed.run_batches cuda` compares steps with and without it.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import torch

from knobs.devices import device_kind
from knobs.errors import BadInputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from knobs.training.learner import Learner

WARM_UP = 3
"""Steps taken one kernel at a time before a step is recorded: libraries choose and allocate in the first ones."""


class GraphedSteps:
    """Takes the steps of a learner. Everything that differs from step to step lies in tensors that stay where they are.

    Create it after the learner was restored: from then on, the optimizer's learning rate is a tensor on the device.
    """

    def __init__(self, learner: Learner) -> None:
        self.learner, self.kind = learner, device_kind(learner.device.type)
        self.rates: list[tuple[torch.Tensor, float]] = []
        """Each group's learning rate on the device, and its factor of the run's rate."""
        for group in learner.optimizer.param_groups:
            if not (group.get("fused") or "capturable" in group):
                name = learner.config.optimizer.kind
                raise BadInputError(f"training.cuda_graph: optimizer {name} takes no learning rate from the device")
            group["lr"] = torch.zeros((), device=learner.device)
            self.rates.append((group["lr"], group.get("lr_scale", 1.0)))
            if "capturable" in group:
                group["capturable"] = True
        self.x = self.y = self.loss = self.norm = torch.empty(0)
        self.layers: dict[str, torch.Tensor] = {}
        self.taken = 0
        self.replay: Callable[[], None] | None = None

    def take(self, x: torch.Tensor, y: torch.Tensor, rate: float) -> torch.Tensor:
        """Take one optimizer step and return its loss. The next step overwrites it."""
        if not self.taken:
            self.x, self.y = torch.empty_like(x), torch.empty_like(y)
        self.x.copy_(x)
        self.y.copy_(y)
        for held, scale in self.rates:
            held.fill_(rate * scale)
        if self.taken < WARM_UP:
            with warnings.catch_warnings():  # torch warns that a step is not recorded
                warnings.filterwarnings("ignore", ".*capturable=True")
                self.kind.run_before_recording(self._step, self.learner.device)
        else:
            if self.replay is None:
                self.replay = self.kind.record(self._step)
            self.replay()
        self.taken += 1
        return self.loss

    def _step(self) -> None:
        learner = self.learner
        learner.optimizer.zero_grad()  # so the gradients of the recorded step are the graph's own
        loss = learner.forward_loss(self.x, self.y)
        loss.backward(learner.ones)  # type: ignore[no-untyped-call]
        self.norm = learner.gradient_norm()
        self.layers = learner.layer_norms() if learner.config.training.layer_norms else {}
        if learner.clips:
            learner.clip_gradient(self.norm)
        learner.optimizer.step()
        self.loss = loss.detach()
