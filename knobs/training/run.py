"""Trains one run: from its `TrainJob` through Lightning's fit to its `Outcome`. Knows no MLflow and no Optuna."""

from __future__ import annotations

import logging
from contextlib import nullcontext
from typing import TYPE_CHECKING

import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from pytorch_lightning import Trainer
from pytorch_lightning.strategies import SingleDeviceStrategy

from knobs.config import RunConfig
from knobs.data.in_memory import float_type
from knobs.data.sharded import open_run_data
from knobs.devices import device_kind
from knobs.errors import BadInputError
from knobs.training.checkpoint import load_checkpoint
from knobs.training.endings import (
    complete_outcome,
    conclude_training,
    outcome_of_error,
    sample_text,
)
from knobs.training.environment import Clock, make_reproducible, warnings_logged
from knobs.training.initial_weights import load_initial_weights
from knobs.training.learner import Learner
from knobs.training.messages import Outcome
from knobs.training.metrics import choose_numbers
from knobs.training.monitor import RunMonitor
from knobs.training.network import build_network_of
from knobs.training.one_sample_batch import refuse_one_sample_batch_norm
from knobs.training.tested import run_tests

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from knobs.data.in_memory import InMemoryData
    from knobs.training.messages import TrainJob
    from knobs.training.monitor import Channel

for _name in ("pytorch_lightning", "lightning.pytorch"):
    logging.getLogger(_name).setLevel(logging.ERROR)


def run_job(job: TrainJob, channel: Channel, device: torch.device) -> Outcome:
    """Train the run, or evaluate its checkpoint, and return the outcome. A run's own errors never raise."""
    monitor = RunMonitor(job, channel)
    with warnings_logged(monitor.log):
        try:
            if job.evaluate_checkpoint is not None:
                outcome = _evaluate(job, job.evaluate_checkpoint, device)
            else:
                outcome = _train(job, monitor, device)
        except Exception as error:  # an exception of a model or a data set ends its run, not the study
            monitor.snapshots.close()
            outcome = outcome_of_error(error, device, monitor.log)
    return complete_outcome(outcome, monitor.points, monitor.log, device)


def _train(job: TrainJob, monitor: RunMonitor, device: torch.device) -> Outcome:
    config = RunConfig.from_json(job.config)
    refuse_untrainable(config, device)
    make_reproducible(config, device)
    clock = Clock()
    data = open_run_data(config, job.cache, device, job.fingerprint, test=job.read_test)
    network = build_network(config, device)
    if job.initial is not None:
        monitor.log.append(load_initial_weights(network, job.initial))
    learner = monitor.learner = Learner(config, network, monitor, device)
    restore_checkpoint(monitor, device)
    first = learner.state.step
    if not learner.state.stopped_early(config.training.early_stop):
        fit_learner(learner, data, device)
    monitor.snapshots.finish()
    costs = clock.costs(learner.state.step - first)
    return conclude_training(job, config, learner.network, learner.state, data, costs)


def refuse_untrainable(config: RunConfig, device: torch.device) -> None:
    """Raise `BadInputError` if this kind of device cannot train this run."""
    training = config.training
    if reason := device_kind(device.type).refusal(
        training.precision, config.model.kind, cuda_graph=training.cuda_graph
    ):
        raise BadInputError(reason)


def build_network(config: RunConfig, device: torch.device) -> nn.Module:
    """Build the config's network. It is built on the CPU first: the same initial weights on every device."""
    return build_network_of(config.model, config.network_spec).to(device, float_type(config))


def fit_learner(learner: Learner, data: InMemoryData, device: torch.device) -> None:
    """Train from the learner's step to the end."""
    data.start = learner.state.step
    if data.intervals_left() > 0:
        one_sample = data.batch_size == 1
        with refuse_one_sample_batch_norm(learner.config, learner.network) if one_sample else nullcontext():
            _trainer(learner.trained[0].device, data.intervals_left()).fit(learner, datamodule=data)


def restore_checkpoint(monitor: RunMonitor, device: torch.device) -> None:
    """Continue from the furthest readable checkpoint; start from step 0 if there is none."""
    for path in monitor.job.resume:
        try:
            snapshot = load_checkpoint(path, config=monitor.job.config)
        except BadInputError as error:
            monitor.log.append(f"skipped checkpoint: {error}")
            continue
        monitor.learner.restore(snapshot)
        monitor.log.append(f"continued from step {monitor.learner.state.step}")
        monitor.resend_points(snapshot["points"])
        return


def _evaluate(job: TrainJob, checkpoint: Path, device: torch.device) -> Outcome:
    """Read the test split once, with the weights of a checkpoint."""
    config = RunConfig.from_json(job.config)
    make_reproducible(config, device)
    state = load_checkpoint(checkpoint, config=job.config)
    data = open_run_data(config, job.cache, device, job.fingerprint)
    network = build_network(config, device)
    network.load_state_dict(state["network"])
    chosen = choose_numbers(network, data.batches(data.val), config, device)
    tested = run_tests(network, config, data, job.folder, chosen)
    return Outcome(
        state="finished",
        best_step=state["step"],
        summary=tested.values,
        left_out=tested.left_out,
        predictions=tested.predictions,
        sample=sample_text(network, config),
    )


def _trainer(device: torch.device, intervals: int) -> Trainer:
    """Return a bare trainer; learner, monitor and driver do its logging, saving and checking."""
    return Trainer(
        max_epochs=intervals,
        accelerator=device_kind(device.type).accelerator,
        devices=1,
        strategy=SingleDeviceStrategy(device),  # by default, Lightning trains accelerators of others on the CPU
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        plugins=[LightningEnvironment()],  # the driver handles a Slurm job; Lightning must not requeue it
    )
