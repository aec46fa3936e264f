"""A small project whose every check passes; tests plant faults in it."""

from pathlib import Path

FILES = {
    "datamodules/table.py": '''"""A table of one's own."""

import numpy as np

from knobs import DataConfig, DataSpec, Split, Splits, part


@part
class Table(DataConfig):
    """Rows."""

    batch_size: int = 20
    """Rows of a step."""

    def spec(self) -> DataSpec:
        return DataSpec(task="multiclass", layout="vector", shape=(4,), outputs=3, metric="accuracy")

    def load(self) -> Splits:
        random = np.random.default_rng(0)
        x = random.standard_normal((120, 4)).astype(np.float32)
        y = (x[:, 0] > 0).astype(np.int64) + (x[:, 1] > 0)
        train, val, test = Split(x[:80], y[:80]), Split(x[80:100], y[80:100]), Split(x[100:], y[100:])
        return Splits(train=train, val=val, test=test)
''',
    "models/net.py": '''"""A network of one's own."""

import torch
from torch import nn

from knobs import Count, DataSpec, Fraction, ModelConfig, part


@part
class Net(ModelConfig):
    """One hidden layer."""

    width: Count = 16
    """Hidden units."""
    dropout: Fraction = 0.0
    """Share of hidden units that is dropped."""

    def build(self, spec: DataSpec) -> nn.Module:
        return Network(self, spec)


class Network(nn.Module):
    def __init__(self, config: Net, spec: DataSpec) -> None:
        super().__init__()
        self.hidden = nn.Linear(spec.features, config.width)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(config.width, spec.outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.dropout(torch.relu(self.hidden(x)))
        return self.head(hidden)
''',
    "objectives/mine.py": '''"""A loss of one's own."""

import torch
from torch.nn import functional as F

from knobs import Metric, NonNegative, ObjectiveConfig, part


@part
class Mine(ObjectiveConfig):
    """Cross-entropy that counts sure samples less."""

    tasks = ("multiclass",)

    gamma: NonNegative = 1.0
    """How much less."""

    def loss(self, outputs, targets):
        each = F.cross_entropy(outputs, targets, reduction="none")
        return each * (1 - torch.exp(-each)) ** self.gamma

    def metrics(self, spec):
        sure = Metric(name="sure", direction="maximize", bounds=(0.0, 1.0), compute=mean_confidence)
        return [*super().metrics(spec), sure]


def mean_confidence(outputs, targets):
    return outputs.softmax(1).amax(1).mean()
''',
    "optimizers/plain.py": '''"""Gradient descent of one's own."""

import torch

from knobs import OptimizerConfig, part


@part
class Plain(OptimizerConfig):
    """w <- w - lr * gradient."""

    def build(self, named_parameters):
        return torch.optim.SGD([p for _, p in named_parameters], lr=self.lr, momentum=0.5)
''',
    "schedules/falling.py": '''"""A line of one's own."""

from knobs import ScheduleConfig, part


@part
class Falling(ScheduleConfig):
    """From 1 toward 0."""

    def after_warmup(self, step: int, total: int) -> float:
        return 1 - step / total
''',
    "studies/search.py": '''"""A study of one's own."""

from datamodules.table import Table
from knobs import RunConfig, Study, Training
from models.net import Net
from objectives.mine import Mine
from optimizers.plain import Plain
from schedules.falling import Falling

BASELINE = RunConfig(
    model=Net(),
    data=Table(),
    objective=Mine(),
    optimizer=Plain(lr=0.05),
    schedule=Falling(),
    training=Training(max_steps=40),
)


def space(trial, baseline):
    changes = {
        "model.width": trial.suggest_int("model.width", 4, 64),
        "model.dropout": trial.suggest_float("model.dropout", 0.0, 0.5),
    }
    return baseline.with_knobs(changes)


study = Study(baseline=BASELINE, space=space, metric="val/sure", direction="maximize", trials=3)
''',
    "experiments/width.py": '''"""An ablation of one's own."""

from knobs import Ablation, Beats, Derived, Exceeds, Factor
from studies.search import BASELINE


def nuisance(trial, baseline):
    return baseline.with_knobs({"optimizer.lr": trial.suggest_float("optimizer.lr", 1e-3, 0.1, log=True)})


def error(config, recorded):
    return 1 - recorded.values["test/accuracy"]


ablation = Ablation(
    question="Does width help?",
    claim="Yes.",
    baseline=BASELINE,
    factors=(Factor.of("model.width", [8, 32]),),
    nuisance=nuisance,
    metric="val/accuracy",
    direction="maximize",
    shown="test/accuracy",
    derived=(Derived(name="error", text="Share of errors.", of=error, lower_is_better=True),),
    trials=2,
    repetitions=1,
    seeds=5,
    claims=(
        Beats(text="wide", metric="test/accuracy", better={"model.width": "32"}, worse={"model.width": "8"}),
        Exceeds(text="learns", metric="test/accuracy", value=0.4, where={"model.width": "32"}),
    ),
)
''',
}


def write_project(root: Path, file: str = "", old: str = "", new: str = "") -> Path:
    """Write the project below `root`; in one file, replace `old`, which must be there, by `new`."""
    for name, text in FILES.items():
        if name == file:
            assert old in text
            text = text.replace(old, new)  # noqa: PLW2901
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return root
