"""From a `RunConfig` through Lightning's fit to a stream of records. Knows no MLflow and no Optuna."""

from __future__ import annotations

import logging
import random
import time
import traceback
import warnings
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from pytorch_lightning import Trainer

from knobs import batch_of_one, checkpoint, picture, provenance
from knobs.config import RunConfig
from knobs.datamodule import InMemoryData
from knobs.errors import BadInputError, KnobsError, StoreError
from knobs.job import Job, Outcome, Record
from knobs.learner import DivergedError, Learner, Numbers
from knobs.shards import opened
from knobs.watch import Channel, PrunedError, StoppedError, Watch

if TYPE_CHECKING:
    from collections.abc import Iterator

for _name in ("pytorch_lightning", "lightning.pytorch"):
    logging.getLogger(_name).setLevel(logging.ERROR)


def run(job: Job, channel: Channel, device: torch.device) -> Outcome:
    """Do a job to its end, whatever the end is. Never raises for what a run can do wrong."""
    watch = Watch(job, channel)
    with warned(watch):
        try:
            outcome = _evaluate(job, device) if job.evaluate else _train(job, watch, device)
        except Exception as error:  # a model's or data set's own exception ends its run, not the study
            outcome = end_of(error, device, watch.log)
    return complete(outcome, watch.records, watch.log, device)


@contextmanager
def warned(watch: Watch) -> Iterator[None]:
    """Warnings within go to the run's log."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        yield
    watch.log += [f"{entry.category.__name__}: {entry.message}" for entry in caught]


def complete(outcome: Outcome, records: list[Record], log: list[str], device: torch.device) -> Outcome:
    """An outcome with its log, its picture and what could change a bit."""
    drawn = picture.draw(records, outcome.best_step)
    return replace(outcome, environment=environment(device), log="\n".join(log), picture=drawn)


def end_of(error: Exception, device: torch.device, log: list[str]) -> Outcome:
    """How a training ends that raised."""
    match error:
        case PrunedError():
            return Outcome(state="pruned", message="pruned")
        case DivergedError():
            return Outcome(state="diverged", message=str(error))
        case StoppedError():
            return Outcome(state="interrupted", message="interrupted", checkpoint=error.path)
        case StoreError():
            return Outcome(state="unsaved", message=str(error))
        case KnobsError():
            return Outcome(state="failed", message=str(error))
    if is_out_of_memory(error):
        if device.type == "cuda":
            torch.cuda.empty_cache()
        return Outcome(state="out_of_memory", message=str(error).strip().partition("\n")[0])
    log.append("".join(traceback.format_exception(error)))
    return Outcome(state="failed", message=f"{type(error).__name__}: {error}".partition("\n")[0])


def _train(job: Job, watch: Watch, device: torch.device) -> Outcome:
    config = RunConfig.from_json(job.config)
    reproducible(config, device)
    clock = Clock()
    batches = opened(config, job.cache, device, job.fingerprint)
    learner = watch.learner = Learner(config, config.data.spec(), watch, device)
    restore(watch, device)
    first = learner.progress.step
    if not learner.progress.stopped_early(config.training.early_stop):
        fit(learner, batches, device)
    return conclude(job, learner, batches, clock.costs(learner.progress.step - first))


class Clock:
    """What a training costs."""

    def __init__(self) -> None:
        self.wall, self.processor = time.perf_counter(), time.process_time()

    def costs(self, steps: int, runs: int = 1) -> Numbers:
        """Each run's share, and optimizer steps of all runs a second."""
        seconds, processor = time.perf_counter() - self.wall, time.process_time() - self.processor
        return {
            "seconds": seconds / runs,
            "cpu_seconds": processor / runs,
            "steps_per_second": runs * steps / seconds,
        }


def fit(learner: Learner, batches: InMemoryData, device: torch.device) -> None:
    """Train from the learner's step on, to the end."""
    batches.start = learner.progress.step
    if batches.intervals_left() > 0:
        with batch_of_one.explained(learner.config):
            _trainer(device, batches.intervals_left()).fit(learner, datamodule=batches)


def conclude(job: Job, learner: Learner, batches: InMemoryData, costs: Numbers) -> Outcome:
    """A training's end: the weights that are kept, read on the splits that the job may read, and saved."""
    progress = learner.progress
    if progress.best_step < 0:
        raise BadInputError("training ended before its first validation")
    learner.use_best()
    summary = {"best/step": float(progress.best_step)}
    summary |= {f"best/{name}": value for name, value in progress.best_values.items()}
    chosen = learner.evaluate(batches.training_batches())
    summary |= {f"best/train/{name}": value for name, value in chosen.items()}
    summary |= tested(learner, batches) if job.test else {}
    summary["parameters"] = float(sum(p.numel() for p in learner.network.parameters()))
    summary |= {f"system/{name}": value for name, value in costs.items()}
    best = job.folder / "best.ckpt"
    checkpoint.save({"config": job.config, "step": progress.best_step, "network": progress.best_state}, best)
    return Outcome(
        state="finished",
        best_step=progress.best_step,
        summary=summary,
        checkpoint=best,
        sample=sampled(learner) if job.test else "",
    )


def tested(learner: Learner, batches: InMemoryData) -> Numbers:
    """The test split, and what other test splits there are."""
    found = {f"test/{name}": value for name, value in learner.evaluate(batches.batches(batches.test)).items()}
    for split, pair in batches.extra.items():
        more = learner.evaluate(batches.batches(pair))
        found |= {f"test/{split}/{name}": value for name, value in more.items()}
    return found


def sampled(learner: Learner) -> str:
    """What the data set makes of the trained network in words."""
    learner.network.eval()
    with torch.inference_mode():
        return learner.config.data.sample(learner.network)


def _evaluate(job: Job, device: torch.device) -> Outcome:
    """Read the test split once, with a checkpoint that is there."""
    assert job.evaluate is not None
    config = RunConfig.from_json(job.config)
    reproducible(config, device)
    state = checkpoint.load(job.evaluate, config=job.config, device=device)
    batches = opened(config, job.cache, device, job.fingerprint)
    learner = Learner(config, config.data.spec(), Watch(job, _Silent()), device)
    learner.network.load_state_dict(state["network"])
    summary, sample = tested(learner, batches), sampled(learner)
    return Outcome(state="finished", best_step=state["step"], summary=summary, sample=sample)


class _Silent:
    stopping = False

    def record(self, record: Record) -> None:
        del record

    def goes_on(self, step: int, value: float) -> bool:
        del step, value
        return True


def _trainer(device: torch.device, intervals: int) -> Trainer:
    """A bare trainer: what it would log, print, save or check, the learner and the driver do."""
    return Trainer(
        max_epochs=intervals,
        accelerator={"cpu": "cpu", "cuda": "gpu", "mps": "mps"}[device.type],
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        plugins=[LightningEnvironment()],  # a Slurm job is the driver's business: no requeueing from here
    )


def reproducible(config: RunConfig, device: torch.device) -> None:
    """Seeds, thread count and algorithms, as the config and the device ask."""
    torch.set_num_threads(config.training.threads)
    torch.manual_seed(config.seed)
    random.seed(config.seed)
    np.random.seed(config.seed % 2**32)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.use_deterministic_algorithms(device.type == "cuda")
    torch.backends.cudnn.benchmark = False


def restore(watch: Watch, device: torch.device) -> None:
    """Go on from the furthest checkpoint that can be read; from the start where none can."""
    for path in watch.job.resume:
        try:
            state = checkpoint.load(path, config=watch.job.config, device=device)
        except BadInputError as error:
            watch.log.append(f"passed over: {error}")
            continue
        watch.learner.restore(state)
        watch.log.append(f"goes on from step {watch.learner.progress.step}")
        watch.tell_again(state["records"])
        return


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that a device or the host had no memory left."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and ("DefaultCPUAllocator" in text or "out of memory" in text.lower())


def environment(device: torch.device) -> dict[str, str]:
    """What could change a bit: versions, instruction set, device, threads, flags."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return {
        **provenance.torch_state(),
        "device": device.type,
        "device_name": name,
        "threads": str(torch.get_num_threads()),
    }
