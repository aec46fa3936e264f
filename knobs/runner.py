"""From a `RunConfig` through Lightning's fit to a stream of records. Knows no MLflow and no Optuna."""

from __future__ import annotations

import logging
import os
import random
import time
import traceback
import warnings
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

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

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CHECKPOINT_SECONDS = float(os.environ.get("KNOBS_CHECKPOINT_SECONDS", "10"))
"""Seconds of training between resumable checkpoints; a shorter run has none but on a signal."""

for _name in ("pytorch_lightning", "lightning.pytorch"):
    logging.getLogger(_name).setLevel(logging.ERROR)


class Channel(Protocol):
    """The runner's way out: where records go and where questions are answered."""

    @property
    def stopping(self) -> bool:
        """Asked for from outside: save and end at the next batch boundary."""

    def record(self, record: Record) -> None:
        """Hand on the values at one step."""

    def goes_on(self, step: int, value: float) -> bool:
        """Whether a training with this value at this step is worth going on with."""


class PrunedError(Exception):
    """The pruner said stop."""


class StoppedError(Exception):
    """A signal asked to stop; a snapshot is saved at `path`."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self.path = path


class Watch:
    """Saves snapshots when due, hands on records, asks the pruner."""

    learner: Learner

    def __init__(self, job: Job, channel: Channel) -> None:
        self.job, self.channel = job, channel
        self.log: list[str] = []
        self.due = time.monotonic() + CHECKPOINT_SECONDS
        self.saved: list[Path] = []
        self.records: list[Record] = []

    def between_steps(self) -> None:
        """Save what is due. Raises `StoppedError` where a stop was asked for."""
        if self.channel.stopping:
            self.save()
            raise StoppedError(self.saved[-1])
        if time.monotonic() >= self.due:
            self.save()

    def validated(self, step: int, values: Numbers) -> bool:
        """Hand on the values. Raises `PrunedError` where the pruner says stop."""
        record = Record(step=step, values=values, time_ms=time.time_ns() // 1_000_000)
        self.tell(record)
        if self.job.asks is not None and not self.channel.goes_on(step, values[self.job.asks]):
            raise PrunedError
        return True

    def tell(self, record: Record) -> None:
        """Hand on a record and keep it."""
        self.records.append(record)
        self.channel.record(record)

    def told(self) -> list[Any]:
        """What was told so far, in primitives."""
        return [vars(record) for record in self.records]

    def tell_again(self, told: list[Any]) -> None:
        """Of a checkpoint: the driver may have died before it wrote these records, and drops what it has."""
        for record in told:
            self.tell(Record(**record))

    def save(self) -> None:
        """Keep the two newest: should the newest be damaged, the one before it still goes on."""
        path = self.job.folder / f"step-{self.learner.progress.step:012d}.ckpt"
        checkpoint.save({"config": self.job.config, "records": self.told(), **self.learner.snapshot()}, path)
        if path not in self.saved:
            self.saved.append(path)
        for old in self.saved[:-2]:
            old.unlink(missing_ok=True)
        self.saved = self.saved[-2:]
        self.log.append(f"checkpoint at step {self.learner.progress.step}")
        self.due = time.monotonic() + CHECKPOINT_SECONDS


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
    batches = InMemoryData(config, job.cache, device, job.fingerprint)
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
    """A training's end: the weights that validation chose, read on the splits that the job may read, and saved."""
    progress = learner.progress
    if progress.best_step < 0:
        raise BadInputError("training ended before its first validation")
    learner.use_best()
    summary = {"best/step": float(progress.best_step)}
    summary |= {f"best/{name}": value for name, value in progress.best_values.items()}
    chosen = learner.evaluate(batches.batches(batches.train))
    summary |= {f"best/train/{name}": value for name, value in chosen.items()}
    if job.test:
        summary |= {f"test/{name}": value for name, value in learner.evaluate(batches.batches(batches.test)).items()}
    summary["parameters"] = float(sum(p.numel() for p in learner.network.parameters()))
    summary |= {f"system/{name}": value for name, value in costs.items()}
    best = job.folder / "best.ckpt"
    checkpoint.save({"config": job.config, "step": progress.best_step, "network": progress.best_state}, best)
    return Outcome(state="finished", best_step=progress.best_step, summary=summary, checkpoint=best)


def _evaluate(job: Job, device: torch.device) -> Outcome:
    """Read the test split once, with a checkpoint that is there."""
    assert job.evaluate is not None
    config = RunConfig.from_json(job.config)
    reproducible(config, device)
    state = checkpoint.load(job.evaluate, config=job.config, device=device)
    batches = InMemoryData(config, job.cache, device, job.fingerprint)
    learner = Learner(config, config.data.spec(), Watch(job, _Silent()), device)
    learner.network.load_state_dict(state["network"])
    values = learner.evaluate(batches.batches(batches.test))
    summary = {f"test/{name}": value for name, value in values.items()}
    return Outcome(state="finished", best_step=state["step"], summary=summary)


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
