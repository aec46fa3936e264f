"""Can one hidden layer draw any function? Error against width for three activations, and the exact construction."""

from __future__ import annotations

from functools import partial
from math import log10
from typing import TYPE_CHECKING

import numpy as np

from datamodules.function_1d import HALF_WIDTH, Function1D, evaluate
from knobs import (
    Ablation,
    Computed,
    Derived,
    Factor,
    Matches,
    NoDifference,
    Quick,
    RecordedValues,
    Reference,
    RunConfig,
    Training,
    Trend,
)
from models.mlp import MLP
from optimizers.adam import Adam
from schedules.cosine import Cosine

if TYPE_CHECKING:
    import optuna


def interpolant_error(width: int, target: str = "sine") -> float:
    """Return the RMSE of the ReLU network with one hidden layer that joins width + 1 even points by straight lines.

    Unit k is relu(x - t_k). Its output weight is the change of the slope at t_k.
    """
    import torch

    knots = np.linspace(-HALF_WIDTH, HALF_WIDTH, width + 1)
    slopes = np.diff(evaluate(target, knots)) / np.diff(knots)
    network = MLP(depth=1, width=width, activation="relu").build(Function1D().spec()).double()
    hidden, head = (layer for layer in network.modules() if isinstance(layer, torch.nn.Linear))
    x = np.linspace(-HALF_WIDTH, HALF_WIDTH, 100_001)
    with torch.no_grad():
        hidden.weight.fill_(1.0)
        hidden.bias.copy_(torch.from_numpy(-knots[:-1]))
        head.weight.copy_(torch.from_numpy(np.diff(slopes, prepend=0.0)[None]))
        head.bias.fill_(float(evaluate(target, knots[0])))
        drawn = network(torch.from_numpy(x[:, None]))[:, 0].numpy()
    return float(np.sqrt(np.mean((drawn - evaluate(target, x)) ** 2)))


def per_doubling() -> float:
    """Return the factor by which the construction's error falls per doubling of its width, from 32 to 256 units."""
    return float((interpolant_error(32) / interpolant_error(256)) ** (1.0 / 3.0))


def constructed(width: int) -> float:
    """Return log10 of the construction's error on the sine."""
    return log10(interpolant_error(width))


def log_rmse(config: RunConfig, run: RecordedValues) -> float:
    """Return log10 of the test RMSE."""
    del config
    return log10(run.values["test/rmse"])


def nuisance(trial: optuna.trial.BaseTrial, baseline: RunConfig) -> RunConfig:
    """Tune the peak rate."""
    return baseline.with_knobs({"optimizer.lr": trial.suggest_float("optimizer.lr", 1e-3, 0.3, log=True)})


ablation = Ablation(
    question="Can one hidden layer draw any function?",
    claim="With more units the error falls, whatever the activation and the function, until the optimizer's own error "
    "is all that is left; a construction shows that weights with a far smaller error are there.",
    baseline=RunConfig(
        model=MLP(depth=1, width=32, activation="tanh"),
        data=Function1D(samples=128, batch_size=128),
        optimizer=Adam(lr=0.03),
        schedule=Cosine(),
        training=Training(max_steps=2000, val_every=200),
    ),
    factors=(
        Factor("activation", {name: {"model.activation": name} for name in ("tanh", "sigmoid", "relu")}),
        Factor("target", {name: {"data.target": name} for name in ("sine", "abs", "bump")}),
        Factor.of("model.width", [2, 8, 32, 256]),
    ),
    nuisance=nuisance,
    metric="val/rmse",
    direction="minimize",
    shown="derived/log_rmse",
    derived=(
        Derived(
            name="log_rmse",
            text="Root mean squared error on the test split in orders of magnitude: log10, of functions with a range "
            "of 2.",
            of=log_rmse,
            lower_is_better=True,
        ),
    ),
    claims=(
        *(
            Trend(
                text=f"with {activation} the error falls with width, averaged over the functions",
                metric="derived/log_rmse",
                factor="model.width",
                way="falls",
                where={"activation": activation},
            )
            for activation in ("tanh", "sigmoid", "relu")
        ),
        NoDifference(
            text="with tanh 256 units draw the sine as well as 32, within a factor of two: the optimizer's floor",
            metric="derived/log_rmse",
            a={"model.width": "256"},
            b={"model.width": "32"},
            within=log10(2.0),
            where={"activation": "tanh", "target": "sine"},
        ),
        Matches(
            text="eight ReLU units draw |x|, which is two of them, to a hundredth of its range",
            metric="test/rmse",
            value=0.0,
            within=0.02,
            where={"activation": "relu", "target": "abs", "model.width": "8"},
        ),
        Computed(
            text="the constructed ReLU network's error falls as 1 / width^2: a quarter with each doubling",
            value=per_doubling,
            expected=4.0,
            within=0.02,
        ),
    ),
    references=tuple(
        Reference(
            name=f"construction {width}",
            metric="derived/log_rmse",
            value=partial(constructed, width),
            source="the sine joined by straight lines at evenly spaced points, written as one hidden layer; computed",
        )
        for width in (32, 256)
    ),
    quick=Quick(trials=2, seeds=5, steps=0.5, levels={"target": ["sine", "abs"], "model.width": ["2", "32", "256"]}),
    caveats=("128 evenly spaced samples without noise, all in every batch; 2,000 steps of one first-order optimizer.",),
)
