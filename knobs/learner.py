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
from knobs.averaging import RunningMean
from knobs.data import LOWER_IS_BETTER, monitored

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
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


def diverged(values: Numbers, step: int) -> str:
    """What of these values is NaN or infinite, in words; empty where nothing is."""
    bad = [name for name, value in values.items() if not math.isfinite(value)]
    return f"{bad[0]} became {values[bad[0]]} by step {step}" if bad else ""


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
    """Step, validation values and weights of the checkpoint that is kept so far."""
    best_seen: float | None = None
    validations_since_best: int = 0
    """The monitored metric's best value, and how many validations ago that was."""

    def judge(
        self, values: Numbers, monitor: str, state: Callable[[], dict[str, torch.Tensor]], *, last: bool = False
    ) -> None:
        """Keep these validation values and the weights that `state` copies if `monitor` prefers them to all before.

        `last`: keep them whatever it prefers.
        """
        new, old = values[f"val/{monitor}"], self.best_seen
        better = old is None or (new < old if monitor in LOWER_IS_BETTER else new > old)
        self.validations_since_best = 0 if better else self.validations_since_best + 1
        if better:
            self.best_seen = new
        if better or last:
            self.best_step = self.step
            self.best_values = {key: value for key, value in values.items() if key.startswith("val/")}
            self.best_state = state()

    def stopped_early(self, patience: int | None) -> bool:
        """Whether so many validations in a row were no better."""
        return patience is not None and self.validations_since_best >= patience


def steps_since(step: int, every: int) -> int:
    """Optimizer steps of the interval that ends at `step`; the last one may be shorter."""
    return step - (step - 1) // every * every


class Learner(LightningModule):
    """Trains one network as a `RunConfig` says; `watch` hears of every validation."""

    def __init__(
        self,
        config: RunConfig,
        spec: DataSpec,
        watch: Watch,
        device: torch.device,
        network: torch.nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.config, self.spec, self.watch = config, spec, watch
        dtype = torch.float64 if config.training.precision == "64" else torch.float32
        self.network = config.model.build(spec) if network is None else network
        self.floats = dtype  # of weights, of sums of losses and of what metrics see
        self.to(device, dtype)  # built on the CPU first: the same initial weights on every device
        self.ones: torch.Tensor | None = None
        """Where the backward pass starts; none for one loss."""
        self.trained = [p for p in self.network.parameters() if p.requires_grad]
        self.optimizer = optimizers.build(config.optimizer, self.trained)
        self.progress = Progress()
        self.monitor = monitored(spec, config.training.monitor)
        self.keeps_last = config.training.keep == "last"
        self.mean = RunningMean(self.trained, config.training.average_from) if config.training.averaging else None

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The config's optimizer; the learning rate is set before every step from the schedule's closed form."""
        return self.optimizer

    def training_step(self, interval: Interval, _: int) -> None:
        """All optimizer steps of one interval; losses are added up on the device."""
        training, network, optimizer, progress = self.config.training, self.network, self.optimizer, self.progress
        schedule, peak, last = self.config.schedule, self.config.optimizer.lr, interval.end - 1
        clip, between_steps = training.clip_norm, self.watch.between_steps
        mean, layer_norms = self.mean, training.layer_norms
        for step, (x, y) in enumerate(interval, start=interval.begin):
            between_steps()
            with self._autocast():
                loss = self.losses(network(x), y)
            loss.backward(self.ones)  # type: ignore[no-untyped-call]
            if clip is not None or step == last:
                self.norm = self.gradient_norm()
                if layer_norms and step == last:
                    self.layers = self.layer_norms()
                if clip is not None:
                    self.clip(clip)
            self.rate = peak * schedule.factor(step, training.max_steps)
            for group in optimizer.param_groups:
                group["lr"] = self.rate
            optimizer.step()
            optimizer.zero_grad()
            if mean is not None:
                mean.add(step + 1)
            if progress.loss_sum is None:
                progress.loss_sum = torch.zeros_like(loss, dtype=self.floats)
            progress.loss_sum += loss.detach()
            progress.step = step + 1

    def losses(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """The loss that a step goes down."""
        return metrics.loss(self.spec, outputs, targets, self.config.training.label_smoothing)

    def gradient_norm(self) -> torch.Tensor:
        """Euclidean norm of the whole gradient."""
        return get_total_norm([p.grad for p in self.trained if p.grad is not None], foreach=True)

    def layer_norms(self) -> dict[str, torch.Tensor]:
        """Euclidean norm of the gradient of the first and of the last weight matrix, in the order of the network."""
        matrices = [p.grad for p in self.trained if p.dim() > 1 and p.grad is not None]
        return {"grad_norm/first": matrices[0].norm(), "grad_norm/last": matrices[-1].norm()}

    def clip(self, most: float) -> None:
        """Scale the gradient, whose norm is `self.norm`, down to this norm."""
        clip_grads_with_norm_(self.trained, most, self.norm, foreach=True)

    def on_validation_epoch_start(self) -> None:
        """Nothing is carried from one validation to the next; validated are the averaged weights, where asked for."""
        self.outputs: list[torch.Tensor] = []
        self.targets: list[torch.Tensor] = []
        if self.mean is not None:
            self.mean.swap()

    def on_validation_end(self) -> None:
        """Train on with the weights themselves."""
        if self.mean is not None:
            self.mean.swap()

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
        values["train/loss"] = float(progress.loss_sum) / steps_since(progress.step, every)
        values["lr"], values["grad_norm"] = self.rate, float(self.norm)
        if self.config.training.layer_norms:
            values |= {name: float(norm) for name, norm in self.layers.items()}
        progress.loss_sum = None
        if told := diverged(values, progress.step):
            raise DivergedError(told)
        progress.judge(values, self.monitor, self._weights, last=self.keeps_last)
        goes_on = self.watch.validated(progress.step, values)
        if not goes_on or progress.stopped_early(self.config.training.early_stop):
            self.trainer.should_stop = True

    def evaluate(self, batches: Iterable[Pair]) -> Numbers:
        """Loss and metrics over a whole split, in evaluation mode."""
        self.network.eval()
        outputs, targets = [], []
        with torch.inference_mode(), self._autocast():
            for x, y in batches:
                outputs.append(self.network(x).to(self.floats))
                targets.append(y)
        return metrics.evaluate(self.spec, torch.cat(outputs), torch.cat(targets))

    def use_best(self) -> None:
        """Put the weights that validation chose back into the network."""
        self.network.load_state_dict(self.progress.best_state)

    def snapshot(self) -> dict[str, Any]:
        """All that the rest of a training depends on, in primitives and tensors."""
        return {
            "progress": dict(vars(self.progress)),
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "means": self.mean and self.mean.means,
            "rng": torch.get_rng_state(),
            "device_rng": torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a `snapshot`; the learner is on its device already."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.progress = Progress(**state["progress"])
        if self.mean is not None:
            self.mean.means = state["means"]
        torch.set_rng_state(state["rng"].cpu())
        if state["device_rng"] is not None and self.device.type == "cuda":
            torch.cuda.set_rng_state(state["device_rng"].cpu(), self.device)

    def _weights(self) -> dict[str, torch.Tensor]:
        return {key: tensor.detach().clone() for key, tensor in self.network.state_dict().items()}

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.config.training.precision == "bf16-mixed":
            return torch.autocast(self.device.type, dtype=torch.bfloat16)
        return nullcontext()
