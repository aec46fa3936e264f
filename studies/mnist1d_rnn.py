"""Recurrent networks on MNIST-1D: cell, readout, depth, width, the rate."""

import optuna

from datamodules.mnist1d import MNIST1D
from knobs import RunConfig, Study, Training, Value
from models.rnn import RNN
from optimizers.adamw import AdamW
from schedules.one_cycle import OneCycle

BASELINE = RunConfig(
    model=RNN(cell="gru", depth=1, width=32, bidirectional=True, readout="max"),
    data=MNIST1D(),
    optimizer=AdamW(lr=0.02, weight_decay=0.01),
    schedule=OneCycle(),
    training=Training(max_steps=1200, clip_norm=1.0),
)


def space(trial: optuna.trial.BaseTrial, baseline: RunConfig) -> RunConfig:
    """Cell, depth, width, readout, peak rate and schedule; the forget gate's bias for an lstm."""
    knobs: dict[str, Value] = {
        "model.cell": trial.suggest_categorical("model.cell", ["tanh", "relu", "gru", "lstm"]),
        "model.depth": trial.suggest_int("model.depth", 1, 2),
        "model.width": trial.suggest_int("model.width", 16, 64, step=8),
        "model.readout": trial.suggest_categorical("model.readout", ["last", "mean", "max"]),
        "optimizer.lr": trial.suggest_float("optimizer.lr", 1e-3, 0.05, log=True),
        "schedule.kind": trial.suggest_categorical("schedule.kind", ["constant", "cosine", "one_cycle"]),
    }
    if knobs["model.cell"] == "lstm":
        knobs["model.forget_bias"] = trial.suggest_float("model.forget_bias", -1.0, 3.0)
    return baseline.with_knobs(knobs)


study = Study(baseline=BASELINE, space=space, metric="val/accuracy", direction="maximize")
