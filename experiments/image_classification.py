"""When do convolutions help? MLP against convolutional ResNet on two sets of digits, pixels in place or shuffled."""

from __future__ import annotations

from typing import TYPE_CHECKING

from datamodules.mnist_subset import MNISTSubset
from knobs import Ablation, Beats, Factor, NoDifference, Quick, RunConfig, Training
from models.resnet import ResNet
from optimizers.adamw import AdamW
from schedules.cosine import Cosine

if TYPE_CHECKING:
    import optuna


def nuisance(trial: optuna.trial.BaseTrial, baseline: RunConfig) -> RunConfig:
    """Tune peak rate and dropout."""
    return baseline.with_knobs(
        {
            "optimizer.lr": trial.suggest_float("optimizer.lr", 5e-4, 3e-2, log=True),
            "model.dropout": trial.suggest_float("model.dropout", 0.0, 0.5),
        }
    )


ablation = Ablation(
    question="When do convolutions help?",
    claim="Convolutions win where neighbouring pixels belong together, and only there: shuffle the pixels, all images "
    "alike, and they lose their lead, while nothing changes for an MLP.",
    baseline=RunConfig(
        model=ResNet(depth=3, width=16),
        data=MNISTSubset(halved=True, batch_size=64),
        optimizer=AdamW(lr=5e-3, weight_decay=0.01),
        schedule=Cosine(),
        training=Training(max_steps=500, val_every=50),
    ),
    factors=(
        Factor(
            "images",
            {
                "digits 8x8": {"data.kind": "digits", "data.batch_size": 64},
                "MNIST 14x14": {"data.halved": True},
            },
        ),
        Factor("model", {"MLP": {"model.kind": "mlp", "model.depth": 2, "model.width": 128}, "ResNet": {}}),
        Factor("pixels", {"in place": {"data.shuffle_features": False}, "shuffled": {"data.shuffle_features": True}}),
    ),
    nuisance=nuisance,
    metric="val/accuracy",
    direction="maximize",
    repetitions=1,
    seeds=10,
    claims=(
        *(
            Beats(
                text=f"with pixels in place convolutions win on {images}",
                metric="test/accuracy",
                better={"model": "ResNet"},
                worse={"model": "MLP"},
                where={"images": images, "pixels": "in place"},
            )
            for images in ("digits 8x8", "MNIST 14x14")
        ),
        *(
            NoDifference(
                text=f"with shuffled pixels they do as an MLP does on {images}, within a point",
                metric="test/accuracy",
                a={"model": "ResNet"},
                b={"model": "MLP"},
                within=0.01,
                where={"images": images, "pixels": "shuffled"},
            )
            for images in ("digits 8x8", "MNIST 14x14")
        ),
        Beats(
            text="shuffling the pixels costs the convolutions accuracy on MNIST",
            metric="test/accuracy",
            better={"pixels": "in place"},
            worse={"pixels": "shuffled"},
            where={"model": "ResNet", "images": "MNIST 14x14"},
        ),
        NoDifference(
            text="and an MLP nothing, within a point",
            metric="test/accuracy",
            a={"pixels": "in place"},
            b={"pixels": "shuffled"},
            within=0.01,
            where={"model": "MLP", "images": "MNIST 14x14"},
        ),
    ),
    quick=Quick(trials=2, seeds=4, steps=0.6),
    caveats=(
        "MNIST here is 5,000 images, each 2 by 2 pixels averaged; the whole of it at full size is easier for both.",
        "Batch normalisation goes with the convolutions and the MLP has none: what is compared is a usual network of "
        "each kind, not one change.",
    ),
)
