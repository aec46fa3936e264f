"""Runs that differ in their seed alone, trained as one batch: a `Learner` over a stacked network.

Each member has its own initial weights, order of the data, dropout, gradient norm, clipping, best checkpoint, early
stop and curves: those of its run alone, up to rounding. How a population was interrupted moves no bit.
"""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from knobs import metrics, runner, stacked
from knobs.config import RunConfig
from knobs.datamodule import PopulationData
from knobs.job import Job, Outcome, Record
from knobs.learner import Learner, Progress, diverged, steps_since
from knobs.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from knobs.data import DataSpec
    from knobs.datamodule import Pair
    from knobs.learner import Numbers
    from knobs.watch import Channel

SIZE = 5
"""Members of a full population: more save little, and hold up a second worker."""


def trains_together(config: RunConfig, device: str) -> bool:
    """Whether seeds of this config train as a population: a rule on config and kind of device, never a timing."""
    spec = config.data.spec()
    if config.training.precision == "bf16-mixed" or spec.shard:  # members' orders would each want shards of their own
        return False
    with torch.random.fork_rng(devices=[]):
        return stacked.pays(config.model.build(spec), device)


class Population(Learner):
    """Trains one network for each config; they differ in `seed` alone."""

    watch: _Watch

    def __init__(self, configs: Sequence[RunConfig], spec: DataSpec, watch: _Watch, device: torch.device) -> None:
        self.count = len(configs)
        networks, self.generators = [], []
        for config in configs:
            runner.reproducible(config, device)
            networks.append(config.model.build(spec))
            generator = torch.Generator(device).manual_seed(config.seed)
            if device.type == "cpu":  # alone, dropout draws on after the initial weights
                generator.set_state(torch.get_rng_state())
            self.generators.append(generator)
        super().__init__(configs[0], spec, watch, device, stacked.stack(networks, self.generators))
        self.ones = torch.ones(self.count, device=device, dtype=self.floats)
        self.members = [Progress() for _ in configs]
        self.diverged = [""] * self.count
        """Of each member what became NaN or infinite; empty: nothing."""

    def losses(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Each member's loss: (members,)."""
        return metrics.member_losses(self.spec, outputs, targets, self.config.training.label_smoothing)

    def gradient_norm(self) -> torch.Tensor:
        """Euclidean norm of each member's gradient: (members,)."""
        flat = [p.grad.flatten(1) for p in self.trained if p.grad is not None]
        norm: torch.Tensor = torch.linalg.vector_norm(torch.stack([g.norm(dim=1) for g in flat]), dim=0)
        return norm

    def layer_norms(self) -> dict[str, torch.Tensor]:
        """Of each member: (members,)."""
        matrices = [p.grad.flatten(1) for p in self.trained if p.dim() > 2 and p.grad is not None]
        return {"grad_norm/first": matrices[0].norm(dim=1), "grad_norm/last": matrices[-1].norm(dim=1)}

    def clip(self, most: float) -> None:
        """Scale each member's gradient by itself."""
        scale = (most / (self.norm + 1e-6)).clamp(max=1.0)
        for parameter in self.trained:
            if parameter.grad is not None:
                parameter.grad.mul_(scale.view(-1, *[1] * (parameter.grad.dim() - 1)))

    def validation_step(self, batch: Pair, _: int) -> None:
        """All members see the same samples."""
        x, y = batch
        self.outputs.append(self.network(x.expand(self.count, *x.shape)).to(self.floats))
        self.targets.append(y)

    def on_validation_epoch_end(self) -> None:
        """Reads the interval's numbers, and judges each member that is still in."""
        progress, every = self.progress, self.trainer.datamodule.val_every  # type: ignore[attr-defined]
        assert progress.loss_sum is not None
        outputs, targets = torch.cat(self.outputs, dim=1), torch.cat(self.targets)
        losses = (progress.loss_sum.to(torch.float64) / steps_since(progress.step, every)).tolist()
        norms, progress.loss_sum = self.norm.tolist(), None
        for index, one in enumerate(self.members):
            if self.over(index):
                continue
            values = {f"val/{k}": v for k, v in metrics.evaluate(self.spec, outputs[index], targets).items()}
            values |= {"train/loss": losses[index], "lr": self.rate, "grad_norm": norms[index]}
            if self.config.training.layer_norms:
                values |= {name: float(norm[index]) for name, norm in self.layers.items()}
            one.step = progress.step
            if told := diverged(values, one.step):
                self.diverged[index] = told
                continue
            copied = partial(stacked.member, self.network.state_dict(), index)
            one.judge(values, self.monitor, copied, last=self.keeps_last)
            self.watch.heard(index, one.step, values)
        if all(map(self.over, range(self.count))):
            self.trainer.should_stop = True

    def over(self, index: int) -> bool:
        """Whether a member has ended before the others."""
        patience = self.config.training.early_stop
        return bool(self.diverged[index]) or self.members[index].stopped_early(patience)

    def snapshot(self) -> dict[str, Any]:
        """All that the rest depends on, each member's own too."""
        states = [generator.get_state() for generator in self.generators]
        members = [dict(vars(one)) for one in self.members]
        return {**super().snapshot(), "members": members, "diverged": list(self.diverged), "generators": states}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a `snapshot`."""
        super().restore(state)
        self.members = [Progress(**one) for one in state["members"]]
        self.diverged = list(state["diverged"])
        for generator, drawn in zip(self.generators, state["generators"], strict=True):
            generator.set_state(drawn.cpu())


class _Watch(Watch):
    """Hands each member's records to its own channel, if it has one."""

    learner: Population

    def __init__(self, job: Job, channels: dict[int, Channel], count: int) -> None:
        super().__init__(job, next(iter(channels.values())))
        self.channels = channels
        self.heard_of: list[list[Record]] = [[] for _ in range(count)]

    def heard(self, index: int, step: int, values: Numbers) -> None:
        """One member's values after a validation."""
        self._tell(index, Record(step=step, values=values, time_ms=time.time_ns() // 1_000_000))

    def told(self) -> list[Any]:
        """Each member's records."""
        return [[vars(record) for record in records] for records in self.heard_of]

    def tell_again(self, told: list[Any]) -> None:
        """Each to its own."""
        for index, records in enumerate(told):
            for record in records:
                self._tell(index, Record(**record))

    def _tell(self, index: int, record: Record) -> None:
        self.heard_of[index].append(record)
        if index in self.channels:
            self.channels[index].record(record)


def run(jobs: Sequence[Job], channels: Sequence[Channel], device: torch.device) -> list[Outcome]:
    """Train the population that `jobs` belong to, to its end. Members without a job are trained and not told of.

    Jobs share config but for the seed, `seeds`, and `resume`. Never raises for what a run can do wrong.
    """
    lead = RunConfig.from_json(jobs[0].config)
    seeds = jobs[0].seeds
    configs = [lead.with_knobs({"seed": seed}) for seed in seeds]
    places = [seeds.index(RunConfig.from_json(job.config).seed) for job in jobs]
    belongs = f"{configs[0].to_json()} {seeds}"  # what a checkpoint of this population carries as its config
    heard = dict(zip(places, channels, strict=True))
    watch = _Watch(replace(jobs[0], config=belongs), heard, len(seeds))
    with runner.warned(watch):
        try:
            outcomes = _train(configs, dict(zip(places, jobs, strict=True)), watch, device)
        except Exception as error:  # as for a run alone; it ends all members
            outcomes = [runner.end_of(error, device, watch.log)] * len(jobs)
    return [
        runner.complete(outcome, watch.heard_of[place], watch.log, device)
        for place, outcome in zip(places, outcomes, strict=True)
    ]


def _train(configs: list[RunConfig], jobs: dict[int, Job], watch: _Watch, device: torch.device) -> list[Outcome]:
    spec, clock = configs[0].data.spec(), runner.Clock()
    seeds = [config.seed for config in configs]
    batches = PopulationData(configs[0], watch.job.cache, device, seeds, watch.job.fingerprint)
    population = watch.learner = Population(configs, spec, watch, device)
    runner.restore(watch, device)
    first = population.progress.step
    if not all(map(population.over, range(len(configs)))):
        runner.fit(population, batches, device)
    costs = clock.costs(population.progress.step - first, len(configs))
    outcomes = []
    for place, job in jobs.items():
        if told := population.diverged[place]:
            outcomes.append(Outcome(state="diverged", message=told))
            continue
        alone = Learner(configs[place], spec, watch, device)
        alone.progress = population.members[place]
        outcomes.append(runner.conclude(job, alone, batches, costs))
    return outcomes
