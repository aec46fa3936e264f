"""Residual convolutions on MNIST-1D: depth, width, the skip itself, the rate."""

import optuna

from datamodules.mnist1d import MNIST1D
from knobs import RunConfig, Study, Training, Value
from models.resnet import ResNet
from optimizers.adamw import AdamW
from schedules.one_cycle import OneCycle

BASELINE = RunConfig(
    model=ResNet(depth=3, width=32),
    data=MNIST1D(),
    optimizer=AdamW(lr=0.01, weight_decay=0.01),
    schedule=OneCycle(),
    training=Training(max_steps=1200),
)


def space(trial: optuna.trial.BaseTrial, baseline: RunConfig) -> RunConfig:
    """Depth, width, skip, activation, kernel, peak rate and schedule; the zero start if there is a skip."""
    knobs: dict[str, Value] = {
        "model.depth": trial.suggest_int("model.depth", 1, 6),
        "model.width": trial.suggest_int("model.width", 16, 64, step=8),
        "model.residual": trial.suggest_categorical("model.residual", [True, False]),
        "model.activation": trial.suggest_categorical("model.activation", ["relu", "tanh", "gelu", "silu"]),
        "model.kernel": trial.suggest_int("model.kernel", 3, 7, step=2),
        "optimizer.lr": trial.suggest_float("optimizer.lr", 1e-3, 0.05, log=True),
        "schedule.kind": trial.suggest_categorical("schedule.kind", ["constant", "cosine", "one_cycle"]),
    }
    if knobs["model.residual"]:
        knobs["model.zero_init"] = trial.suggest_categorical("model.zero_init", [False, True])
    return baseline.with_knobs(knobs)


study = Study(baseline=BASELINE, space=space, metric="val/accuracy", direction="maximize")
