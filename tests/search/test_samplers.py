"""Samplers that learn find better trials than random ones, wait for the lag, and continue from the record alone."""

from __future__ import annotations

import functools
import math
from statistics import mean
from typing import Any, cast

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState
from search.test_study import made, searched

from knobs import RunConfig, Study
from knobs.search import LEARNS_FROM, PendingTrial, Search, finished_trial, noted_from_json
from knobs.search.samplers import SAMPLERS
from knobs.search.shares import share_of, value_at

LAG = 4


def space(trial: optuna.trial.BaseTrial, baseline: RunConfig) -> RunConfig:
    return baseline.with_knobs(
        {
            "optimizer.lr": trial.suggest_float("optimizer.lr", 1e-3, 1.0, log=True),
            "optimizer.momentum": trial.suggest_float("optimizer.momentum", 0.0, 0.9),
            "model.width": trial.suggest_int("model.width", 4, 512, log=True),
        }
    )


def stepped(trial: optuna.trial.BaseTrial, baseline: RunConfig) -> RunConfig:
    """A space of 3 * 4 * 5 points for grids."""
    return baseline.with_knobs(
        {
            "model.depth": trial.suggest_int("model.depth", 1, 3),
            "optimizer.momentum": trial.suggest_float("optimizer.momentum", 0.0, 0.9, step=0.3),
            "model.width": trial.suggest_categorical("model.width", [8, 16, 32, 64, 128]),
        }
    )


def study(sampler: str, **changes: Any) -> Study:
    given_: dict[str, Any] = {"space": space, "pruner": "none", "feedback_lag": LAG, "sampler": sampler, **changes}
    return made(metric="val/loss", direction="minimize", **given_)


def distance(config: RunConfig, best: float) -> float:
    """Return a quadratic over the three knobs; each has its minimum at this share of its range."""
    knobs = cast("dict[str, float]", config.knobs())
    shares = (
        math.log10(knobs["optimizer.lr"]) / 3 + 1,
        knobs["optimizer.momentum"] / 0.9,
        math.log(knobs["model.width"] / 4) / math.log(128),
    )
    return sum(weight * (share - best) ** 2 for weight, share in zip((1, 3, 5), shares, strict=True))


def asked_in_turn(search: Search, trials: int, best: float, *, restarted: bool = False) -> list[PendingTrial]:
    """Ask for trials, each with a history as old as the lag allows.

    If `restarted`, the history holds what a relaunch finds in MLflow, and every third trial is continued by its values.
    """
    found: list[PendingTrial] = []
    for number in range(trials):
        if number >= LAG:
            late = found[number - LAG]
            value = distance(late.config, best)
            ended = late.ended(TrialState.COMPLETE, value, trained=True)
            if restarted:
                noted = noted_from_json(late.noted_to_json())
                values, shapes = dict(late.trial.params), late.trial.distributions
                ended = finished_trial(TrialState.COMPLETE, value, values, shapes, noted, True, {})
            search.history[late.number] = ended
        asked = search.ask(number)
        if restarted and number % 3 == 0:
            asked = search.ask(number, dict(asked.trial.params))
        found.append(asked)
    return found


@functools.cache
def reached(sampler: str) -> float:
    """Return the mean over seeds of the logarithm of the best value of 150 trials."""
    found = []
    for seed, best in enumerate((0.3, 0.7, 0.85)):
        trials = asked_in_turn(Search(study(sampler, seed=seed, baseline_first=False), "s"), 150, best)
        found.append(math.log10(min(distance(asked.config, best) for asked in trials)))
    return mean(found)


@pytest.mark.parametrize(("sampler", "gain"), [("cmaes", 1.0), ("nsga2", 0.5)])
def test_a_sampler_that_learns_is_clearly_better_than_random(sampler: str, gain: float) -> None:
    assert reached(sampler) < reached("random") - gain


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_relaunch_asks_for_the_same_trials(sampler: str) -> None:
    trials = 16 if sampler == "gp" else 45
    made_ = study(sampler, space=stepped if sampler == "grid" else space)
    whole = asked_in_turn(Search(made_, "s"), trials, 0.3)
    again = asked_in_turn(Search(made_, "s"), trials, 0.3, restarted=True)
    assert [asked.trial.params for asked in whole] == [asked.trial.params for asked in again]
    assert len({asked.config.to_json() for asked in whole}) > trials // 2


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_first_trial_that_learns_is_known(sampler: str) -> None:
    search = Search(study(sampler, space=stepped if sampler == "grid" else space), "s")
    first = LEARNS_FROM.get(sampler, 99)
    assert all(search.is_independent(number) for number in range(min(first, 45)))
    assert search.is_independent(99) == (sampler in ("qmc", "random", "grid"))


def test_cma_es_moves_away_from_trials_that_diverge() -> None:
    def last_rates(diverges: bool) -> float:
        search = Search(study("cmaes", baseline_first=False), "s")
        rates = []
        for number in range(60):
            asked = search.ask(number)
            rate = float(asked.trial.params["optimizer.lr"])
            bad = diverges and rate > 0.03
            state = TrialState.PRUNED if bad else TrialState.COMPLETE
            search.history[number] = asked.ended(state, None if bad else -rate, trained=not bad)
            rates.append(rate)
        return mean(rates[-10:])

    assert last_rates(False) > 0.3
    assert last_rates(True) < 0.1


def test_cma_es_learns_from_pruned_trials() -> None:
    search = Search(study("cmaes", baseline_first=False), "s")
    for number in range(80):
        asked = search.ask(number)
        asked.trial.report(distance(asked.config, 0.7), 10)
        search.history[number] = asked.ended(TrialState.PRUNED, None, trained=True)
    assert mean(distance(search.ask(n).config, 0.7) for n in range(70, 80)) < 0.1


def test_cma_es_draws_what_it_cannot_order_at_random() -> None:
    """A choice and a knob that exists for one choice alone, in the usual space of these tests."""
    params = [trial.params for _, trial in searched(made(sampler="cmaes", pruner="none"), 40).values()]
    tanh = [one for one in params if one["model.activation"] == "tanh"]
    assert 8 < len(tanh) < 32
    assert len({one["optimizer.momentum"] for one in tanh}) == len(tanh)


NUMBERS = st.one_of(
    st.builds(lambda a, b: FloatDistribution(min(a, b), max(a, b)), st.floats(-9, 9), st.floats(-9, 9)),
    st.builds(lambda a, b: FloatDistribution(a, a * b, log=True), st.floats(1e-9, 9), st.floats(1, 1e6)),
    st.builds(
        lambda a, n, s: FloatDistribution(a / 10, (a + n * s) / 10, step=s / 10),
        st.integers(-9, 9),
        st.integers(0, 9),
        st.integers(1, 9),
    ),
    st.builds(lambda a, n, s: IntDistribution(a, a + n * s, step=s), *[st.integers(1, 9)] * 3),
    st.builds(lambda a, n: IntDistribution(a, a + n, log=True), st.integers(1, 9), st.integers(0, 999)),
)


@given(NUMBERS, st.floats(0, 1))
def test_the_share_of_a_value_gives_the_value(distribution: BaseDistribution, share: float) -> None:
    value = value_at(distribution, share)
    again = share_of(distribution, value)
    assert 0 <= again <= 1 + 1e-9
    assert value_at(distribution, again) == pytest.approx(value, rel=1e-9, abs=1e-9)


@given(NUMBERS)
def test_the_ends_of_a_range_are_its_first_and_last_share(distribution: Any) -> None:
    assert value_at(distribution, 0.0) == distribution.low
    assert value_at(distribution, 1.0) == pytest.approx(distribution.high)


def test_steps_are_round_numbers() -> None:
    tenths = FloatDistribution(0.0, 0.5, step=0.1)
    assert [value_at(tenths, (n + 0.5) / 6) for n in range(6)] == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]
