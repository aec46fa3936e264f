"""The LightningModule that wraps any network: loss, metrics, optimizer, schedule, and the choice of the checkpoint.

One `training_step` takes all optimizer steps between two validations. Lightning's own work (hooks, progress, loops) is
then paid once an interval instead of once a step, and nothing is read from the device within it; the losses are those
of one Lightning step an optimizer step, bit for bit.
"""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import torch
from pytorch_lightning import LightningModule
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from knobs import metrics, optimizers
from knobs.data import LOWER_IS_BETTER, monitored

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from knobs.config import RunConfig
    from knobs.data import DataSpec
    from knobs.datamodule import Interval, Pair

Numbers = dict[str, float]


class Watch(Protocol):
    """What hears of a training while it goes on, and can end it."""

    def between_steps(self) -> None:
        """Called before every optimizer step; may save a snapshot, may raise to end the training."""

    def validated(self, step: int, values: Numbers) -> bool:
        """Called with the curves' values after each validation; false ends the training."""


class DivergedError(Exception):
    """The loss or a metric became NaN or infinite."""


@dataclass
class Progress:
    """How far a training is; part of every snapshot."""

    step: int = 0
    """Optimizer steps taken."""
    loss_sum: torch.Tensor | None = None
    """Sum of the training losses since the last validation, on the device."""
    best_step: int = -1
    best_values: Numbers = field(default_factory=dict)
    best_state: dict[str, torch.Tensor] = field(default_factory=dict)
    """Step, validation values and weights of the checkpoint that validation prefers so far."""
    validations_since_best: int = 0


class Learner(LightningModule):
    """Trains one network as a `RunConfig` says; `watch` hears of every validation."""

    def __init__(self, config: RunConfig, spec: DataSpec, watch: Watch, device: torch.device) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.config, self.spec, self.watch = config, spec, watch
        dtype = torch.float64 if config.training.precision == "64" else torch.float32
        self.network = config.model.build(spec)
        self.floats = dtype  # of weights, of sums of losses and of what metrics see
        self.to(device, dtype)  # built on the CPU first: the same initial weights on every device
        self.trained = [p for p in self.network.parameters() if p.requires_grad]
        self.optimizer = optimizers.build(config.optimizer, self.trained)
        self.progress = Progress()
        self.monitor = monitored(spec, config.training.monitor)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The config's optimizer; the learning rate is set before every step from the schedule's closed form."""
        return self.optimizer

    def training_step(self, interval: Interval, _: int) -> None:
        """All optimizer steps of one interval; losses are added up on the device."""
        training, network, optimizer, progress = self.config.training, self.network, self.optimizer, self.progress
        schedule, peak, last = self.config.schedule, self.config.optimizer.lr, interval.end - 1
        smoothing, clip, between_steps = training.label_smoothing, training.clip_norm, self.watch.between_steps
        if progress.loss_sum is None:
            progress.loss_sum = torch.zeros((), device=self.device, dtype=self.floats)
        for step, (x, y) in enumerate(interval, start=interval.begin):
            between_steps()
            with self._autocast():
                loss = metrics.loss(self.spec, network(x), y, smoothing)
            loss.backward()  # type: ignore[no-untyped-call]
            if clip is not None or step == last:
                self.norm = get_total_norm([p.grad for p in self.trained if p.grad is not None], foreach=True)
                if clip is not None:
                    clip_grads_with_norm_(self.trained, clip, self.norm, foreach=True)
            self.rate = peak * schedule.factor(step, training.max_steps)
            for group in optimizer.param_groups:
                group["lr"] = self.rate
            optimizer.step()
            optimizer.zero_grad()
            progress.loss_sum += loss.detach()
            progress.step = step + 1

    def on_validation_epoch_start(self) -> None:
        """Nothing is carried from one validation to the next."""
        self.outputs: list[torch.Tensor] = []
        self.targets: list[torch.Tensor] = []

    def validation_step(self, batch: Pair, _: int) -> None:
        """Collects the outputs of a (large) batch; metrics are exact over the whole split."""
        with self._autocast():
            outputs = self.network(batch[0])
        self.outputs.append(outputs.to(self.floats))  # losses and ranks are not for bfloat16's three digits
        self.targets.append(batch[1])

    def on_validation_epoch_end(self) -> None:
        """Reads the interval's numbers from the device, keeps the best state, and tells the watch."""
        progress, every = self.progress, self.trainer.datamodule.val_every  # type: ignore[attr-defined]
        assert progress.loss_sum is not None
        found = metrics.evaluate(self.spec, torch.cat(self.outputs), torch.cat(self.targets))
        values = {f"val/{name}": value for name, value in found.items()}
        steps = progress.step - (progress.step - 1) // every * every
        values["train/loss"] = float(progress.loss_sum) / steps
        values["lr"], values["grad_norm"] = self.rate, float(self.norm)
        progress.loss_sum = None
        bad = [name for name, value in values.items() if not math.isfinite(value)]
        if bad:
            raise DivergedError(f"{bad[0]} became {values[bad[0]]} by step {progress.step}")
        self._keep_best(values)
        patience = self.config.training.early_stop
        goes_on = self.watch.validated(progress.step, values)
        if not goes_on or (patience is not None and progress.validations_since_best >= patience):
            self.trainer.should_stop = True

    def evaluate(self, batches: list[Pair]) -> Numbers:
        """Loss and metrics over a whole split, in evaluation mode."""
        self.network.eval()
        with torch.inference_mode(), self._autocast():
            outputs = torch.cat([self.network(x).to(self.floats) for x, _ in batches])
        return metrics.evaluate(self.spec, outputs, torch.cat([y for _, y in batches]))

    def use_best(self) -> None:
        """Put the weights that validation chose back into the network."""
        self.network.load_state_dict(self.progress.best_state)

    def snapshot(self) -> dict[str, Any]:
        """All that the rest of a training depends on, in primitives and tensors."""
        return {
            "progress": dict(vars(self.progress)),
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "rng": torch.get_rng_state(),
            "device_rng": torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a `snapshot`; the learner is on its device already."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.progress = Progress(**state["progress"])
        torch.set_rng_state(state["rng"].cpu())
        if state["device_rng"] is not None and self.device.type == "cuda":
            torch.cuda.set_rng_state(state["device_rng"].cpu(), self.device)

    def _keep_best(self, values: Numbers) -> None:
        progress, name = self.progress, f"val/{self.monitor}"
        new, old = values[name], progress.best_values.get(name)
        better = old is None or (new < old if self.monitor in LOWER_IS_BETTER else new > old)
        progress.validations_since_best = 0 if better else progress.validations_since_best + 1
        if better:
            progress.best_step = progress.step
            progress.best_values = {key: value for key, value in values.items() if key.startswith("val/")}
            progress.best_state = {key: tensor.detach().clone() for key, tensor in self.network.state_dict().items()}

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.config.training.precision == "bf16-mixed":
            return torch.autocast(self.device.type, dtype=torch.bfloat16)
        return nullcontext()
