"""What tells two search spaces apart: source, bound arguments, captured values; comments do not count."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
from search.test_study import made

from knobs import BadInputError, RunConfig
from knobs.search import study_identity
from knobs.search.function_code import function_code


def space(trial: Any, baseline: RunConfig, low: int = 4) -> RunConfig:
    return baseline.with_knobs({"model.width": trial.suggest_int("model.width", low, 64)})


def capturing(low: Any) -> Callable[[Any, RunConfig], RunConfig]:
    def inner(trial: Any, baseline: RunConfig) -> RunConfig:
        return space(trial, baseline, low)

    return inner


@dataclass
class Searched:
    low: int

    def __call__(self, trial: Any, baseline: RunConfig) -> RunConfig:
        return space(trial, baseline, self.low)

    def method(self, trial: Any, baseline: RunConfig) -> RunConfig:
        return space(trial, baseline, self.low)


LAMBDA = lambda trial, baseline: space(trial, baseline, 5)  # noqa: E731
OTHER = lambda trial, baseline: space(trial, baseline, 6)  # noqa: E731

SPACES: dict[str, list[Any]] = {
    "a function": [space],
    "a partial": [partial(space, low=4), partial(space, low=5), partial(space, low=4.0)],
    "a captured value": [capturing(4), capturing(5), capturing((4, 5)), capturing([4, 5]), capturing(LAMBDA)],
    "an object": [Searched(4), Searched(5)],
    "a bound method": [Searched(4).method, Searched(5).method],
    "a lambda": [LAMBDA, OTHER],
}
EVERY = [space for spaces in SPACES.values() for space in spaces]


def test_different_spaces_differ() -> None:
    codes = [repr(function_code(each)) for each in EVERY]
    assert len(set(codes)) == len(codes)


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (partial(space, low=4), partial(space, low=4)),
        (capturing({"a": 1, "b": 2}), capturing({"b": 2, "a": 1})),
        (Searched(4), Searched(4)),
        (capturing({3, 1, 2}), capturing({1, 2, 3})),
    ],
)
def test_equal_spaces_are_equal(one: Any, two: Any) -> None:
    assert function_code(one) == function_code(two)


@pytest.mark.parametrize("each", [partial(space, low=4), Searched(4), Searched(4).method, LAMBDA, capturing(4)])
def test_each_makes_a_study_whose_identity_can_be_stored(each: Any) -> None:
    import json

    identity = study_identity(made(space=each))
    assert json.loads(json.dumps(identity)) == identity


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(BadInputError, match="a function holds a generator, which cannot be compared"):
        function_code(capturing(x for x in "abc"))
