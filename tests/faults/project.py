"""A small project outside the repository: studies of short trials. `KNOBS_SLOW` sets their speed."""

from __future__ import annotations

from pathlib import Path

SLOW = '''"""A multilayer perceptron that waits: its values are the same at any speed."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from knobs import part
from models.mlp import MLP
from torch import Tensor, nn

if TYPE_CHECKING:
    from knobs import DataSpec

SECONDS = float(os.environ.get("KNOBS_SLOW", "0"))


@part
class Slow(MLP):
    """`KNOBS_SLOW` is seconds for each forward pass."""

    def build(self, spec: DataSpec) -> nn.Module:
        """Wait, then compute."""
        return nn.Sequential(Wait(), super().build(spec))


class Wait(nn.Module):
    """Sleeps."""

    def forward(self, x: Tensor) -> Tensor:
        """The same values, later."""
        time.sleep(SECONDS)
        return x
'''

QUICK = '''"""Short trials with dropout, batch norm and momentum: a resume that forgets any state changes the values."""

import optuna
from datamodules.toy import Toy
from knobs import RunConfig, Study, Training
from models.slow import Slow
from optimizers.adamw import AdamW
from schedules.cosine import Cosine

BASELINE = RunConfig(
    model=Slow(depth=2, width=24, dropout=0.1, norm="batch"),
    data=Toy(noise=0.5),
    optimizer=AdamW(lr=0.01, weight_decay=0.01),
    schedule=Cosine(),
    training=Training(max_steps=400, val_every=45),
)


def space(trial: optuna.trial.BaseTrial, baseline: RunConfig) -> RunConfig:
    """Depth, width, rate."""
    return baseline.with_knobs({
        "model.depth": trial.suggest_int("model.depth", 1, 3),
        "model.activation": trial.suggest_categorical("model.activation", ["relu", "tanh"]),
        "optimizer.lr": trial.suggest_float("optimizer.lr", 1e-4, 0.1, log=True),
    })


study = Study(baseline=BASELINE, space=space, metric="val/accuracy", direction="maximize", trials=8)
'''

HALF = '''"""A linear model trained by SGD. The learning rate is too large in half of the space."""

import optuna
from datamodules.toy import Toy
from knobs import RunConfig, Study, Training
from models.mlp import MLP
from optimizers.sgd import SGD
from schedules.constant import Constant

BASELINE = RunConfig(
    model=MLP(depth=0),
    data=Toy(task="regression"),
    optimizer=SGD(lr=0.01),
    schedule=Constant(),
    training=Training(max_steps=400, val_every=100),
)


def space(trial: optuna.trial.BaseTrial, baseline: RunConfig) -> RunConfig:
    """The rate and the momentum; rates above about 1 blow up."""
    return baseline.with_knobs({
        "optimizer.lr": trial.suggest_float("optimizer.lr", LOW, HIGH, log=True),
        "optimizer.momentum": trial.suggest_float("optimizer.momentum", 0.0, 0.5),
    })


study = Study(baseline=BASELINE, space=space, metric="val/r2", direction="maximize", trials=100)
'''

HUNGRY = '''"""A network that runs out of memory above a width."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from knobs import Count, ModelConfig, part

if TYPE_CHECKING:
    from knobs import DataSpec


@part
class Hungry(ModelConfig):
    """Linear. Wider than 64 it runs out of memory as on a GPU, wider than 128 as on the host."""

    width: Count = 8
    """Units."""

    def build(self, spec: DataSpec) -> torch.nn.Module:
        """Inputs to outputs."""
        return HungryNetwork(self.width, spec)


class HungryNetwork(torch.nn.Module):
    """One hidden layer."""

    def __init__(self, width: int, spec: DataSpec) -> None:
        super().__init__()
        self.width = width
        self.inner = torch.nn.Linear(spec.features, width)
        self.outer = torch.nn.Linear(width, spec.outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Raise the error of a real network of this width."""
        if self.width > 128:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory")
        if self.width > 64:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        if self.width == 13:
            raise ZeroDivisionError("a bug of the model")
        return self.outer(torch.relu(self.inner(x.flatten(1))))
'''

MEMORY = '''"""Some widths run out of memory."""

import optuna
from datamodules.toy import Toy
from knobs import RunConfig, Study, Training
from models.hungry import Hungry
from optimizers.sgd import SGD
from schedules.constant import Constant

BASELINE = RunConfig(
    model=Hungry(width=8),
    data=Toy(task="regression"),
    optimizer=SGD(lr=0.01),
    schedule=Constant(),
    training=Training(max_steps=60, val_every=30),
)


def space(trial: optuna.trial.BaseTrial, baseline: RunConfig) -> RunConfig:
    """Widths and rates that fail in every way."""
    return baseline.with_knobs({
        "model.width": trial.suggest_categorical("model.width", [8, 13, 100, 200]),
        "optimizer.lr": trial.suggest_categorical("optimizer.lr", [0.01, 1e6]),
    })


study = Study(
    baseline=BASELINE,
    space=space,
    metric="val/r2",
    direction="maximize",
    trials=8,
    seed=5,
    sampler="random",
    pruner="none",
)
'''


def write(root: Path, *, low: float = 0.01, high: float = 1000.0) -> Path:
    """Write the project to `root`. `low` and `high` bound the learning rates of `half`."""
    for folder in ("studies", "models"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "studies" / "quick.py").write_text(QUICK)
    (root / "studies" / "half.py").write_text(HALF.replace("LOW", repr(low)).replace("HIGH", repr(high)))
    (root / "studies" / "memory.py").write_text(MEMORY)
    (root / "models" / "hungry.py").write_text(HUNGRY)
    (root / "models" / "slow.py").write_text(SLOW)
    return root
