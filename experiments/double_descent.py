"""Can a network be too large? Test accuracy against width on MNIST-1D with 15% wrong labels: double descent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from datamodules.mnist1d import MNIST1D
from knobs import Ablation, Beats, Exceeds, Factor, Quick, RunConfig, Training, Trend
from models.mlp import MLP
from optimizers.adam import Adam
from schedules.cosine import Cosine

if TYPE_CHECKING:
    import optuna

WIDTHS = [8, 16, 32, 64, 96, 128, 256, 1024]
PEAK = "96"


def nuisance(trial: optuna.trial.BaseTrial, baseline: RunConfig) -> RunConfig:
    """Tune the peak rate, but only over rates at which the training loss reaches its floor.

    Near the threshold, validation prefers small rates, which act like early stopping. If they were in range, tuning
    would hide the effect. Early stopping has cells of its own.
    """
    return baseline.with_knobs({"optimizer.lr": trial.suggest_float("optimizer.lr", 7e-3, 2e-2, log=True)})


ablation = Ablation(
    question="Can a network be too large?",
    claim="Trained to the end on partly wrong labels, a network is worst at the width that can just fit them all; "
    "smaller and larger ones generalise better. Stopped where validation is best, wider is better throughout.",
    baseline=RunConfig(
        model=MLP(depth=1),
        data=MNIST1D(label_noise=0.15),
        optimizer=Adam(lr=1e-2),
        schedule=Cosine(),
        training=Training(max_steps=6000, val_every=200, keep="last"),
    ),
    factors=(
        Factor(
            "weights kept", {"the last": {"training.keep": "last"}, "best on validation": {"training.keep": "best"}}
        ),
        Factor.of("model.width", WIDTHS),
    ),
    nuisance=nuisance,
    metric="val/accuracy",
    direction="maximize",
    claims=(
        Beats(
            text=f"trained to the end, {PEAK} units do worse than 16",
            metric="test/accuracy",
            better={"model.width": "16"},
            worse={"model.width": PEAK},
            where={"weights kept": "the last"},
        ),
        Beats(
            text=f"and worse than 1024: a second descent of the error, beyond {PEAK} units",
            metric="test/accuracy",
            better={"model.width": "1024"},
            worse={"model.width": PEAK},
            where={"weights kept": "the last"},
        ),
        Trend(
            text="from 16 to 96 units test accuracy falls",
            metric="test/accuracy",
            factor="model.width",
            way="falls",
            where={"model.width": ["16", "32", "64", "96"], "weights kept": "the last"},
        ),
        Trend(
            text="from 96 to 1024 units it rises",
            metric="test/accuracy",
            factor="model.width",
            way="rises",
            where={"model.width": ["96", "128", "256", "1024"], "weights kept": "the last"},
        ),
        Exceeds(
            text="the threshold lies between: 64 units fit less than 90% of the training labels",
            metric="train/accuracy",
            value=0.9,
            direction="minimize",
            where={"model.width": "64", "weights kept": "the last"},
        ),
        Exceeds(
            text="and 128 more than 97%, wrong ones included",
            metric="train/accuracy",
            value=0.97,
            where={"model.width": "128", "weights kept": "the last"},
        ),
        Beats(
            text="the second descent goes below the first: 1024 units beat 16",
            metric="test/accuracy",
            better={"model.width": "1024"},
            worse={"model.width": "16"},
            where={"weights kept": "the last"},
        ),
        Beats(
            text=f"the weights that validation chose do better than the last ones at {PEAK} units",
            metric="test/accuracy",
            better={"weights kept": "best on validation"},
            worse={"weights kept": "the last"},
            where={"model.width": PEAK},
        ),
        Trend(
            text="with the weights that validation chose, accuracy rises with width",
            metric="test/accuracy",
            factor="model.width",
            way="rises",
            where={"weights kept": "best on validation"},
        ),
    ),
    quick=Quick(seeds=5, steps=0.7, levels={"model.width": ["16", "64", PEAK, "256", "1024"]}),
    caveats=(
        "Tuning for validation accuracy hides double descent in part, so the learning rate is tuned within a factor of "
        "three, at all of which training goes to its end. Weight decay, dropout and early stopping are off for the "
        "same reason: each of them removes the peak, as the second column shows for early stopping.",
        "A network of h units has 51 h + 10 parameters: as many as the 3,500 training labels at h = 68. Greydanus & "
        "Kobak 2024 show deep double descent on this data set, too, and give no number to compare with.",
        "The test accuracy is what is shown; the test loss peaks further right, since an overconfident network pays "
        "more for each error.",
    ),
)
