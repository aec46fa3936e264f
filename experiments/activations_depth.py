"""Which activation lets a plain network be deep? Four activations over depth on digits, init matched to each."""

import optuna

from datamodules.digits import Digits
from knobs.ablation import Ablation, Beats, Factor, NoDifference, Quick, Trend
from knobs.config import RunConfig, Training
from knobs.optimizers import SGD
from knobs.schedules import Constant
from models.mlp import MLP

BASELINE = RunConfig(
    model=MLP(depth=1, width=64, activation="tanh", init="xavier"),
    data=Digits(batch_size=64),
    optimizer=SGD(lr=0.1),
    schedule=Constant(),
    training=Training(max_steps=900, val_every=90),
)


def nuisance(trial: optuna.trial.BaseTrial, baseline: RunConfig) -> RunConfig:
    """The learning rate, over three decades."""
    return baseline.with_knobs({"optimizer.lr": trial.suggest_float("optimizer.lr", 1e-3, 1.0, log=True)})


ablation = Ablation(
    question="Which activation lets a plain network be deep?",
    claim="Sigmoid stops learning after a few layers, since its gradient vanishes; tanh and ReLU go on.",
    baseline=BASELINE,
    factors=(
        Factor(
            "activation",
            {
                "tanh": {"model.activation": "tanh", "model.init": "xavier"},
                "sigmoid": {"model.activation": "sigmoid", "model.init": "xavier"},
                "relu": {"model.activation": "relu", "model.init": "kaiming"},
                "gelu": {"model.activation": "gelu", "model.init": "kaiming"},
            },
        ),
        Factor.of("model.depth", [1, 4, 8, 16]),
    ),
    nuisance=nuisance,
    metric="val/accuracy",
    direction="maximize",
    seeds=10,
    claims=(
        Beats(
            text="tanh beats sigmoid at 8 and 16 layers",
            metric="test/accuracy",
            better={"activation": "tanh"},
            worse={"activation": "sigmoid"},
            where={"model.depth": ["8", "16"]},
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
    ),
    quick=Quick(levels={"model.depth": ["1", "8"]}),
    caveats=("One data set of 1,797 small images; plain SGD at a constant rate, no normalisation.",),
)
