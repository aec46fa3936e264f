"""Do skip connections let depth help? Plain against residual networks of dense layers on digits, depth 1 to 32."""

import optuna

from datamodules.digits import Digits
from knobs.ablation import Ablation, Beats, Factor, NoDifference, Quick, Trend
from knobs.config import RunConfig, Training
from knobs.optimizers import SGD
from knobs.schedules import Cosine
from models.resnet import ResNet

BASELINE = RunConfig(
    model=ResNet(depth=1, width=48, norm="none", init="kaiming", zero_init=True),
    data=Digits(flat=True, batch_size=64),
    optimizer=SGD(lr=0.03, momentum=0.9),
    schedule=Cosine(warmup_steps=30),
    training=Training(max_steps=450, val_every=45, clip_norm=1.0),
)


def nuisance(trial: optuna.trial.BaseTrial, baseline: RunConfig) -> RunConfig:
    """The peak rate: what suits one block does not suit thirty-two."""
    return baseline.with_knobs({"optimizer.lr": trial.suggest_float("optimizer.lr", 1e-3, 0.3, log=True)})


ablation = Ablation(
    question="Do skip connections let depth help?",
    claim="A plain network gets worse with depth, since it can't be trained; with skips, depth costs nothing.",
    baseline=BASELINE,
    factors=(
        Factor("skip", {"plain": {"model.residual": False}, "residual": {"model.residual": True}}),
        Factor.of("model.depth", [1, 4, 16, 32]),
    ),
    nuisance=nuisance,
    metric="val/accuracy",
    direction="maximize",
    seeds=10,
    claims=(
        Beats(
            text="residual beats plain at 16 and 32 blocks",
            metric="test/accuracy",
            better={"skip": "residual"},
            worse={"skip": "plain"},
            where={"model.depth": ["16", "32"]},
        ),
        Beats(
            text="the plain network's loss is one of training: at 32 blocks it fits the training split worse",
            metric="train/accuracy",
            better={"skip": "residual"},
            worse={"skip": "plain"},
            where={"model.depth": "32"},
        ),
        Trend(
            text="plain networks fall with depth",
            metric="test/accuracy",
            factor="model.depth",
            way="falls",
            where={"skip": "plain"},
        ),
        NoDifference(
            text="32 residual blocks do as well as one, within two points",
            metric="test/accuracy",
            a={"model.depth": "32"},
            b={"model.depth": "1"},
            within=0.02,
            where={"skip": "residual"},
        ),
    ),
    quick=Quick(levels={"model.depth": ["1", "32"]}),
    caveats=("One data set of 1,797 small images; dense layers without normalisation.",),
)
