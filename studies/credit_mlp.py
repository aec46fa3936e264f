"""MLPs on credit default, from logistic regression (depth 0) upward."""

import optuna

from datamodules.credit_default import CreditDefault
from knobs import RunConfig, Study, Training, Value
from models.mlp import MLP
from optimizers.adamw import AdamW
from schedules.cosine import Cosine

BASELINE = RunConfig(
    model=MLP(depth=2, width=64, dropout=0.1),
    data=CreditDefault(scaling="quantile", batch_size=256),
    optimizer=AdamW(lr=3e-3, weight_decay=0.01),
    schedule=Cosine(),
    training=Training(max_steps=1500),
)


def space(trial: optuna.trial.BaseTrial, baseline: RunConfig) -> RunConfig:
    """Depth, scaling, peak rate and schedule; width, activation, norm and dropout if there is a hidden layer."""
    knobs: dict[str, Value] = {
        "model.depth": trial.suggest_int("model.depth", 0, 4),
        "data.scaling": trial.suggest_categorical("data.scaling", ["standard", "quantile"]),
        "optimizer.lr": trial.suggest_float("optimizer.lr", 3e-4, 0.03, log=True),
        "schedule.kind": trial.suggest_categorical("schedule.kind", ["constant", "cosine", "one_cycle"]),
    }
    if knobs["model.depth"]:
        knobs |= {
            "model.width": trial.suggest_int("model.width", 16, 256, log=True),
            "model.activation": trial.suggest_categorical("model.activation", ["relu", "tanh", "gelu", "silu"]),
            "model.norm": trial.suggest_categorical("model.norm", ["none", "batch", "layer"]),
            "model.dropout": trial.suggest_float("model.dropout", 0.0, 0.5),
        }
    return baseline.with_knobs(knobs)


study = Study(baseline=BASELINE, space=space, metric="val/auroc", direction="maximize")
