"""How far a training is: its step, its summed loss and its best checkpoint so far."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from knobs.config import Metric

Numbers = dict[str, float]


class DivergedError(Exception):
    """The loss or a metric became NaN or infinite."""


@dataclass
class TrainingState:
    """How far a training is; part of every snapshot."""

    step: int = 0
    """Optimizer steps taken."""
    loss_sum: torch.Tensor | None = None
    """Sum of the training losses since the last validation, on the device."""
    best_step: int = -1
    best_values: Numbers = field(default_factory=dict)
    best_state: dict[str, torch.Tensor] = field(default_factory=dict)
    """Step, validation values and weights of the checkpoint that is kept so far."""
    best_seen: float | None = None
    validations_since_best: int = 0
    """The monitored metric's best value, and the number of validations since then."""

    def keep_if_best(
        self,
        values: Numbers,
        metric: Metric,
        copy_weights: Callable[[], dict[str, torch.Tensor]],
        *,
        last: bool = False,
    ) -> None:
        """Keep validation values and weights if `metric` is better than in all earlier validations.

        With `last`, keep them in any case.
        """
        new, old = values[f"val/{metric.name}"], self.best_seen
        better = old is None or metric.is_better(new, old)
        self.validations_since_best = 0 if better else self.validations_since_best + 1
        if better:
            self.best_seen = new
        if better or last:
            self.best_step = self.step
            self.best_values = {key: value for key, value in values.items() if key.startswith("val/")}
            self.best_state = copy_weights()

    def stopped_early(self, patience: int | None) -> bool:
        """Return whether the last `patience` validations were no better."""
        return patience is not None and self.validations_since_best >= patience


def divergence_message(values: Numbers, step: int) -> str:
    """Return a sentence about the first value that is NaN or infinite; empty if there is none."""
    bad = [name for name, value in values.items() if not math.isfinite(value)]
    return f"{bad[0]} became {values[bad[0]]} by step {step}" if bad else ""


def steps_since(step: int, every: int) -> int:
    """Return the optimizer steps of the interval that ends at `step`; the last interval may be shorter than `every`."""
    return step - (step - 1) // every * every
