"""Quasi-random trials: even, shifted by the seed, equal in equal spaces, always inside their ranges."""

from __future__ import annotations

from collections import Counter
from typing import Any

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from knobs.config import RunConfig
from knobs.search import Search, Study
from knobs.search.quasi_random import QuasiRandomSampler, share_at
from knobs.search.shares import value_at
from tests.written_records import BASELINE

SEEDS = st.integers(0, 2**31)
share_at(0, 0, 47)  # SciPy is imported here, not within the time limit of an example


def point(seed: int, index: int, columns: int) -> list[float]:
    """Return a point of the sequence."""
    return [share_at(seed, index, column) for column in range(columns)]


@given(SEEDS, st.integers(0, 40), st.sampled_from([1, 2, 4, 8, 16]))
def test_one_point_in_each_part_of_every_column(seed: int, column: int, count: int) -> None:
    assert sorted(int(count * share_at(seed, index, column)) for index in range(count)) == list(range(count))


@given(SEEDS, st.integers(0, 3))
def test_two_columns_fill_every_box_of_equal_area(seed: int, power: int) -> None:
    """The first two columns are a (0, m, 2)-net: 8 points, one in each of 8 boxes of any shape."""
    across, down = 2**power, 2 ** (3 - power)
    points = [point(seed, index, 2) for index in range(8)]
    assert len({(int(across * x), int(down * y)) for x, y in points}) == 8


@given(SEEDS)
def test_another_seed_gives_other_points(seed: int) -> None:
    assert point(seed, 3, 4) == point(seed, 3, 4)
    assert point(seed, 3, 4) != point(seed + 1, 3, 4)
    assert all(0 < share < 1 for share in point(seed, 3, 30))


@given(
    st.one_of(
        st.builds(lambda a, b: FloatDistribution(min(a, b), max(a, b)), st.floats(-9, 9), st.floats(-9, 9)),
        st.builds(lambda a, b: FloatDistribution(a, a * b, log=True), st.floats(1e-9, 9), st.floats(1, 1e6)),
        st.builds(lambda a, n, s: FloatDistribution(a / 8, (a + n * s) / 8, step=s / 8), st.integers(-9, 9),
                  st.integers(0, 9), st.integers(1, 9)),
        st.builds(lambda a, n, s: IntDistribution(a, a + n * s, step=s), st.integers(-9, 9), st.integers(0, 9),
                  st.integers(1, 5)),
        st.builds(lambda a, n: IntDistribution(a, a + n, log=True), st.integers(1, 9), st.integers(0, 999)),
        st.builds(CategoricalDistribution, st.lists(st.integers(), min_size=1, max_size=5, unique=True)),
    ),
    st.floats(0, 1, exclude_max=True),
)  # fmt: skip
def test_a_value_lies_in_its_range(distribution: BaseDistribution, share: float) -> None:
    value = value_at(distribution, share)
    create_trial(state=TrialState.WAITING, params={"x": value}, distributions={"x": distribution})  # checks it
    assert isinstance(value, int) or not isinstance(distribution, IntDistribution)


@pytest.mark.parametrize(
    ("distribution", "values"),
    [
        (IntDistribution(1, 4), [1, 2, 3, 4]),
        (IntDistribution(2, 8, step=2), [2, 4, 6, 8]),
        (FloatDistribution(0.0, 0.75, step=0.25), [0.0, 0.25, 0.5, 0.75]),
        (CategoricalDistribution(["a", "b", "c", "d"]), ["a", "b", "c", "d"]),
    ],
)
def test_whole_numbers_and_choices_are_equally_frequent(distribution: BaseDistribution, values: list[Any]) -> None:
    found = Counter(value_at(distribution, share_at(7, index, 0)) for index in range(16))
    assert found == dict.fromkeys(values, 4)


def conditional(trial: optuna.trial.BaseTrial, baseline: RunConfig) -> RunConfig:
    """A knob that exists for one activation alone."""
    activation = trial.suggest_categorical("model.activation", ["relu", "tanh"])
    knobs: dict[str, Any] = {"model.activation": activation}
    if activation == "tanh":
        knobs["model.width"] = trial.suggest_int("model.width", 4, 64, log=True)
    knobs["optimizer.lr"] = trial.suggest_float("optimizer.lr", 1e-3, 1.0, log=True)
    return baseline.with_knobs(knobs)


def study(**changes: Any) -> Study:
    """Return a quasi-random study of a conditional space."""
    given_: dict[str, Any] = {
        "baseline": BASELINE.with_knobs({"model.activation": "relu", "optimizer.lr": 0.1}), "space": conditional,
        "metric": "val/loss", "direction": "minimize", "sampler": "qmc", "pruner": "none", **changes,
    }  # fmt: skip
    return Study(**given_)


def values(made: Study, count: int) -> list[dict[str, Any]]:
    """Return the values of the first trials."""
    search = Search(made, "study")
    return [dict(search.ask(number).trial.params) for number in range(count)]


def test_a_study_of_a_conditional_space() -> None:
    found = values(study(), 9)
    assert found[0]["optimizer.lr"] == 0.1, "trial 0 is the baseline"
    assert Counter(one["model.activation"] for one in found[1:]) == {"relu": 4, "tanh": 4}
    assert all(("model.width" in one) == (one["model.activation"] == "tanh") for one in found)


def test_without_the_baseline_every_trial_is_drawn() -> None:
    drawn = values(study(baseline_first=False), 8)
    assert drawn == values(study(), 9)[1:]
    assert values(study(baseline_first=False, trials=40), 8) == drawn, "the total changes no trial"
    other = values(study(baseline_first=False, seed=1), 8)
    assert all(a["optimizer.lr"] != b["optimizer.lr"] for a, b in zip(drawn, other, strict=True))
    assert study().identity() != study(baseline_first=False).identity()


def test_equal_spaces_of_other_baselines_get_equal_values() -> None:
    wide = BASELINE.with_knobs({"model.activation": "relu", "optimizer.lr": 0.1, "model.depth": 3})
    assert values(study(baseline_first=False, baseline=wide), 8) == values(study(baseline_first=False), 8)


def test_no_trial_waits_for_another() -> None:
    search = Search(study(trials=100), "study")
    assert all(search.knows_enough(number) for number in (0, 1, 50, 99))


def test_it_is_optunas_sampler() -> None:
    made = optuna.create_study(sampler=QuasiRandomSampler(0, 3))
    trial = made.ask()
    assert 0.0 <= trial.suggest_float("x", 0.0, 1.0) < 1.0
    assert trial.suggest_int("n", 1, 3) in (1, 2, 3)
