"""A grid trains every point once, the baseline first, and refuses spaces that have no finite grid."""

from __future__ import annotations

import itertools
from typing import Any

import optuna
import pytest
from search.test_samplers import stepped
from search.test_study import BASELINE, made

from knobs import BadInputError, RunConfig
from knobs.search import Search, check_space

POINTS = set(itertools.product([1, 2, 3], [0.0, 0.3, 0.6, 0.9], [8, 16, 32, 64, 128]))


def points(**changes: Any) -> list[tuple[Any, ...]]:
    """Return the values of every trial of a grid."""
    study = made(sampler="grid", **{"space": stepped, "pruner": "none", **changes})
    search = Search(study, "s")
    return [tuple(search.ask(number).trial.params.values()) for number in range(study.possible_trials(1000))]


def test_every_point_is_trained_once() -> None:
    found = points()
    assert len(found) == len(POINTS) == 60
    assert set(found) == POINTS
    assert found[0] == (1, 0.0, 16), "trial 0 is the baseline"


def test_the_seed_shuffles_the_points() -> None:
    assert points(seed=1) != points() == points()
    drawn = points(baseline_first=False)
    assert set(drawn) == POINTS
    assert [point for point in drawn if point != (1, 0.0, 16)] == points()[1:]


def test_no_trial_waits_for_another_and_none_follows_the_last() -> None:
    study = made(sampler="grid", space=stepped, pruner="none")
    assert Search(study, "s").knows_enough(59)
    assert (study.possible_trials(10), study.possible_trials(99)) == (10, 60)
    assert made(sampler="qmc").possible_trials(99) == 99


def test_a_baseline_between_the_rounded_steps_is_its_own_point() -> None:
    baseline = BASELINE.with_knobs({"optimizer.momentum": 0.1 + 0.2 + 0.3})  # 0.6000000000000001
    found = points(baseline=baseline)
    assert set(found) == POINTS
    assert found[0] == (1, 0.6, 16)


def no_step(trial: optuna.trial.BaseTrial, baseline: RunConfig) -> RunConfig:
    return baseline.with_knobs({"optimizer.lr": trial.suggest_float("optimizer.lr", 0.01, 1.0, log=True)})


def huge(trial: optuna.trial.BaseTrial, baseline: RunConfig) -> RunConfig:
    width, steps = trial.suggest_int("model.width", 1, 999), trial.suggest_int("training.max_steps", 1, 999)
    return baseline.with_knobs({"model.width": width, "training.max_steps": steps})


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (no_step, "a grid needs a step for optimizer.lr, a float from 0.01 to 1"),
        (huge, "the grid has 998,001 points, more than 100,000"),
    ],
)
def test_a_space_without_a_grid_is_refused(space: Any, message: str) -> None:
    with pytest.raises(BadInputError, match=message) as caught:
        made(sampler="grid", space=space)
    assert "\n" not in str(caught.value)


def sometimes(trial: optuna.trial.BaseTrial, baseline: RunConfig) -> RunConfig:
    """A knob that exists for deep networks alone."""
    knobs: dict[str, Any] = {"model.depth": trial.suggest_int("model.depth", 1, 3)}
    if knobs["model.depth"] > 1:
        knobs["model.width"] = trial.suggest_int("model.width", 8, 64)
    return baseline.with_knobs(knobs)


def moving(trial: optuna.trial.BaseTrial, baseline: RunConfig) -> RunConfig:
    """A range that depends on another knob."""
    depth = trial.suggest_int("model.depth", 1, 3)
    return baseline.with_knobs({"model.depth": depth, "model.width": trial.suggest_int("model.width", 4, 32 * depth)})


@pytest.mark.parametrize("space", [sometimes, moving])
def test_a_conditional_space_is_refused_by_the_checks_and_while_asking(space: Any) -> None:
    study = made(sampler="grid", space=space, pruner="none")
    with pytest.raises(
        BadInputError, match=r"test_grid.py:\d+: the space of s: model.width depends on other"
    ) as caught:
        check_space("s", study)
    assert "\n" not in str(caught.value)
    search = Search(study, "s")
    with pytest.raises(BadInputError, match=r"^the space of s: model\.width depends on other knobs"):
        [search.ask(number) for number in range(study.possible_trials(99))]
    check_space("s", made(sampler="qmc", space=space))
