"""Runs that differ in their seed alone, trained as one batch: a `Learner` over a stacked network.

Each member has its own initial weights, order of the data, dropout, gradient norm, clipping, best checkpoint, early
stop and curves. They equal those of its run alone, up to rounding. An interruption of the batch changes no bit.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from knobs.config import RunConfig
from knobs.data.in_memory import SeedBatchData
from knobs.devices import device_kind
from knobs.training.endings import complete_outcome, conclude_training, outcome_of_error
from knobs.training.environment import Clock, make_reproducible, warnings_logged
from knobs.training.learner import Learner
from knobs.training.messages import Outcome
from knobs.training.metrics import evaluate, loss_per_seed
from knobs.training.monitor import SeedBatchMonitor
from knobs.training.run import build_network, fit_learner, restore_checkpoint
from knobs.training.stacked_layers import member_state, stack_networks, stacking_pays
from knobs.training.state import TrainingState, divergence_message, steps_since

if TYPE_CHECKING:
    from collections.abc import Sequence

    from knobs.data.in_memory import Pair
    from knobs.training.messages import TrainJob
    from knobs.training.monitor import Channel

BATCH_SIZE = 5
"""Members of a full seed batch. More members save little and keep work from a second worker."""


def trains_as_batch(config: RunConfig, device: str) -> bool:
    """Return whether seeds of this config train as a batch. The rule depends on config and kind of device alone."""
    spec = config.data.spec()
    if config.training.precision == "bf16-mixed" or spec.shard:  # each member's order would need shards of its own
        return False
    with torch.random.fork_rng(devices=[]):
        return device_kind(device).stacks_seeds and stacking_pays(config.model.build(spec))


class SeedBatch(Learner):
    """Trains one network per config; the configs differ in `seed` alone."""

    listener: SeedBatchMonitor

    def __init__(self, configs: Sequence[RunConfig], listener: SeedBatchMonitor, device: torch.device) -> None:
        self.count = len(configs)
        networks, self.generators = [], []
        for config in configs:
            make_reproducible(config, device)
            networks.append(config.model.build(config.data.spec()))
            generator = torch.Generator(device).manual_seed(config.seed)
            if device_kind(device.type).rng_state(device) is None:  # alone, dropout draws on after the initial weights
                generator.set_state(torch.get_rng_state())
            self.generators.append(generator)
        super().__init__(configs[0], stack_networks(networks, self.generators), listener, device)
        self.ones = torch.ones(self.count, device=device, dtype=self.floats)
        self.members = [TrainingState() for _ in configs]
        self.divergences = [""] * self.count
        """Each member's message if it diverged, else empty."""

    def losses(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return each member's loss: (members,)."""
        return loss_per_seed(self.spec, outputs, targets, self.config.training.label_smoothing)

    def gradient_norm(self) -> torch.Tensor:
        """Return the Euclidean norm of each member's gradient: (members,)."""
        flat = [p.grad.flatten(1) for p in self.trained if p.grad is not None]
        norm: torch.Tensor = torch.linalg.vector_norm(torch.stack([g.norm(dim=1) for g in flat]), dim=0)
        return norm

    def layer_norms(self) -> dict[str, torch.Tensor]:
        """Return each member's norms of the gradients of its first and last weight matrix: (members,)."""
        matrices = [p.grad.flatten(1) for p in self.trained if p.dim() > 2 and p.grad is not None]
        return {"grad_norm/first": matrices[0].norm(dim=1), "grad_norm/last": matrices[-1].norm(dim=1)}

    def clip_gradient(self, norm: torch.Tensor, limit: float) -> None:
        """Scale each member's gradient by its own norm."""
        scale = (limit / (norm + 1e-6)).clamp(max=1.0)
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
        losses = (state.loss_sum.to(torch.float64) / steps_since(state.step, every)).tolist()
        norms, state.loss_sum = self.norm.tolist(), None
        for index, member in enumerate(self.members):
            if self.has_ended(index):
                continue
            values = {f"val/{k}": v for k, v in evaluate(self.spec, outputs[index], targets).items()}
            values |= {"train/loss": losses[index], "lr": self.rate, "grad_norm": norms[index]}
            values |= {name: float(norm[index]) for name, norm in self.layers.items()}
            member.step = state.step
            if message := divergence_message(values, member.step):
                self.divergences[index] = message
                continue
            copy_weights = partial(member_state, self.network.state_dict(), index)
            member.keep_if_best(values, self.monitored_metric, copy_weights, last=self.keeps_last)
            self.listener.after_member_validation(index, member.step, values)
        if self.all_ended():
            self.trainer.should_stop = True

    def has_ended(self, index: int) -> bool:
        """Return whether a member diverged or stopped early."""
        patience = self.config.training.early_stop
        return bool(self.divergences[index]) or self.members[index].stopped_early(patience)

    def all_ended(self) -> bool:
        """Return whether every member diverged or stopped early."""
        return all(map(self.has_ended, range(self.count)))

    def snapshot(self) -> dict[str, Any]:
        """Return everything that the rest of the training depends on, including each member's own state."""
        return {
            **super().snapshot(),
            "members": [dict(vars(member)) for member in self.members],
            "divergences": list(self.divergences),
            "generators": [generator.get_state() for generator in self.generators],
        }

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Continue from a `snapshot`."""
        super().restore(snapshot)
        self.members = [TrainingState(**member) for member in snapshot["members"]]
        self.divergences = list(snapshot["divergences"])
        for generator, drawn in zip(self.generators, snapshot["generators"], strict=True):
            generator.set_state(drawn)


def run_seed_batch(jobs: Sequence[TrainJob], channels: Sequence[Channel], device: torch.device) -> list[Outcome]:
    """Train the seed batch that `jobs` belong to, and return their outcomes. A run's own errors never raise.

    The jobs share config (except the seed), `batch_seeds` and `resume`. Members without a job are trained but not
    reported.
    """
    lead = RunConfig.from_json(jobs[0].config)
    seeds = jobs[0].batch_seeds
    configs = [lead.with_knobs({"seed": seed}) for seed in seeds]
    places = [seeds.index(RunConfig.from_json(job.config).seed) for job in jobs]
    identity = f"{configs[0].to_json()} {seeds}"  # the config that this seed batch's checkpoints carry
    monitor = SeedBatchMonitor(replace(jobs[0], config=identity), dict(zip(places, channels, strict=True)), len(seeds))
    with warnings_logged(monitor.log):
        try:
            outcomes = _train(configs, dict(zip(places, jobs, strict=True)), monitor, device)
        except Exception as error:  # as in a run alone; it ends all members
            monitor.snapshots.close()
            outcomes = [outcome_of_error(error, device, monitor.log)] * len(jobs)
    return [
        complete_outcome(outcome, monitor.member_points[place], monitor.log, device)
        for place, outcome in zip(places, outcomes, strict=True)
    ]


def _train(
    configs: list[RunConfig], jobs: dict[int, TrainJob], monitor: SeedBatchMonitor, device: torch.device
) -> list[Outcome]:
    clock = Clock()
    seeds = [config.seed for config in configs]
    data = SeedBatchData(configs[0], monitor.job.cache, device, seeds, monitor.job.fingerprint)
    batch = monitor.learner = SeedBatch(configs, monitor, device)
    restore_checkpoint(monitor, device)
    first = batch.state.step
    if not batch.all_ended():
        fit_learner(batch, data, device)
    monitor.snapshots.finish()
    costs = clock.costs(batch.state.step - first, len(configs))
    outcomes = []
    for place, job in jobs.items():
        if message := batch.divergences[place]:
            outcomes.append(Outcome(state="diverged", message=message))
            continue
        config = configs[place]
        network = build_network(config, device)
        outcomes.append(conclude_training(job, config, network, batch.members[place], data, costs))
    return outcomes
