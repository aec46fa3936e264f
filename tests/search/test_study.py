"""Suggested trials depend on the trial's number and on the history that the feedback lag allows, on nothing else."""

import json
import random
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from datamodules.toy import Toy
from knobs import BadInputError, RunConfig, Study, Training, Value
from knobs.config import text_of
from knobs.record.knob_range import KnobRange
from knobs.record.spaces import space_from_json, space_to_json
from knobs.search import LEARNS_FROM, PendingTrial, Search, finished_trial, noted_from_json
from knobs.search.samplers import make_sampler
from models.mlp import MLP
from optimizers.sgd import SGD
from schedules.constant import Constant

BASELINE = RunConfig(
    model=MLP(depth=1, width=16), data=Toy(), optimizer=SGD(), schedule=Constant(), training=Training(max_steps=270)
)


def space(trial: optuna.trial.BaseTrial, baseline: RunConfig) -> RunConfig:
    knobs: dict[str, Value] = {
        "model.width": trial.suggest_int("model.width", 4, 64, log=True),
        "model.activation": trial.suggest_categorical("model.activation", ["relu", "tanh"]),
        "optimizer.lr": trial.suggest_float("optimizer.lr", 1e-3, 1.0, log=True),
    }
    if knobs["model.activation"] == "tanh":
        knobs["optimizer.momentum"] = trial.suggest_float("optimizer.momentum", 0.0, 0.9)
    return baseline.with_knobs(knobs)


def made(**changes: Any) -> Study:
    given = {"baseline": BASELINE, "space": space, "metric": "val/accuracy", "direction": "maximize", **changes}
    return Study(**given)


def quality(config: RunConfig, step: int) -> float:
    """Return what a training of this config would report: better for wide networks and for a rate near 0.1."""
    knobs = config.knobs()
    width, rate = knobs["model.width"], knobs["optimizer.lr"]
    assert isinstance(width, int)
    assert isinstance(rate, float)
    return float(np.tanh(width / 32) - 0.2 * abs(np.log10(rate) + 1)) * (1 - 0.9 ** (step / 10))


def trained(asked: PendingTrial) -> FrozenTrial:
    """End the trial as a training would: it is pruned if its pruner asks for that."""
    for step in range(10, 280, 10):
        if not asked.report(step, quality(asked.config, step)):
            return asked.ended(TrialState.PRUNED, None, trained=True)
    return asked.ended(TrialState.COMPLETE, quality(asked.config, 270), trained=True)


def searched(study: Study, trials: int, order: Callable[[list[int]], int] = min) -> dict[int, tuple[str, FrozenTrial]]:
    """Run all trials. `order` chooses which of the pending trials ends next."""
    search = Search(study, "s")
    under_way: dict[int, PendingTrial] = {}
    ended: dict[int, tuple[str, FrozenTrial]] = {}
    number = 0
    while len(ended) < trials:
        while number < trials and search.knows_enough(number):
            under_way[number] = search.ask(number)
            number += 1
        chosen = order(sorted(under_way))
        asked = under_way.pop(chosen)
        search.history[chosen] = trained(asked)
        ended[chosen] = (asked.config.to_json(), search.history[chosen])
    return dict(sorted(ended.items()))


def plain(ended: dict[int, tuple[str, FrozenTrial]]) -> list[Any]:
    return [(c, t.state, t.values, t.params, t.intermediate_values, t.system_attrs) for c, t in ended.values()]


@pytest.mark.parametrize("pruner", ["none", "median", "hyperband", "halving"])
@pytest.mark.parametrize("sampler", ["tpe", "random", "gp", "cmaes", "nsga2", "qmc"])
def test_the_order_in_which_trials_end_changes_nothing(sampler: str, pruner: str) -> None:
    study = made(sampler=sampler, pruner=pruner, feedback_lag=3)
    trials = 24 if sampler != "gp" else 12
    chance = random.Random(1)
    expected = searched(study, trials)
    assert plain(searched(study, trials, max)) == plain(expected)
    assert plain(searched(study, trials, chance.choice)) == plain(expected)
    states = {trial.state for _, trial in expected.values()}
    assert states == {TrialState.COMPLETE} if pruner == "none" else states <= {TrialState.COMPLETE, TrialState.PRUNED}
    if pruner != "none" and sampler == "tpe":
        assert TrialState.PRUNED in states
    assert len({config for config, _ in expected.values()}) > trials // 2


@pytest.mark.parametrize("pruner", ["median", "hyperband", "halving"])
def test_no_trial_is_pruned_at_its_last_step(pruner: str) -> None:
    search = Search(made(pruner=pruner, sampler="random"), "s")
    last = BASELINE.training.max_steps
    for number in range(12):  # each is worse than all before
        asked = search.ask(number)
        answers = [asked.report(step, -float(number)) for step in (last // 2, last)]
        assert answers[-1]
        search.history[number] = asked.ended(TrialState.COMPLETE, -float(number), trained=True)
    assert pruner == "hyperband" or not answers[0]  # halfway it would be pruned


def test_a_trial_sees_the_history_that_the_lag_allows_and_no_more() -> None:
    study = made(feedback_lag=4, sampler="gp")
    full, short = Search(study, "s"), Search(study, "s")
    for number, (_, trial) in searched(made(feedback_lag=4), 20).items():
        full.history[number] = trial
        if number <= 16:
            short.history[number] = trial
    assert not short.knows_enough(21)
    assert short.knows_enough(20)
    assert full.ask(20).config == short.ask(20).config  # only one of them knows 17 to 19
    old = full.history[16]
    answers = set()
    for value in (-99.0, 99.0):  # 16 is the last that counts
        full.history[16] = finished_trial(
            TrialState.COMPLETE, value, old.params, old.distributions, {}, True, {270: value}
        )
        answers.add(full.ask(20).config)
    assert len(answers) == 2
    with pytest.raises(KeyError):
        short.ask(21)


def test_the_search_and_the_study_name_do_not_depend_on_global_random_states() -> None:
    first = Search(made(), "s").ask(1).config
    random.seed(5)
    np.random.seed(5)
    assert Search(made(), "s").ask(1).config == first
    assert Search(made(seed=1), "s").ask(1).config != first


def test_trial_0_is_the_baseline() -> None:
    for sampler in ("tpe", "random", "gp", "cmaes", "nsga2", "qmc"):
        asked = Search(made(sampler=sampler), "s").ask(0)
        assert asked.config == BASELINE
        assert asked.trial.params == {"model.width": 16, "model.activation": "relu", "optimizer.lr": 0.1}


@pytest.mark.parametrize("changes", [{"model.width": 65}, {"model.activation": "gelu"}], ids=["a range", "a choice"])
def test_a_baseline_outside_its_own_space_is_refused(changes: dict[str, Value]) -> None:
    with pytest.raises(BadInputError, match="outside its own space") as caught:
        made(baseline=BASELINE.with_knobs(changes))
    assert "{} = {!r}".format(*next(iter(changes.items()))) in str(caught.value)
    assert "\n" not in str(caught.value)


def broken(suggest: Callable[[optuna.trial.BaseTrial, RunConfig], Any], number: int = 0) -> Callable[[], PendingTrial]:
    return lambda: Search(made(space=suggest, feedback_lag=4), "s").ask(number)


BROKEN: dict[str, tuple[Callable[[], Any], str]] = {
    "moves a knob that is not suggested": (
        broken(lambda trial, baseline: baseline.with_knobs({"model.depth": 3})),
        "lies outside its own space at model.depth",
    ),
    "suggests what it does not use": (
        broken(lambda trial, baseline: (trial.suggest_int("model.width", 8, 64), baseline)[1], 1),
        r"model\.width = .* but its run has 16",
    ),
    "suggests no knob": (
        broken(lambda trial, baseline: (trial.suggest_int("model.widht", 1, 3), baseline)[1]),
        r"model\.widht.*did you mean model\.width",
    ),
    "returns something else": (broken(lambda trial, baseline: baseline.knobs()), "must return a RunConfig, not dict"),
}


@pytest.mark.parametrize(("attempt", "message"), BROKEN.values(), ids=BROKEN)
def test_a_broken_space_is_refused(attempt: Callable[[], Any], message: str) -> None:
    with pytest.raises(BadInputError, match=message) as caught:
        attempt()
    assert "\n" not in str(caught.value)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "several metrics": ({"metric": ["val/accuracy", "val/loss"]}, "one metric and one direction"),
    "several directions": ({"direction": ("maximize", "minimize")}, "one metric and one direction"),
    "another task's metric": ({"metric": "val/r2"}, r"'val/r2': not recorded"),
    "a misspelt metric": ({"metric": "val/acuracy"}, "did you mean val/accuracy"),
    "the test split": ({"metric": "test/accuracy"}, "not recorded"),
    "a misspelt direction": ({"direction": "max"}, "maximize or minimize"),
    "no trials": ({"trials": 0}, "at least 1 trial"),
    "no lag": ({"feedback_lag": 0}, "a feedback lag of at least 1"),
    "a misspelt sampler": ({"sampler": "tpa"}, "did you mean tpe"),
    "a misspelt pruner": ({"pruner": "medain"}, "did you mean median"),
}


@pytest.mark.parametrize(("changes", "message"), REFUSED.values(), ids=REFUSED)
def test_a_study_that_makes_no_sense_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        made(**changes)


def test_what_makes_trials_comparable_changes_the_identity_and_the_budget_does_not() -> None:
    def wider(trial: optuna.trial.BaseTrial, baseline: RunConfig) -> RunConfig:
        return baseline.with_knobs({"model.width": trial.suggest_int("model.width", 4, 128, log=True)})

    changes: list[dict[str, Any]] = [
        *[{"seed": 1}, {"feedback_lag": 2}, {"sampler": "random"}, {"pruner": "none"}, {"space": wider}],
        *[{"metric": "val/loss", "direction": "minimize"}, {"baseline": BASELINE.with_knobs({"seed": 3})}],
    ]
    texts = {json.dumps(made(**change).identity(), sort_keys=True) for change in [{}, *changes]}
    assert len(texts) == 1 + len(changes)
    assert made(trials=99).identity() == made().identity()


def test_a_repeated_report_gives_the_same_answer() -> None:
    search = Search(made(pruner="median", feedback_lag=1), "s")
    for number, (_, trial) in searched(made(pruner="median", feedback_lag=1), 8).items():
        search.history[number] = trial
    asked = search.ask(8)
    answers = [asked.report(step, -1.0) for step in range(10, 100, 10)]
    assert False in answers
    assert [asked.report(step, 5.0) for step in range(10, 100, 10)] == answers


@pytest.mark.parametrize("pruner", ["hyperband", "median"])
def test_what_is_recorded_of_a_trial_brings_the_search_back(pruner: str) -> None:
    """A relaunch has only MLflow's record: knobs as text, the space, what sampler and pruner noted, curve, value."""
    study = made(pruner=pruner, feedback_lag=2)
    through, back = Search(study, "s"), Search(study, "s")
    with_notes = 0
    for number in range(16):
        one, two = through.ask(number), back.ask(number)
        assert one.config == two.config
        frozen, again = trained(one), trained(two)
        assert plain({0: ("", frozen)}) == plain({0: ("", again)})
        through.history[number] = frozen
        texts = {name: text_of(value) for name, value in two.config.knobs().items()}
        shapes = space_from_json(space_to_json(two.trial.distributions))
        assert list(shapes) == list(two.trial.distributions)
        chosen = {name: KnobRange.of(name, shape).parse(texts[name]) for name, shape in shapes.items()}
        assert chosen == two.trial.params
        noted = noted_from_json(two.noted_to_json())
        with_notes += bool(noted)
        back.history[number] = finished_trial(
            again.state, again.value, chosen, shapes, noted, True, again.intermediate_values
        )
    assert bool(with_notes) == (pruner == "hyperband")
    resumed = back.ask(15, chosen)  # a trial that was interrupted
    assert resumed.config == two.config


def test_a_diverged_trial_violates_its_constraint_and_the_search_moves_away() -> None:
    def rates(study: Study, diverges: bool) -> list[float]:
        search = Search(study, "s")
        seen: list[float] = []
        for number in range(40):
            asked = search.ask(number)
            rate = float(asked.trial.params["optimizer.lr"])
            seen.append(rate)
            bad = diverges and rate > 0.1
            state = TrialState.PRUNED if bad else TrialState.COMPLETE
            asked.report(10, rate)
            search.history[number] = asked.ended(state, None if bad else rate, trained=not bad)
        return seen[20:]

    study = made(feedback_lag=1)
    assert sum(rate > 0.1 for rate in rates(study, True)) < sum(rate > 0.1 for rate in rates(study, False))


@pytest.mark.parametrize("sampler", ["tpe", "random", "gp", "cmaes", "nsga2", "qmc"])
def test_the_first_trials_depend_on_no_other_one(sampler: str) -> None:
    """A batch trains them together, so each is asked for before the others have ended."""
    study = made(sampler=sampler, pruner="none", feedback_lag=1)
    alone, after = Search(study, "s"), Search(study, "s")
    independent = [number for number in range(14) if alone.is_independent(number)]
    assert independent == list(range(LEARNS_FROM.get(sampler, 14)))
    for number in independent:
        asked = alone.ask(number)
        assert asked.trial.params == optuna_ask(study, number, after.history)
        after.history[number] = trained(asked)
    if sampler in LEARNS_FROM:
        assert not alone.knows_enough(len(independent))
        assert after.knows_enough(len(independent))
    assert not any(Search(made(sampler=sampler, pruner="median"), "s").is_independent(number) for number in range(14))


def optuna_ask(study: Study, number: int, history: dict[int, FrozenTrial]) -> dict[str, Any]:
    """Return what Optuna's sampler chooses for this trial if it sees all trials before it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        space_ = study.space_at_baseline()
        sampler = make_sampler(study.sampler, space_, seed=study.seed, number=number, point=max(0, number - 1))
        memory = optuna.create_study(direction=study.direction, sampler=sampler)
    memory.add_trials([history[n] for n in range(number)])
    if number == 0:
        memory.enqueue_trial(dict(study.baseline.knobs()))
    trial = memory.ask()
    study.space(trial, study.baseline)
    return trial.params
