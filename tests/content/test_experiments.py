"""Contracts of every ablation, found by file name: its runs record everything that its claims need."""

import ast
import dataclasses
import functools
import math
from pathlib import Path

import pytest
import torch
from support import ROOT
from trainings import Listener, train

from knobs import Ablation, Beats, Cell, Computed, RecordedValues, discover
from knobs.ablation import DERIVED
from knobs.record.define import define_ablation
from knobs.record.definition import AblationDefinition, definition_from_json, definition_to_json
from knobs.record.schema import metric_key
from knobs.training import Outcome

torch.set_num_threads(1)

FILES = discover.files("experiments", ROOT)
STEPS = 2
QUICK = {"linear_regression", "nyse_volume"}
"""Ablations whose cells are trained in the quick part too."""
TAKES_SECONDS = {"autocomplete", "credit_default", "depth_vs_width"}
"""Ablations whose references or cells take seconds to compute. The quick part leaves them out."""
BY_SPEED = [pytest.param(name, marks=pytest.mark.slow if name in TAKES_SECONDS else ()) for name in FILES]


@functools.cache
def loaded(name: str) -> Ablation:
    return discover.the_one(discover.load("experiments", name), Ablation)


def two_steps(cell: Cell, folder: Path) -> tuple[Outcome, RecordedValues]:
    """Train a cell's baseline for two steps and evaluate it on the test split."""
    config = cell.config.with_knobs({"training.max_steps": STEPS, "training.val_every": 1, "schedule.warmup_steps": 0})
    listener = Listener()
    outcome = train(config, folder / "cell", listener, read_test=True)
    curves: dict[str, list[tuple[int, float]]] = {}
    for step, values in listener.curves():
        for name, value in values.items():
            curves.setdefault(name, []).append((step, value))
    return outcome, RecordedValues(curves, outcome.summary)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("experiments")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in FILES]
)
def test_every_cell_trains_two_steps_and_records_what_is_claimed(name: str, folder: Path) -> None:
    ablation = loaded(name)
    asked = {ablation.reported, ablation.metric, *(c.metric for c in ablation.claims if not isinstance(c, Computed))}
    for cell in ablation.cells():
        outcome, run = two_steps(cell, folder)
        assert outcome.state == "finished", f"{cell.name}: {outcome.message}"
        derived = {one.metric: one.of(cell.config, run) for one in ablation.derived}
        assert all(isinstance(value, float) for value in derived.values())
        for metric in asked - set(derived):
            assert metric_key(metric) in run.values, f"{cell.name} records no {metric}"
        assert math.isfinite(run.values["best/val/loss"])


@pytest.mark.parametrize("name", BY_SPEED)
def test_the_winner_of_a_cell_can_be_any_of_its_trials(name: str) -> None:
    import optuna

    ablation = loaded(name)
    search = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for cell in ablation.cells():
        ablation.study(cell)  # the cell's config lies in its own space
        config = ablation.space(search.ask(), cell.config)
        spec = config.data.spec()
        config.model.build(spec)


@pytest.mark.parametrize("name", BY_SPEED)
def test_an_ablation_can_be_decided(name: str) -> None:
    ablation = loaded(name)
    assert ablation.question.endswith("?")
    assert ablation.claims
    assert max(ablation.seeds, ablation.repetitions) >= 5
    assert ablation.trials >= 8 or not any(map(ablation.nuisance_knobs, ablation.cells()))
    quick = ablation.made_quick()
    assert quick.claims, "the quick preset leaves no claim to decide"
    recorded = definition_from_json(definition_to_json(define_ablation(name, ablation, quick=False)), name)
    assert isinstance(recorded, AblationDefinition)
    assert [definition.claim() for definition in recorded.claims] == [
        dataclasses.replace(claim, value=claim.number) if hasattr(claim, "number") else claim
        for claim in ablation.claims
    ]
    derived = {one.metric for one in ablation.derived}
    for claim in ablation.claims:
        assert not claim.metric.startswith(DERIVED) or claim.metric in derived
        if isinstance(claim, Computed):
            assert claim.verdict == "supported", claim.note
        if isinstance(claim, Beats) and claim.metric in derived:
            assert claim.direction in (None, "minimize")


@pytest.mark.parametrize("name", FILES)
def test_an_experiment_is_one_file(name: str) -> None:
    text = FILES[name].read_text(encoding="utf-8")
    assert ast.get_docstring(ast.parse(text))
    assert len(text.splitlines()) <= 250
