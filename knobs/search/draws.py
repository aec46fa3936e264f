"""Try a search space on many draws before anything is trained: the study's own trials come from Optuna and differ.

Nothing of the study is touched: the draws have a generator of their own, and Python's and NumPy's are put back.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    check_distribution_compatibility,
)

from knobs.config import RunConfig
from knobs.errors import BadInputError, KnobsError, nearest
from knobs.search.grid import check_on_grid
from knobs.search.optuna_internals import DrawnTrial, SpaceProbe
from knobs.search.shares import value_at
from knobs.search.study import Study, check_goal
from knobs.user_code import line_of, placed_text, user_error

DRAWS = 50
"""Draws of a space; the first two take the lower and the upper end of every range."""


def check_space(name: str, study: Study, draws: int = DRAWS) -> list[RunConfig]:
    """Return the configs of some draws of a study's space, the same at every call.

    Raise `BadInputError`, with the user's line, if the space raises or returns no config, if a knob refuses its value,
    if a run has other values than were suggested, or if equal suggestions give different configs.
    """
    space = f"the space of {name}"
    seen: dict[str, BaseDistribution] = {}
    found: list[RunConfig] = []
    with _generators_kept(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna's on choices that its own database could not hold
        for number in range(draws):
            trial = DrawnTrial(_Chooser(number))
            try:
                config = study.space(trial, study.baseline)
            except (Exception, optuna.TrialPruned) as error:
                raise _refused(space, error, trial) from (None if isinstance(error, KnobsError) else error)
            line = line_of(study.space)
            where = f"{line}: {space}" if line else space
            check_suggested(where, trial.params, config)
            _check_goal_of(where, study, config)
            for knob, distribution in trial.distributions.items():
                _check_same_kind(where, knob, seen.setdefault(knob, distribution), distribution)
            if study.sampler == "grid":
                check_on_grid(where, study.space_at_baseline(), trial.distributions)
            found.append(config)
        if study.space(SpaceProbe({**config.knobs(), **trial.params}), study.baseline) != config:
            raise BadInputError(
                f"{line_of(study.space)}: {space} gives two configs for the same suggestions: a value that it draws "
                f"itself cannot be repeated; use trial.suggest_*"
            )
    return found


def check_suggested(space: str, suggested: dict[str, Any], config: object) -> None:
    """Raise `BadInputError` if a space returned no `RunConfig`, or one that differs from what it suggested."""
    if not isinstance(config, RunConfig):
        raise BadInputError(f"{space} must return a RunConfig, not {type(config).__name__}")
    knobs = config.knobs()
    for knob, value in suggested.items():
        if knob not in knobs:
            raise BadInputError(f"{space} suggests {knob}, which is no knob of its run" + nearest(knob, knobs))
        if knobs[knob] != value:
            raise BadInputError(f"{space} suggests {knob} = {value!r} but its run has {knobs[knob]!r}")


def _check_goal_of(space: str, study: Study, config: RunConfig) -> None:
    try:
        check_goal(study.metric, study.direction, config)
    except BadInputError as error:
        raise BadInputError(f"{space} makes a run with objective.kind = {config.objective.kind!r}; {error}") from None


class _Chooser:
    """Chooses a value of each distribution: its ends in draws 0 and 1, then at random."""

    def __init__(self, number: int) -> None:
        self.number, self.random = number, random.Random(number)

    def __call__(self, distribution: BaseDistribution) -> Any:
        at_an_end = self.number < 2 and not isinstance(distribution, CategoricalDistribution)
        return value_at(distribution, float(self.number) if at_an_end else self.random.random())


def _refused(space: str, error: BaseException, trial: DrawnTrial) -> BadInputError:
    """Return why a draw was refused: the knob that says so with its range, or what the space raised, with its draw."""
    text = placed_text(error)
    knob = next((name for name in trial.params if f"{name} = " in text), None)
    if isinstance(error, KnobsError) and knob is not None:
        return BadInputError(f"{text}\n{space} draws it from {_range_text(trial.distributions[knob])}; narrow that")
    drawn = ", ".join(f"{name} = {value!r}" for name, value in list(trial.params.items())[:3])
    raised = (
        user_error(error, f"{space} raises for some draws") if isinstance(error, Exception) else BadInputError(text)
    )
    return BadInputError(
        f"{raised}\nthe draw: {drawn or 'nothing yet'}; a space must return a RunConfig for every draw"
    )


def _range_text(distribution: BaseDistribution) -> str:
    if isinstance(distribution, CategoricalDistribution):
        return f"{list(distribution.choices)[:8]}"
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    kind = "whole numbers" if isinstance(distribution, IntDistribution) else "numbers"
    return f"{kind} from {distribution.low:g} to {distribution.high:g}"


def _check_same_kind(space: str, knob: str, first: BaseDistribution, now: BaseDistribution) -> None:
    try:
        check_distribution_compatibility(first, now)
    except ValueError:
        what = "other choices" if isinstance(first, CategoricalDistribution) else "another kind of range"
        raise BadInputError(
            f"{space}: {knob} has {what} in other draws, which Optuna cannot search; suggest from all of them"
        ) from None


@contextmanager
def _generators_kept() -> Iterator[None]:
    python, numpy = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
