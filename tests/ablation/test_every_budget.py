"""The claim that one cell beats another for every number of tuning trials: from the trials to the verdict."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from memory_pool import ENVIRONMENT, MemoryPool, Training
from written_records import an_ablation, new_tracker, record_ablation

from knobs import Ablation, BeatsAtEveryBudget, RunConfig
from knobs.ablation.deciding import check_decidable
from knobs.errors import BadInputError
from knobs.launch.pools.messages import NewPoint, RunEnded
from knobs.record.define import define_ablation
from knobs.record.definition import definition_from_json, definition_to_json
from knobs.record.recorded_ablation import RecordedAblation
from knobs.training import CurvePoint, Outcome, TrainJob

CLAIM = BeatsAtEveryBudget(
    text="wide wins from 2 trials on", metric="val/accuracy", better={"model.width": 16}, worse={"model.width": 8},
    from_trials=2,
)  # fmt: skip


def ablation(**changes: Any) -> Ablation:
    """Return an ablation of two widths with this claim alone."""
    return an_ablation(**{"repetitions": 5, "trials": 4, "seeds": 1, "claims": (CLAIM,), **changes})


def recorded(folder: Path, accuracy: Callable[[bool, float], float]) -> RecordedAblation:
    """Record it, with these accuracies of wide and narrow networks at a learning rate."""

    def train(job: TrainJob) -> Training:
        config = RunConfig.from_json(job.config)
        rate = float(config.knobs()["optimizer.lr"])  # type: ignore[arg-type]
        value = accuracy(config.knobs()["model.width"] == 16, rate) + random.Random(job.config).gauss(0.0, 0.003)
        curve = {"val/loss": 1 - value, "val/accuracy": value, "train/loss": 0.5}
        yield NewPoint(job.run, CurvePoint(step=20, values=curve, time_ms=20))
        summary = {f"best/{name}": one for name, one in curve.items()} | {"best/step": 20.0, "parameters": 1.0}
        summary |= {"test/accuracy": value, "test/loss": 1 - value} if job.read_test else {}
        return RunEnded(job.run, Outcome(state="finished", best_step=20, summary=summary, environment=ENVIRONMENT))

    return record_ablation(new_tracker(folder), "budgets", ablation(), pool=MemoryPool(train=train))


def test_it_is_supported_if_it_holds_for_every_budget(tmp_path: Path) -> None:
    made = recorded(tmp_path, lambda wide, rate: 0.6 + 0.05 * wide + 0.1 * rate)
    verdict = made.decide()[0]
    assert verdict.verdict == "supported"
    assert verdict.note.startswith("least clear for the best of ")
    assert verdict.result is not None
    assert verdict.result.n == 5
    best = made.cells[0].best_of(4, "val/accuracy", "maximize")
    own = [t.value("val/accuracy") for t in made.cells[0].trials if t.row.repetition == 2]
    assert best[2] == max(value for value in own if value is not None)
    assert made.cells[0].best_of(1, "val/accuracy", "maximize")[2] == pytest.approx(np.mean([v for v in own if v]))


def test_one_budget_at_which_it_fails_leaves_it_undecided(tmp_path: Path) -> None:
    """Narrow networks are as good once the best of all rates is found."""
    made = recorded(tmp_path, lambda wide, rate: 0.9 if rate > 0.2 else 0.8 if wide else 0.4)
    verdict = made.decide()[0]
    assert verdict.verdict == "undecided"
    assert "the best of 4 trials" in verdict.note


def test_bad_input_and_the_record() -> None:
    for changes, message in (
        ({"repetitions": 1, "seeds": 5}, "needs repetitions of the tuning"),
        ({"claims": (replace(CLAIM, metric="test/accuracy"),)}, "whose metric is val/accuracy, not test/accuracy"),
        ({"claims": (replace(CLAIM, from_trials=9),)}, "trials 9 to 4, of 4 in a repetition"),
        ({"claims": (replace(CLAIM, to_trials=9),)}, "trials 2 to 9, of 4 in a repetition"),
    ):
        with pytest.raises(BadInputError, match=message):
            ablation(**changes)  # type: ignore[arg-type]
    made = ablation()
    check_decidable(made)
    assert made.claims[0].metrics == ["tuning/best_of_2", "tuning/best_of_3", "tuning/best_of_4"]
    definition = definition_from_json(definition_to_json(define_ablation("x", made, quick=False)), "x")
    assert [one.claim() for one in definition.claims] == list(made.claims)  # type: ignore[union-attr]
    assert made.made_quick().claims == ()
