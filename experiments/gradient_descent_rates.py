"""How fast does gradient descent go? Measured against theoretical rates on quadratics of condition 10 to 1000."""

from __future__ import annotations

from math import nan, sqrt

from datamodules.quadratic import Quadratic
from knobs import Ablation, Beats, Derived, Factor, Matches, Quick, RecordedValues, Reference, RunConfig, Training
from models.mlp import MLP
from optimizers.sgd import SGD
from schedules.constant import Constant

STEPS = {10: 400, 100: 1500, 1000: 4000}
"""Steps by kappa: enough that only the slowest curvature's error is left, too few for it to underflow."""


def gradient_descent(kappa: float) -> float:
    """Return the factor of the error in each step at the best constant rate, 2 / (greatest + smallest curvature)."""
    return (kappa - 1.0) / (kappa + 1.0)


def heavy_ball(kappa: float) -> float:
    """Return the factor with the best momentum. The best momentum is this factor's square (Polyak 1964)."""
    return (sqrt(kappa) - 1.0) / (sqrt(kappa) + 1.0)


def level(kappa: int) -> dict[str, float | int]:
    """Return the level of a quadratic, with the best rate and momentum of the heavy ball on it."""
    low, high = 4.0 / (kappa + 1.0), 4.0 * kappa / (kappa + 1.0)
    best = {"optimizer.lr": (2.0 / (sqrt(low) + sqrt(high))) ** 2, "optimizer.momentum": heavy_ball(kappa) ** 2}
    steps = {"training.max_steps": STEPS[kappa], "training.val_every": STEPS[kappa] // 20}
    return {"data.kappa": float(kappa), **best, **steps}


def rate(config: RunConfig, run: RecordedValues) -> float:
    """Return the factor of the error in each step, from the middle of the curve to its end."""
    del config
    curve = run.curves["val/rmse"]
    (begin, first), (end, last) = curve[len(curve) // 2 - 1], curve[-1]
    return float((last / first) ** (1.0 / (end - begin)))


def double_root_rate(config: RunConfig, run: RecordedValues) -> float:
    """Return the same factor after division of the error by the number of steps; NaN without momentum."""
    if not getattr(config.optimizer, "momentum", 0.0):
        return nan
    per_step = [(step, value / step) for step, value in run.curves["val/rmse"]]
    return rate(config, RecordedValues(curves={"val/rmse": per_step}, values=run.values))


ablation = Ablation(
    question="How fast does gradient descent go, and how much faster with momentum?",
    claim="On a quadratic of condition kappa an optimally set step multiplies the error by (kappa - 1) / (kappa + 1), "
    "and with heavy-ball momentum by (sqrt kappa - 1) / (sqrt kappa + 1).",
    baseline=RunConfig(
        model=MLP(depth=0),
        data=Quadratic(),
        optimizer=SGD(lr=0.5),
        schedule=Constant(),
        training=Training(max_steps=400, val_every=20, precision="64", keep="last"),
    ),
    factors=(
        Factor("data.kappa", {str(kappa): level(kappa) for kappa in STEPS}),
        Factor(
            "method",
            {"gradient descent": {"optimizer.lr": 0.5, "optimizer.momentum": 0.0}, "heavy ball": {}},
        ),
    ),
    metric="val/rmse",
    direction="minimize",
    shown="derived/rate",
    derived=(
        Derived(
            name="rate",
            text="Factor by which a step multiplies the distance to the minimum, over the second half of the training.",
            of=rate,
            lower_is_better=True,
        ),
        Derived(
            name="double_root_rate",
            text="The same of the distance divided by the steps taken: the best momentum makes both ends of the "
            "spectrum double roots, whose error is (a + b n) rate^n.",
            of=double_root_rate,
            lower_is_better=True,
        ),
    ),
    repetitions=1,
    seeds=10,
    claims=(
        *(
            Matches(
                text=f"gradient descent at kappa {kappa}: {gradient_descent(kappa):.4f} a step",
                metric="derived/rate",
                value=gradient_descent(kappa),
                within=1e-5,
                where={"data.kappa": str(kappa), "method": "gradient descent"},
            )
            for kappa in STEPS
        ),
        *(
            Matches(
                text=f"heavy ball at kappa {kappa}: {heavy_ball(kappa):.4f} a step{given}",
                metric=metric,
                value=heavy_ball(kappa),
                within=within,
                where={"data.kappa": str(kappa), "method": "heavy ball"},
            )
            for metric, within, given in (
                ("derived/rate", 0.005, ""),
                ("derived/double_root_rate", 0.0005, ", once the double root's factor n is taken out"),
            )
            for kappa in STEPS
        ),
        Beats(
            text="momentum is faster at every kappa",
            metric="derived/rate",
            better={"method": "heavy ball"},
            worse={"method": "gradient descent"},
        ),
    ),
    references=(
        *(
            Reference(
                name=f"heavy ball {kappa}",
                metric="derived/rate",
                value=heavy_ball(kappa),
                source="(sqrt kappa - 1) / (sqrt kappa + 1), Polyak 1964; at kappa 100 also gradient descent's at 10",
            )
            for kappa in STEPS
        ),
        Reference(
            name="descent 100",
            metric="derived/rate",
            value=gradient_descent(100),
            source="(kappa - 1) / (kappa + 1), at lr = 2 / (greatest + smallest curvature)",
        ),
    ),
    quick=Quick(seeds=5, steps=1.0),
    caveats=(
        "Nothing is tuned and nothing is random but the initial weights: the theory gives each cell's learning rate "
        "and momentum, and all samples are in every batch.",
        "A heavy ball's curve still carries its double root's factor n, so that the plain rate lies above the theory "
        "by ln(2) / (steps / 2) of itself.",
    ),
)
