"""The LightningModule that trains any network: loss, optimizer, schedule, validation, choice of the checkpoint.

One `training_step` takes all optimizer steps between two validations. Lightning's own work (hooks, progress, loops) is
then paid once per interval instead of once per step, and nothing is read from the device within an interval. The losses
equal those of one Lightning step per optimizer step, bit for bit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, Self

import torch
from pytorch_lightning import LightningModule
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from knobs.data.in_memory import float_type
from knobs.errors import BadInputError
from knobs.training.environment import rng_states, set_rng_states
from knobs.training.graphed_steps import GraphedSteps
from knobs.training.losses import TrainingLoss
from knobs.training.metrics import autocast, evaluate, nan_fault
from knobs.training.state import DivergedError, TrainingState, divergence_message, steps_since
from knobs.training.weight_averaging import RunningMean

if TYPE_CHECKING:
    from torch import nn

    from knobs.config import RunConfig
    from knobs.data.in_memory import Interval, Pair
    from knobs.training.state import Numbers


class TrainingListener(Protocol):
    """Follows a training. Either method may raise to end it."""

    def between_steps(self) -> None:
        """Called before every optimizer step."""

    def after_validation(self, step: int, values: Numbers, *, last: bool) -> None:
        """Called with the curves' values after each validation; `last`: the training ends with it."""


class Learner(LightningModule):
    """Trains `network`, which is on `device` in the precision of `config`; `listener` follows the training."""

    def __init__(self, config: RunConfig, network: nn.Module, listener: TrainingListener, device: torch.device) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.config, self.listener = config, listener
        self.metrics, self.monitored_metric = config.metrics, config.monitored
        self.loss = self.build_loss()
        self.network = network
        self.floats = float_type(config)
        """Type of weights, of sums of losses and of what metrics are computed from."""
        self.to(device, self.floats)
        self.ones: torch.Tensor | None = None
        """Gradient that the backward pass starts from. None: the loss is one number."""
        named = [(name, p) for name, p in self.network.named_parameters() if p.requires_grad]
        self.trained = [p for _, p in named]
        self.optimizer = self.build_optimizer(named)
        self.state = TrainingState()
        self.keeps_last = config.training.keep == "last"
        self.mean = RunningMean(self.trained, config.training.average_from) if config.training.averaging else None
        self.graphed: GraphedSteps | None = None
        self.rate = 0.0
        self.norm = torch.zeros(())
        self.layers: dict[str, torch.Tensor] = {}
        """Learning rate, gradient norm and layers' gradient norms of the interval's last step."""
        self.outputs: list[torch.Tensor] = []
        self.targets: list[torch.Tensor] = []
        """Outputs and targets of the current validation."""

    def cpu(self) -> Self:
        """Stay on the device: Lightning's teardown would move the module away before its best weights are evaluated."""
        return self

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the config's optimizer; `training_step` sets its learning rate from the schedule's closed form."""
        return self.optimizer

    def training_step(self, interval: Interval, _: int) -> None:
        """Take all optimizer steps of one interval; the losses are added up on the device."""
        training, state, mean = self.config.training, self.state, self.mean
        last, between_steps, take_step = interval.end - 1, self.listener.between_steps, self.take_step
        if training.cuda_graph:
            self.graphed = self.graphed or GraphedSteps(self)
            take_step = self.replay_step
        for step, (x, y) in enumerate(interval, start=interval.begin):
            between_steps()
            self.set_rate(step)
            loss = take_step(x, y, last=step == last)
            if mean is not None:
                mean.add(step + 1)
            if state.loss_sum is None:
                state.loss_sum = torch.zeros_like(loss, dtype=self.floats)
            state.loss_sum += loss
            state.step = step + 1

    def take_step(self, x: torch.Tensor, y: torch.Tensor, *, last: bool) -> torch.Tensor:
        """Take one optimizer step and return its loss. `last`: note the norms, because a validation follows."""
        loss = self.forward_loss(x, y)
        loss.backward(self.ones)  # type: ignore[no-untyped-call]
        if self.clips or last:
            norm = self.gradient_norm()
            if last:
                self.norm = norm
                self.layers = self.layer_norms() if self.config.training.layer_norms else {}
            if self.clips:
                self.clip_gradient(norm)
        self.update_weights()
        return loss.detach()

    def replay_step(self, x: torch.Tensor, y: torch.Tensor, *, last: bool) -> torch.Tensor:
        """Take one optimizer step as a replay of a recorded one."""
        assert self.graphed is not None
        loss = self.graphed.take(x, y, self.rate)
        if last:
            self.norm, self.layers = self.graphed.norm, self.graphed.layers
        return loss

    def forward_loss(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Return the loss of a batch in the run's precision."""
        with autocast(self.config, self.device):
            return self.losses(self.network(x), y)

    def losses(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the loss that a step minimizes."""
        return self.loss.compute(outputs, targets)

    def build_loss(self) -> TrainingLoss:
        """Return the objective's loss."""
        return TrainingLoss(self.config.objective, self.training_targets)

    def training_targets(self) -> torch.Tensor:
        """Return all targets of the training split, on the device."""
        targets: torch.Tensor = self.trainer.datamodule.training_targets()  # type: ignore[attr-defined]
        return targets

    def gradient_norm(self) -> torch.Tensor:
        """Return the Euclidean norm of the whole gradient."""
        return get_total_norm([p.grad for p in self.trained if p.grad is not None], foreach=True)

    def layer_norms(self) -> dict[str, torch.Tensor]:
        """Return the Euclidean norms of the gradients of the network's first and last weight matrix."""
        matrices = [p.grad for p in self.trained if p.dim() > 1 and p.grad is not None]
        return {"grad_norm/first": matrices[0].norm(), "grad_norm/last": matrices[-1].norm()}

    @property
    def clips(self) -> bool:
        """True if the gradient is clipped."""
        return self.config.training.clip_norm is not None

    def clip_gradient(self, norm: torch.Tensor) -> None:
        """Scale the gradient, whose norm is `norm`, down to the limit of the config."""
        limit = self.config.training.clip_norm
        assert limit is not None
        clip_grads_with_norm_(self.trained, limit, norm, foreach=True)

    def build_optimizer(self, named: list[tuple[str, torch.nn.Parameter]]) -> torch.optim.Optimizer:
        """Return the config's optimizer over the trained parameters."""
        return self.config.optimizer.build(named)

    def set_rate(self, step: int) -> None:
        """Set the learning rate of this step."""
        config = self.config
        self.rate = config.optimizer.lr * config.schedule.factor(step, config.training.max_steps)

    def update_weights(self) -> None:
        """Let the optimizer change the weights; drop the gradients."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate * group.get("lr_scale", 1.0)
        self.optimizer.step()
        for parameter in self.trained:  # `zero_grad` takes ten times as long
            parameter.grad = None

    def on_validation_epoch_start(self) -> None:
        """Drop the last validation's outputs; with averaging, put the mean weights into the network."""
        self.outputs, self.targets = [], []
        if self.mean is not None:
            self.mean.swap()

    def on_validation_end(self) -> None:
        """With averaging, put the weights that are trained back into the network."""
        if self.mean is not None:
            self.mean.swap()

    def validation_step(self, batch: Pair, _: int) -> None:
        """Collect the outputs of a (large) batch; metrics are exact over the whole split."""
        with autocast(self.config, self.device):
            outputs = self.network(batch[0])
        self.outputs.append(outputs.to(self.floats))  # losses and ranks need more digits than bfloat16's three
        self.targets.append(batch[1])

    def on_validation_epoch_end(self) -> None:
        """Read the interval's numbers from the device, keep the best weights, and send the values to the listener.

        Raise `DivergedError` if a value is NaN or infinite.
        """
        state, every = self.state, self.trainer.datamodule.val_every  # type: ignore[attr-defined]
        assert state.loss_sum is not None
        found = evaluate(self.metrics, torch.cat(self.outputs), torch.cat(self.targets))
        values = {f"val/{name}": value for name, value in found.items()}
        values["train/loss"] = float(state.loss_sum) / steps_since(state.step, every)
        values["lr"], values["grad_norm"] = self.rate, float(self.norm)
        values |= {name: float(norm) for name, norm in self.layers.items()}
        state.loss_sum = None
        if message := divergence_message(values, state.step):
            if fault := self.loss.fault() or nan_fault(self.metrics, values):
                raise BadInputError(fault)
            raise DivergedError(message)
        state.keep_if_best(values, self.monitored_metric, self._copy_weights, last=self.keeps_last)
        training = self.config.training
        stops = state.stopped_early(training.early_stop)
        self.listener.after_validation(state.step, values, last=stops or state.step >= training.max_steps)
        if stops:
            self.trainer.should_stop = True

    def snapshot(self) -> dict[str, Any]:
        """Return everything that the rest of the training depends on, in primitives and tensors."""
        return {
            "state": dict(vars(self.state)),
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "means": self.mean and self.mean.means,
            "rng": rng_states(self.device),
        }

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Continue from a `snapshot`, whose tensors are on the CPU. The learner must be on its device."""
        self.network.load_state_dict(snapshot["network"])
        self.optimizer.load_state_dict(snapshot["optimizer"])  # torch moves states to their parameters' device
        self.state = TrainingState(**snapshot["state"])
        if self.state.loss_sum is not None:
            self.state.loss_sum = self.state.loss_sum.to(self.device)
        if self.mean is not None:
            self.mean.means = [mean.to(self.device) for mean in snapshot["means"]]
        set_rng_states(snapshot["rng"], self.device)

    def _copy_weights(self) -> dict[str, torch.Tensor]:
        return {key: tensor.detach().clone() for key, tensor in self.network.state_dict().items()}
