"""Do recurrent networks beat counting? The next character of English prose: RNN, GRU, LSTM against n-grams."""

from __future__ import annotations

from functools import partial
from math import log, log2
from typing import TYPE_CHECKING

from datamodules.letters import ALPHABET, Letters
from experiments._ngrams import best_of
from knobs import Ablation, Beats, Derived, Exceeds, Factor, Quick, RecordedValues, Reference, RunConfig, Training
from models.rnn import RNN
from optimizers.adamw import AdamW
from schedules.cosine import Cosine

if TYPE_CHECKING:
    import optuna

TEXT = Letters(batch_size=32, steps=64)
WIDTH, WIDE = 96, 180
"""Units. A plain network of width `WIDE` has as many parameters as an LSTM of width `WIDTH`."""


def bits(config: RunConfig, run: RecordedValues) -> float:
    """Return the test cross-entropy in bits."""
    del config
    return run.values["test/loss"] / log(2)


def ngrams(highest: int) -> float:
    """Return the bits per character of n-grams of at most this order on the test split."""
    return best_of(TEXT, highest)[0]


def nuisance(trial: optuna.trial.BaseTrial, baseline: RunConfig) -> RunConfig:
    """Tune the peak rate."""
    return baseline.with_knobs({"optimizer.lr": trial.suggest_float("optimizer.lr", 2e-3, 5e-2, log=True)})


ablation = Ablation(
    question="Do recurrent networks beat counting n-grams at telling the next character?",
    claim="They do, narrowly on a text of this size: a gated cell that has read it seven times needs fewer bits a "
    "character than the best interpolated n-gram counts, and fewer than a plain cell.",
    baseline=RunConfig(
        model=RNN(cell="tanh"),
        data=TEXT,
        optimizer=AdamW(lr=1e-2),
        schedule=Cosine(warmup_steps=50),
        training=Training(max_steps=1200, val_every=100, clip_norm=1.0),
    ),
    factors=(
        Factor(
            "cell",
            {
                "RNN": {"model.cell": "tanh", "model.width": WIDTH},
                "wide RNN": {"model.cell": "tanh", "model.width": WIDE},
                "GRU": {"model.cell": "gru", "model.width": WIDTH},
                "LSTM": {"model.cell": "lstm", "model.width": WIDTH},
            },
        ),
    ),
    nuisance=nuisance,
    metric="val/loss",
    direction="minimize",
    shown="derived/bits",
    repetitions=1,
    seeds=5,
    derived=(
        Derived(
            name="bits", text="Bits a character on the test split: its loss by ln 2.", of=bits, lower_is_better=True
        ),
    ),
    claims=(
        *(
            Exceeds(
                text=f"{cell} needs fewer bits than the best n-gram counts",
                metric="derived/bits",
                value=partial(ngrams, 8),
                where={"cell": cell},
            )
            for cell in ("wide RNN", "GRU", "LSTM")
        ),
        *(
            Beats(
                text=f"{cell} needs fewer bits than a plain RNN of as many {same}",
                metric="derived/bits",
                better={"cell": cell},
                worse={"cell": plain},
            )
            for plain, same in (("RNN", "units"), ("wide RNN", "parameters, or more"))
            for cell in ("GRU", "LSTM")
        ),
        Exceeds(
            text="every cell needs fewer bits than trigram counts",
            metric="derived/bits",
            value=partial(ngrams, 3),
        ),
    ),
    references=(
        Reference(
            name="uniform",
            metric="derived/bits",
            value=log2(len(ALPHABET)),
            source=f"{len(ALPHABET)} characters, each as likely",
        ),
        *(
            Reference(
                name=name,
                metric="derived/bits",
                value=partial(ngrams, highest),
                source=f"interpolated counts (absolute discounting) of the training text, order up to {highest}; order "
                "and discount by validation; the same windows",
            )
            for name, highest in (("letter frequencies", 1), ("trigram counts", 3), ("best n-gram counts", 8))
        ),
    ),
    quick=Quick(trials=2, seeds=4, steps=0.4),
    caveats=(
        "Networks and n-grams see the same: the characters since the beginning of a window of 64, at most.",
        "The text is the documentation of PyTorch as installed (see the data set's own words): with another version "
        "of it the fingerprint and, a little, every number here is another.",
        "Train, validation and test are consecutive parts of the text, and documentation changes its subject: the test "
        "part is harder than the validation part, for counts and networks alike.",
        "The n-grams are one pass of counting; a network's run reads the training text about seven times.",
    ),
)
