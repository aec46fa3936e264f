"""Runs trained as one batch: a `Learner` over a stacked network.

The members share layers, data and steps. They may differ in seed, learning rate and the optimizer's other numbers,
schedule, dropout rate, the objective's numbers, initial weights, clipping, early stop and choice of the checkpoint
(`batch/rule.py`). Each has its own order of the data, best checkpoint, curves and end. They equal those of its run
alone, up to rounding. An interruption of the batch changes no bit. A member that has ended is trained on unheard, so
that the others' bits do not depend on it.
"""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from knobs.config import RunConfig
from knobs.data.in_memory import RunBatchData
from knobs.devices import device_kind
from knobs.training.batch.stacking import member_state, stack_networks
from knobs.training.combined_optimizer import CombinedOptimizer
from knobs.training.endings import complete_outcome, conclude_training, outcome_of_error
from knobs.training.environment import Clock, make_reproducible, warnings_logged
from knobs.training.learner import Learner
from knobs.training.losses import BatchLoss
from knobs.training.messages import Outcome
from knobs.training.metrics import evaluate_members, nan_fault
from knobs.training.monitor import BatchMonitor
from knobs.training.run import build_network, fit_learner, refuse_untrainable, restore_checkpoint
from knobs.training.state import TrainingState, divergence_message, steps_since

if TYPE_CHECKING:
    from collections.abc import Sequence

    from knobs.data.in_memory import Pair
    from knobs.training.messages import TrainJob
    from knobs.training.monitor import Channel


class RunBatch(Learner):
    """Trains one network per config."""

    listener: BatchMonitor

    def __init__(self, configs: Sequence[RunConfig], listener: BatchMonitor, device: torch.device) -> None:
        self.configs, self.count = list(configs), len(configs)
        networks, self.generators = [], []
        for config in configs:
            make_reproducible(config, device)
            networks.append(config.model.build(config.network_spec))
            generator = device_kind(device.type).generator(device).manual_seed(config.seed)
            if device_kind(device.type).rng_state(device) is None:  # alone, dropout draws on after the initial weights
                generator.set_state(torch.get_rng_state())
            self.generators.append(generator)
        super().__init__(configs[0], stack_networks(networks, self.generators), listener, device)
        self.ones = torch.ones(self.count, device=device, dtype=self.floats)
        limits = [config.training.clip_norm for config in configs]
        self.limits = None
        """Each member's limit of the gradient's norm; None if nobody clips."""
        if any(limits):
            self.limits = torch.tensor([limit or torch.inf for limit in limits], device=device, dtype=self.floats)
        self.member_metrics = [config.metrics for config in configs]
        self.monitored_metrics = [config.monitored for config in configs]
        self.rates = [0.0] * self.count
        self.members = [TrainingState() for _ in configs]
        self.divergences = [""] * self.count
        """Each member's message if it diverged, else empty."""
        self.pruned = [False] * self.count

    def build_loss(self) -> BatchLoss:
        """Return the losses of all members, which step by step are (members,)."""
        return BatchLoss([config.objective for config in self.configs], self.training_targets)

    def build_optimizer(self, named: list[tuple[str, torch.nn.Parameter]]) -> torch.optim.Optimizer:
        """Return one optimizer: over the stacked weights if members agree, else with each member's groups of views."""
        first = self.configs[0]
        self.views: list[list[torch.Tensor]] = []
        """For each parameter, every member's part of it, if members have groups of their own."""
        self.owners: list[int] = []
        """The member of each group, if members have groups of their own."""
        agree = all((c.optimizer, c.schedule) == (first.optimizer, first.schedule) for c in self.configs)
        if agree and first.optimizer.elementwise and first.optimizer.treats_all_alike:
            return first.optimizer.build(named)
        self.views = [list(parameter.detach().unbind(0)) for _, parameter in named]
        names = [name for name, _ in named]
        made = [
            config.optimizer.build(list(zip(names, views, strict=True)))
            for config, views in zip(self.configs, zip(*self.views, strict=True), strict=True)
        ]
        for member, optimizer in enumerate(made):
            self.owners += [member] * len(optimizer.param_groups)
        if not type(made[0]).__module__.startswith("torch.optim"):  # its step may read more than its groups
            return CombinedOptimizer(made)
        for member, optimizer in enumerate(made):
            if member:
                for group in optimizer.param_groups:
                    made[0].add_param_group(group)
                made[0].state.update(optimizer.state)  # it may begin before the first step
        return made[0]

    def set_rate(self, step: int) -> None:
        """Set each member's learning rate of this step."""
        most = self.config.training.max_steps
        if self.owners:
            self.rates = [c.optimizer.lr * c.schedule.factor(step, most) for c in self.configs]
        else:
            super().set_rate(step)
            self.rates = [self.rate] * self.count

    def update_weights(self) -> None:
        """Let the optimizer change the weights; drop the gradients."""
        if not self.owners:
            super().update_weights()
            return
        for group, member in zip(self.optimizer.param_groups, self.owners, strict=True):
            group["lr"] = self.rates[member] * group.get("lr_scale", 1.0)
        for parameter, views in zip(self.trained, self.views, strict=True):
            if parameter.grad is not None:
                for view, gradient in zip(views, parameter.grad.unbind(0), strict=True):
                    view.grad = gradient
            parameter.grad = None
        self.optimizer.step()

    def gradient_norm(self) -> torch.Tensor:
        """Return the Euclidean norm of each member's gradient: (members,)."""
        flat = [p.grad.flatten(1) for p in self.trained if p.grad is not None]
        norm: torch.Tensor = torch.linalg.vector_norm(torch.stack([g.norm(dim=1) for g in flat]), dim=0)
        return norm

    def layer_norms(self) -> dict[str, torch.Tensor]:
        """Return each member's norms of the gradients of its first and last weight matrix: (members,)."""
        matrices = [p.grad.flatten(1) for p in self.trained if p.dim() > 2 and p.grad is not None]
        return {"grad_norm/first": matrices[0].norm(dim=1), "grad_norm/last": matrices[-1].norm(dim=1)}

    @property
    def clips(self) -> bool:
        """True if a member clips its gradient."""
        return self.limits is not None

    def clip_gradient(self, norm: torch.Tensor) -> None:
        """Scale each member's gradient by its own norm, down to its own limit."""
        assert self.limits is not None
        scale = (self.limits / (norm + 1e-6)).clamp(max=1.0)
        for parameter in self.trained:
            if parameter.grad is not None:
                parameter.grad.mul_(scale.view(-1, *[1] * (parameter.grad.dim() - 1)))

    def validation_step(self, batch: Pair, _: int) -> None:
        """Collect all members' outputs of the same samples."""
        x, y = batch
        self.outputs.append(self.network(x.expand(self.count, *x.shape)).to(self.floats))
        self.targets.append(y)

    def on_validation_epoch_end(self) -> None:
        """Read the interval's numbers, and keep the best weights of each member that has not ended."""
        state, every = self.state, self.trainer.datamodule.val_every  # type: ignore[attr-defined]
        assert state.loss_sum is not None
        outputs, targets = torch.cat(self.outputs, dim=1), torch.cat(self.targets)
        read = device_kind(self.device.type).numbers
        losses = [value / steps_since(state.step, every) for value in read(state.loss_sum.unbind())]
        norms, state.loss_sum = read(self.norm.unbind()), None
        going_on = [index for index in range(self.count) if not self.has_ended(index)]
        found = evaluate_members(
            [self.member_metrics[index] for index in going_on], [outputs[index] for index in going_on], targets
        )
        weights = self.network.state_dict()
        for index, metrics in zip(going_on, found, strict=True):
            member = self.members[index]
            values = {f"val/{name}": value for name, value in metrics.items()}
            values |= {"train/loss": losses[index], "lr": self.rates[index], "grad_norm": norms[index]}
            values |= {name: float(norm[index]) for name, norm in self.layers.items()}
            member.step = state.step
            if message := divergence_message(values, member.step):
                fault = self.loss.fault() or nan_fault(self.member_metrics[index], values)
                self.divergences[index] = fault or message
                continue
            training = self.configs[index].training
            copy_weights = partial(member_state, weights, index)
            member.keep_if_best(values, self.monitored_metrics[index], copy_weights, last=training.keep == "last")
            last = member.stopped_early(training.early_stop) or member.step >= training.max_steps
            if not self.listener.after_member_validation(index, member.step, values, last=last):
                self.pruned[index] = True
        if self.all_ended():
            self.trainer.should_stop = True

    def has_ended(self, index: int) -> bool:
        """Return whether a member diverged, was pruned or stopped early."""
        patience = self.configs[index].training.early_stop
        ended = bool(self.divergences[index]) or self.pruned[index]
        return ended or self.members[index].stopped_early(patience)

    def all_ended(self) -> bool:
        """Return whether every member has ended."""
        return all(map(self.has_ended, range(self.count)))

    def snapshot(self) -> dict[str, Any]:
        """Return everything that the rest of the training depends on, including each member's own state."""
        return {
            **super().snapshot(),
            "members": [dict(vars(member)) for member in self.members],
            "divergences": list(self.divergences),
            "pruned": list(self.pruned),
            "generators": [generator.get_state() for generator in self.generators],
        }

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Continue from a `snapshot`."""
        super().restore(snapshot)
        self.members = [TrainingState(**member) for member in snapshot["members"]]
        self.divergences = list(snapshot["divergences"])
        self.pruned = list(snapshot["pruned"])
        for generator, drawn in zip(self.generators, snapshot["generators"], strict=True):
            generator.set_state(drawn)


def run_batch(jobs: Sequence[TrainJob], channels: Sequence[Channel], device: torch.device) -> list[Outcome]:
    """Train the batch that `jobs` belong to, and return their outcomes. A run's own errors never raise.

    The jobs share `batch` and `resume`. Members without a job are trained but not reported.
    """
    members = jobs[0].batch
    places = [members.index(job.config) for job in jobs]
    identity = json.dumps(members)  # the config that this batch's checkpoints carry
    by_place = dict(zip(places, jobs, strict=True))
    monitor = BatchMonitor(
        replace(jobs[0], config=identity), by_place, dict(zip(places, channels, strict=True)), len(members)
    )
    with warnings_logged(monitor.log):
        try:
            outcomes = _train([RunConfig.from_json(text) for text in members], by_place, monitor, device)
        except Exception as error:  # as in a run alone; it ends all members
            monitor.snapshots.close()
            outcomes = [outcome_of_error(error, device, monitor.log)] * len(jobs)
    return [
        complete_outcome(outcome, monitor.member_points[place], monitor.log, device)
        for place, outcome in zip(places, outcomes, strict=True)
    ]


def _train(
    configs: list[RunConfig], jobs: dict[int, TrainJob], monitor: BatchMonitor, device: torch.device
) -> list[Outcome]:
    refuse_untrainable(configs[0], device)
    clock = Clock()
    seeds = [config.seed for config in configs]
    data = RunBatchData(configs[0], monitor.job.cache, device, seeds, monitor.job.fingerprint)
    batch = monitor.learner = RunBatch(configs, monitor, device)
    restore_checkpoint(monitor, device)
    first = batch.state.step
    if not batch.all_ended():
        fit_learner(batch, data, device)
    monitor.snapshots.finish()
    costs = clock.costs(batch.state.step - first, len(configs))
    outcomes = []
    for place, job in jobs.items():
        if batch.pruned[place]:
            outcomes.append(Outcome(state="pruned", message="pruned"))
            continue
        if message := batch.divergences[place]:
            outcomes.append(Outcome(state="diverged", message=message))
            continue
        config = configs[place]
        network = build_network(config, device)
        outcomes.append(conclude_training(job, config, network, batch.members[place], data, costs))
    return outcomes
