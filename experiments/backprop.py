"""Is backpropagation the chain rule, and does its gradient reach the first layer? By hand, and norms against depth."""

from __future__ import annotations

from functools import partial
from math import log10, nan

from datamodules.digits import Digits
from experiments._gradients import largest_difference
from knobs import (
    Ablation,
    Beats,
    Computed,
    Derived,
    Factor,
    Matches,
    Quick,
    RecordedValues,
    Reference,
    RunConfig,
    Training,
    Trend,
)
from models.mlp import MLP
from optimizers.sgd import SGD
from schedules.constant import Constant

NETWORKS = {
    "mlp": "an MLP of any activation",
    "resnet": "a residual network of any activation, and its plain twin",
    "rnn": "recurrent layers of tanh, ReLU, GRU and LSTM cells",
}


def log_ratio(config: RunConfig, run: RecordedValues) -> float:
    """Return log10 of the first layer's gradient norm over the last layer's, at the initial weights (the only step)."""
    del config
    first, last = (run.curves[f"grad_norm/{layer}"][0][1] for layer in ("first", "last"))
    return log10(first / last) if first > 0 and last > 0 else nan


ablation = Ablation(
    question="Is backpropagation the chain rule, and does its gradient reach the first layer?",
    claim="The chain rule by hand, autograd and finite differences agree to rounding; a sigmoid's gradient vanishes "
    "with depth whatever the init, that of tanh and ReLU does not where the init is matched to them.",
    baseline=RunConfig(
        model=MLP(depth=1, width=64, activation="tanh"),
        data=Digits(batch_size=256),
        optimizer=SGD(lr=0.01),
        schedule=Constant(),
        training=Training(max_steps=1, val_every=1, layer_norms=True, keep="last"),
    ),
    factors=(
        Factor(
            "activation",
            {
                "sigmoid": {"model.activation": "sigmoid", "model.init": "xavier"},
                "tanh": {"model.activation": "tanh", "model.init": "xavier"},
                "relu": {"model.activation": "relu", "model.init": "kaiming"},
            },
        ),
        Factor("init", {"matched": {}, "default": {"model.init": "default"}}),
        Factor.of("model.depth", [1, 4, 8, 16]),
    ),
    metric="val/loss",
    direction="minimize",
    shown="derived/log_ratio",
    derived=(
        Derived(
            name="log_ratio",
            text="Orders of magnitude between the gradient's norms in the first and in the last weight matrix, before "
            "the first step: log10(first / last).",
            of=log_ratio,
        ),
    ),
    repetitions=1,
    seeds=10,
    claims=(
        *(
            Computed(
                text=f"{network}: the chain rule by hand is {said}, in every weight, in float64",
                value=partial(largest_difference, architecture, to),
                within=within,
            )
            for to, said, within in (
                ("autograd", "what autograd gives", 1e-15),
                ("differences", "what central differences give", 1e-9),
            )
            for architecture, network in NETWORKS.items()
        ),
        Trend(
            text="with a sigmoid the first layer's gradient vanishes with depth, even with a matched init",
            metric="derived/log_ratio",
            factor="model.depth",
            way="falls",
            where={"activation": "sigmoid", "init": "matched"},
        ),
        Matches(
            text="over 16 layers of sigmoid it loses ten orders of magnitude",
            metric="derived/log_ratio",
            value=-10.0,
            within=1.0,
            where={"activation": "sigmoid", "init": "matched", "model.depth": "16"},
        ),
        *(
            Matches(
                text=f"over 16 layers of {activation} with matched init it keeps its size, within a factor of five",
                metric="derived/log_ratio",
                value=0.0,
                within=log10(5.0),
                where={"activation": activation, "init": "matched", "model.depth": "16"},
            )
            for activation in ("tanh", "relu")
        ),
        Matches(
            text="over 16 layers of relu with PyTorch's default init it loses four to five orders",
            metric="derived/log_ratio",
            value=-4.5,
            within=0.5,
            where={"activation": "relu", "init": "default", "model.depth": "16"},
        ),
        Beats(
            text="at 16 layers a matched init keeps more of it than the default, whatever the activation",
            metric="derived/log_ratio",
            better={"init": "matched"},
            worse={"init": "default"},
            where={"model.depth": "16"},
        ),
    ),
    references=(
        Reference(
            name="a quarter a layer, 16 layers",
            metric="derived/log_ratio",
            value=16.0 * log10(0.25),
            source="the greatest slope of a sigmoid, 1/4, to the power of 16",
        ),
    ),
    quick=Quick(seeds=5, steps=1.0, levels={"model.depth": ["1", "4", "16"]}),
    caveats=(
        "Nothing is tuned and nothing is trained: every run is the gradient of one batch of 256 digits at the initial "
        "weights. Matched: Xavier for sigmoid and tanh, Kaiming for relu.",
        "First and last are the 64 x 64 matrix at the inputs and the 10 x 64 matrix at the outputs. Between the first "
        "and the last of the matrices from hidden to hidden layers a sigmoid loses one order less.",
    ),
)
