"""Shared by tests: short trainings in this process, through the runner as a worker uses it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from datamodules.toy import Toy
from knobs import runner
from knobs.config import RunConfig, Training, Value
from knobs.job import Job, Outcome, Record
from knobs.optimizers import SGD
from knobs.schedules import Constant
from models.mlp import MLP


def toy_config(**changes: Value) -> RunConfig:
    """A small MLP on the toy set: 30 steps, 8 to an epoch, validated every 5. Knobs with `__` for the dot."""
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
    """The runner's channel: keeps what it hears, and asks for a stop before optimizer step `stop_at`."""

    stop_at: int | None = None
    answer: Callable[[int, float], bool] = lambda step, value: True
    records: list[Record] = field(default_factory=list)
    asked: list[tuple[int, float]] = field(default_factory=list)
    steps: int = 0

    @property
    def stopping(self) -> bool:
        """The runner reads this once before every step."""
        self.steps += 1
        return self.stop_at is not None and self.steps > self.stop_at

    def record(self, record: Record) -> None:
        """Keep it."""
        self.records.append(record)

    def goes_on(self, step: int, value: float) -> bool:
        """Note the question, give the answer."""
        self.asked.append((step, value))
        return self.answer(step, value)

    def curves(self) -> list[tuple[int, dict[str, float]]]:
        """What the store would hold."""
        return [(record.step, record.values) for record in self.records]


def train(config: RunConfig, folder: Path, listener: Listener | None = None, **job: Any) -> Outcome:
    """Train in this process, as a worker would."""
    folder.mkdir(parents=True, exist_ok=True)
    made = Job(run="r", config=config.to_json(), folder=folder / "attempt", cache=folder.parent / "cache", **job)
    return runner.run(made, listener or Listener(), torch.device("cpu"))


def lasting(outcome: Outcome) -> dict[str, float]:
    """The summary without what depends on the clock."""
    return {name: value for name, value in outcome.summary.items() if not name.startswith("system/")}
