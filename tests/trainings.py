"""Short trainings in this process, called as a worker calls them. Shared by tests."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from datamodules.toy import Toy
from knobs import RunConfig, Training, Value
from knobs.training import CurvePoint, Outcome, TrainJob
from knobs.training.batch.run_batch import run_batch
from knobs.training.run import run_job
from models.mlp import MLP
from optimizers.sgd import SGD
from schedules.constant import Constant


def toy_config(**changes: Value) -> RunConfig:
    """Return a small MLP on the toy set: 30 steps, 8 per epoch, validated every 5. Write `__` for the dot of a knob."""
    base = RunConfig(
        model=MLP(depth=1, width=16),
        data=Toy(),
        optimizer=SGD(lr=0.1),
        schedule=Constant(),
        training=Training(max_steps=30, val_every=5),
    )
    return base.with_knobs({name.replace("__", "."): value for name, value in changes.items()})


@dataclass
class Listener:
    """A channel that keeps the points it receives and asks for a stop before optimizer step `stop_at`."""

    stop_at: int | None = None
    answer: Callable[[int, float], bool] = lambda step, value: True
    records: list[CurvePoint] = field(default_factory=list)
    asked: list[tuple[int, float]] = field(default_factory=list)
    steps: int = 0
    saved_bytes: int = 0
    """Bytes that the run said it writes before it ends."""

    @property
    def stopping(self) -> bool:
        """Return whether the run must stop. The run reads this once before every step."""
        self.steps += 1
        return self.stop_at is not None and self.steps > self.stop_at

    def saving(self, size: int) -> None:
        """Note the bytes."""
        self.saved_bytes = size

    def record(self, point: CurvePoint) -> None:
        """Keep the point."""
        self.records.append(point)

    def should_continue(self, step: int, value: float) -> bool:
        """Note the call. Return the prepared answer."""
        self.asked.append((step, value))
        return self.answer(step, value)

    def curves(self) -> list[tuple[int, dict[str, float]]]:
        """Return step and values of every point received."""
        return [(record.step, record.values) for record in self.records]


def train(config: RunConfig, folder: Path, listener: Listener | None = None, **job: Any) -> Outcome:
    """Train in this process, as a worker does."""
    folder.mkdir(parents=True, exist_ok=True)
    made = TrainJob(run="r", config=config.to_json(), folder=folder / "attempt", cache=folder.parent / "cache", **job)
    return run_job(made, listener or Listener(), torch.device("cpu"))


def lasting(outcome: Outcome) -> dict[str, float]:
    """Return the summary without the values that depend on the clock."""
    return {name: value for name, value in outcome.summary.items() if not name.startswith("system/")}


SEEDS = (3, 4, 5)
"""Seeds of the members of a batch."""


def together(
    configs: Sequence[RunConfig],
    folder: Path,
    *,
    wanted: Sequence[int] | None = None,
    stop_at: int | None = None,
    resume: tuple[Path, ...] = (),
    device: str = "cpu",
    answers: Mapping[int, Callable[[int, float], bool]] | None = None,
    **job: Any,
) -> list[tuple[Outcome, Listener]]:
    """Train a batch in this process, as a worker does.

    `wanted`: the places of members to report; default: all. `answers`: the pruner's answers to some members.
    """
    places = range(len(configs)) if wanted is None else wanted
    listeners = [Listener(stop_at=stop_at) for _ in places]
    for place, answer in (answers or {}).items():
        listeners[place].answer = answer
    members = tuple(config.to_json() for config in configs)
    jobs = [
        TrainJob(
            run=str(place),
            config=members[place],
            folder=folder / str(place),
            cache=folder.parent / "cache",
            resume=resume,
            batch=members,
            read_test=True,
            **job,
        )
        for place in places
    ]
    return list(zip(run_batch(jobs, listeners, torch.device(device)), listeners, strict=True))


def of_seeds(config: RunConfig, seeds: Sequence[int] = SEEDS) -> list[RunConfig]:
    """Return the config with each of these seeds."""
    return [config.with_knobs({"seed": seed}) for seed in seeds]


def alone(config: RunConfig, folder: Path) -> tuple[Outcome, Listener]:
    """Train one run by itself."""
    listener = Listener()
    return train(config, folder, listener, read_test=True), listener


def close(one: dict[str, float], other: dict[str, float], tolerance: float) -> bool:
    """Return whether two sets of values have the same names and differ by at most the relative tolerance."""
    return one.keys() == other.keys() and all(abs(one[k] - other[k]) <= tolerance * max(1, abs(one[k])) for k in one)
