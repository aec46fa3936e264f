"""Every private name of Optuna in `knobs/search/optuna_internals.py`: a new version that changes one fails by name."""

from __future__ import annotations

import inspect
from copy import deepcopy
from pathlib import Path
from typing import Any, ClassVar

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState, create_trial
from private_names import private_names, resolve
from support import ROOT

FILE = ROOT / "knobs" / "search" / "optuna_internals.py"

SIGNATURES = {
    "optuna.trial.FixedTrial._suggest": ["self", "name", "distribution"],
    "optuna.distributions.FloatDistribution._contains": ["self", "param_value_in_internal_repr"],
    "optuna.storages._rdb.storage._create_scoped_session": ["scoped_session", "ignore_integrity_error"],
    "optuna.storages._rdb.models.TrialIntermediateValueModel.intermediate_value_to_stored_repr": ["value"],
}
"""Private functions, and the parameters that we pass or receive."""

INSTANCES = {"_params": "FixedTrial", "_trial_id": "FrozenTrial"}
"""Private attributes of instances; tested below."""


def changed(name: str) -> str:
    return f"{name} is private to Optuna and has changed in {optuna.__version__}; see {FILE.relative_to(ROOT)}"


def a_trial(**fields: Any) -> FrozenTrial:
    shapes = {"x": FloatDistribution(0.0, 1.0)}
    return create_trial(state=TrialState.COMPLETE, value=1.0, params={"x": 0.5}, distributions=shapes, **fields)


@pytest.mark.parametrize("name", SIGNATURES)
def test_a_private_function_takes_what_we_pass(name: str) -> None:
    found = resolve(name)
    assert found is not None, changed(name)
    assert list(inspect.signature(found).parameters) == SIGNATURES[name], changed(name)


def test_every_private_name_of_the_file_has_a_test() -> None:
    tested = {part for name in SIGNATURES for part in name.split(".") if part.startswith("_")}
    assert private_names(FILE) <= tested | INSTANCES.keys()


def test_a_fixed_trial_keeps_its_values_and_suggests_through_one_method() -> None:
    class Counting(optuna.trial.FixedTrial):
        names: ClassVar[list[str]] = []

        def _suggest(self, name: str, distribution: optuna.distributions.BaseDistribution) -> Any:
            self.names.append(name)
            return super()._suggest(name, distribution)

    values: dict[str, Any] = {"x": 0.5, "n": 1, "kind": "a"}
    trial = Counting(values)
    assert getattr(trial, "_params", None) == values, changed("optuna.trial.FixedTrial._params")
    suggested = [trial.suggest_float("x", 0, 1), trial.suggest_int("n", 0, 1), trial.suggest_categorical("kind", ["a"])]
    assert suggested == [0.5, 1, "a"]
    assert trial.names == ["x", "n", "kind"], changed("optuna.trial.FixedTrial._suggest")


def test_a_distribution_says_what_it_contains() -> None:
    shape = FloatDistribution(0.0, 1.0)
    inside = [shape._contains(shape.to_internal_repr(value)) for value in (0.5, 2.0)]
    assert inside == [True, False], changed("optuna.distributions.BaseDistribution._contains")


def test_a_frozen_trial_has_the_storages_number() -> None:
    assert hasattr(a_trial(), "_trial_id"), changed("optuna.trial.FrozenTrial._trial_id")


def test_a_frozen_trial_can_share_its_contents_with_its_copies() -> None:
    from knobs.search.optuna_internals import as_finished

    trial = as_finished(a_trial(intermediate_values={1: 0.5}))
    name = "optuna.trial.FrozenTrial (its class is replaced, and its __deepcopy__)"
    assert deepcopy(trial) == trial, changed(name)
    assert deepcopy(trial).intermediate_values is trial.intermediate_values, changed(name)


def test_halving_pruners_write_the_attributes_that_we_keep() -> None:
    from knobs.search.optuna_internals import noted_attributes

    study = optuna.create_study(pruner=optuna.pruners.SuccessiveHalvingPruner(1, 3))
    trial = study.ask()
    trial.report(0.5, 1)
    trial.should_prune()
    (frozen,) = study.get_trials(deepcopy=False)
    name = "the attribute completed_rung_N of optuna.pruners.SuccessiveHalvingPruner"
    assert noted_attributes(frozen), changed(name)
    assert noted_attributes(frozen) == frozen.system_attrs, changed(name)


def test_nsga_writes_the_generation_that_we_keep() -> None:
    from knobs.search.optuna_internals import noted_attributes

    trial = optuna.create_study(sampler=optuna.samplers.NSGAIISampler(seed=0)).ask()
    assert trial.relative_params == {}
    name = "the attribute NSGAIISampler:generation of optuna.samplers.NSGAIISampler"
    (frozen,) = trial.study.get_trials(deepcopy=False)
    assert noted_attributes(frozen) == {"NSGAIISampler:generation": 0}, changed(name)
    assert noted_attributes(frozen) == frozen.system_attrs, changed(name)


def test_importances_are_of_the_trials_that_we_give() -> None:
    from knobs.search import importances

    shapes = {"x": FloatDistribution(0.0, 1.0), "y": FloatDistribution(0.0, 1.0)}
    trials = [({"x": n / 20, "y": (7 * n % 20) / 20}, shapes, n / 20) for n in range(20)]
    found = importances(trials, "maximize", resamples=2)
    assert set(found) == {"x", "y"}, changed("optuna.Study.get_trials as get_param_importances calls it")
    assert found["x"].value > found["y"].value


def test_a_curve_in_one_transaction_is_the_curve_that_optuna_writes(tmp_path: Path) -> None:
    from knobs.search.optuna_internals import trial_id, write_curve

    storage = RDBStorage(f"sqlite:///{tmp_path / 'optuna.db'}")
    study = optuna.create_study(storage=storage)
    curve = {1: 0.5, 2: float("inf"), 3: float("nan"), 4: float("-inf"), 10: 1e300}
    for _ in range(2):
        study.ask()
    ids = [trial_id(trial) for trial in study.trials]
    for step, value in curve.items():
        storage.set_trial_intermediate_value(ids[0], step, value)
    write_curve(storage, ids[1], {1: 0.5})
    write_curve(storage, ids[1], curve)  # what is there already stays
    first, second = ({s: repr(v) for s, v in trial.intermediate_values.items()} for trial in study.trials)
    assert first == second, changed("optuna.storages._rdb.models.TrialIntermediateValueModel")
    storage.engine.dispose()
