"""Recurrent networks on the NYSE's volume: do they beat a linear autoregression?"""

import optuna

from datamodules.nyse import NYSE
from knobs import RunConfig, Study, Training, Value
from models.rnn import RNN
from optimizers.adamw import AdamW
from schedules.cosine import Cosine

BASELINE = RunConfig(
    model=RNN(cell="tanh", depth=1, width=16),
    data=NYSE(batch_size=64),
    optimizer=AdamW(lr=3e-3, weight_decay=0.01),
    schedule=Cosine(),
    training=Training(max_steps=2000),
)


def space(trial: optuna.trial.BaseTrial, baseline: RunConfig) -> RunConfig:
    """Cell, depth, width, peak rate and schedule; warm-up if the rate falls; the forget gate's bias for an lstm."""
    knobs: dict[str, Value] = {
        "model.cell": trial.suggest_categorical("model.cell", ["tanh", "relu", "gru", "lstm"]),
        "model.depth": trial.suggest_int("model.depth", 1, 3),
        "model.width": trial.suggest_int("model.width", 4, 64, log=True),
        "model.dropout": trial.suggest_float("model.dropout", 0.0, 0.5),
        "optimizer.lr": trial.suggest_float("optimizer.lr", 3e-4, 0.03, log=True),
        "schedule.kind": trial.suggest_categorical("schedule.kind", ["constant", "exponential", "cosine"]),
    }
    if knobs["schedule.kind"] != "constant":
        knobs["schedule.warmup_steps"] = trial.suggest_int("schedule.warmup_steps", 0, 200, step=50)
    if knobs["model.cell"] == "lstm":
        knobs["model.forget_bias"] = trial.suggest_float("model.forget_bias", -1.0, 3.0)
    return baseline.with_knobs(knobs)


study = Study(baseline=BASELINE, space=space, metric="val/r2", direction="maximize")
