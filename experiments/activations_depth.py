"""Which activation lets a plain network be deep? Sigmoid, tanh, ReLU and GELU over depth on digits, and their init."""

import optuna

from datamodules.digits import Digits
from knobs import Ablation, Beats, Factor, NoDifference, Quick, RunConfig, Training, Trend
from models.mlp import MLP
from optimizers.sgd import SGD
from schedules.constant import Constant

BASELINE = RunConfig(
    model=MLP(depth=1, width=64, activation="tanh", init="xavier"),
    data=Digits(batch_size=64),
    optimizer=SGD(lr=0.1),
    schedule=Constant(),
    training=Training(max_steps=900, val_every=90),
)


def nuisance(trial: optuna.trial.BaseTrial, baseline: RunConfig) -> RunConfig:
    """Tune the learning rate over three decades."""
    return baseline.with_knobs({"optimizer.lr": trial.suggest_float("optimizer.lr", 1e-3, 1.0, log=True)})


ablation = Ablation(
    question="Which activation lets a plain network be deep?",
    claim="Sigmoid stops learning after a few layers, since its gradient vanishes; tanh goes on, and so does ReLU "
    "if its initial weights are as large as Kaiming's.",
    baseline=BASELINE,
    factors=(
        Factor(
            "activation",
            {
                "tanh": {"model.activation": "tanh", "model.init": "xavier"},
                "sigmoid": {"model.activation": "sigmoid", "model.init": "xavier"},
                "relu": {"model.activation": "relu", "model.init": "kaiming"},
                "relu, default init": {"model.activation": "relu", "model.init": "default"},
                "gelu": {"model.activation": "gelu", "model.init": "kaiming"},
            },
        ),
        Factor.of("model.depth", [1, 4, 6, 16]),
    ),
    nuisance=nuisance,
    metric="val/accuracy",
    direction="maximize",
    claims=(
        Beats(
            text="tanh beats sigmoid at 6 and 16 layers",
            metric="test/accuracy",
            better={"activation": "tanh"},
            worse={"activation": "sigmoid"},
            where={"model.depth": ["6", "16"]},
        ),
        Trend(
            text="sigmoid falls with depth",
            metric="test/accuracy",
            factor="model.depth",
            way="falls",
            where={"activation": "sigmoid"},
        ),
        NoDifference(
            text="one layer of sigmoid does as well as one of tanh, within two points",
            metric="test/accuracy",
            a={"activation": "sigmoid"},
            b={"activation": "tanh"},
            within=0.02,
            where={"model.depth": "1"},
        ),
        Beats(
            text="tanh beats ReLU at 16 layers",
            metric="test/accuracy",
            better={"activation": "tanh"},
            worse={"activation": "relu"},
            where={"model.depth": "16"},
        ),
        Beats(
            text="at 16 layers ReLU needs Kaiming's initial weights",
            metric="test/accuracy",
            better={"activation": "relu"},
            worse={"activation": "relu, default init"},
            where={"model.depth": "16"},
        ),
        NoDifference(
            text="up to 4 layers ReLU does not: both starts do the same, within two points",
            metric="test/accuracy",
            a={"activation": "relu"},
            b={"activation": "relu, default init"},
            within=0.02,
            where={"model.depth": ["1", "4"]},
        ),
    ),
    quick=Quick(seeds=5, steps=0.5, levels={"activation": ["tanh", "sigmoid", "relu", "relu, default init"]}),
    caveats=("One data set of 1,797 small images; plain SGD at a constant rate, no normalisation.",),
)
