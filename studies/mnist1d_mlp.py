"""MLPs on MNIST-1D: how far can a network get that knows no order?"""

import optuna

from datamodules.mnist1d import MNIST1D
from knobs import RunConfig, Study, Training, Value
from models.mlp import MLP
from optimizers.adamw import AdamW
from schedules.cosine import Cosine

BASELINE = RunConfig(
    model=MLP(depth=2, width=128),
    data=MNIST1D(),
    optimizer=AdamW(lr=0.01, weight_decay=0.01),
    schedule=Cosine(),
    training=Training(max_steps=1600),
)


def space(trial: optuna.trial.BaseTrial, baseline: RunConfig) -> RunConfig:
    """Depth, width, activation, peak rate and schedule; momentum if the optimizer is SGD."""
    knobs: dict[str, Value] = {
        "model.depth": trial.suggest_int("model.depth", 1, 5),
        "model.width": trial.suggest_int("model.width", 32, 256, log=True),
        "model.activation": trial.suggest_categorical("model.activation", ["relu", "tanh", "gelu", "silu"]),
        "optimizer.kind": trial.suggest_categorical("optimizer.kind", ["adamw", "sgd"]),
        "optimizer.lr": trial.suggest_float("optimizer.lr", 1e-3, 0.1, log=True),
        "schedule.kind": trial.suggest_categorical("schedule.kind", ["constant", "step", "cosine", "one_cycle"]),
    }
    if knobs["optimizer.kind"] == "sgd":
        knobs["optimizer.momentum"] = trial.suggest_float("optimizer.momentum", 0.0, 0.95)
    return baseline.with_knobs(knobs)


study = Study(baseline=BASELINE, space=space, metric="val/accuracy", direction="maximize")
