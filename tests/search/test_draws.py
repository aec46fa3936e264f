"""A space is tried before anything is trained: the same draws at every call, and nothing of the study is touched."""

import random
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution
from search.test_study import BASELINE, made, searched

from knobs import BadInputError, RunConfig
from knobs.search import DRAWS, check_space


def test_draws_are_the_same_and_reach_both_ends_of_every_range() -> None:
    first, second = check_space("s", made()), check_space("s", made())
    assert [c.to_json() for c in first] == [c.to_json() for c in second]
    assert len(first) == DRAWS
    for name, found in made().space_at_baseline().items():
        values = [config.knobs()[name] for config in first]
        if isinstance(found, CategoricalDistribution):
            assert set(values) == set(found.choices)
            continue
        assert (min(values), max(values)) == (found.low, found.high)  # type: ignore[attr-defined,type-var]
        assert len(set(values)) > 10


def test_drawing_leaves_every_generator_and_the_studys_trials_alone() -> None:
    study = made()
    before = [asked for asked, _ in searched(study, 5).values()]

    def noisy(trial: optuna.trial.BaseTrial, baseline: RunConfig) -> RunConfig:
        random.random()
        np.random.rand()
        return baseline.with_knobs({"model.width": trial.suggest_int("model.width", 4, 64)})

    wild = made(space=noisy)
    random.seed(3)
    np.random.seed(3)
    states = random.getstate(), np.random.get_state()[1].tobytes()  # type: ignore[index]
    check_space("s", wild)
    assert states == (random.getstate(), np.random.get_state()[1].tobytes())  # type: ignore[index]
    check_space("s", study)
    assert [asked for asked, _ in searched(study, 5).values()] == before


def test_a_conditional_space_and_one_of_tuples_are_fine() -> None:
    def conditional(trial: optuna.trial.BaseTrial, baseline: RunConfig) -> RunConfig:
        changes: dict[str, Any] = {"model.depth": trial.suggest_int("model.depth", 1, 3)}
        if changes["model.depth"] > 1:
            low = 4 * changes["model.depth"]
            changes["model.width"] = trial.suggest_int("model.width", low, 64)
        return baseline.with_knobs(changes)

    assert check_space("s", made(space=conditional))


def test_a_pruned_draw_is_refused() -> None:
    def space(trial: optuna.trial.BaseTrial, baseline: RunConfig) -> RunConfig:
        width = trial.suggest_int("model.width", 4, 64)
        if width != BASELINE.knobs()["model.width"]:
            raise optuna.TrialPruned("too wide")
        return baseline.with_knobs({"model.width": width})

    with pytest.raises(BadInputError, match=r"test_draws.py:\d+: the space of s raises for some draws: TrialPruned"):
        check_space("s", made(space=space))
