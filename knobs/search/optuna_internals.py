"""Every private name of Optuna that we use. `tests/search/test_optuna_internals.py` fails by name on a new version.

Optuna 5.0 has no public way to walk a search space with fixed values, to share ended trials between studies without
copying them, to resample the trials of a study, or to write a whole curve in one transaction.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.storages._rdb import models
from optuna.storages._rdb.storage import _create_scoped_session
from optuna.trial import FrozenTrial, TrialState

from knobs.errors import BadInputError, nearest


class _WalkedTrial(optuna.trial.FixedTrial):
    """Walks a search space and notes each distribution it meets, with its value."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__(dict(values))
        self.seen: dict[str, BaseDistribution] = {}
        self.chosen: dict[str, Any] = {}

    def choose(self, name: str, distribution: BaseDistribution) -> Any:
        """Return the value of a knob."""
        raise NotImplementedError

    def _suggest(self, name: str, distribution: BaseDistribution) -> Any:
        self.seen[name] = distribution
        if name not in self.chosen:
            self.chosen[name] = self.choose(name, distribution)
        return self.chosen[name]

    @property
    def params(self) -> dict[str, Any]:
        """The values so far."""
        return self.chosen

    @property
    def distributions(self) -> dict[str, BaseDistribution]:
        """The distributions so far."""
        return self.seen


class SpaceProbe(_WalkedTrial):
    """Walks a search space with given values.

    Raises `BadInputError` if the space suggests an unknown knob, or a range that does not hold the knob's value.
    """

    def choose(self, name: str, distribution: BaseDistribution) -> Any:
        """Return the given value of a knob."""
        if name not in self._params:
            raise BadInputError(
                f"the space suggests {name}, which is no knob of the baseline" + nearest(name, self._params)
            )
        value = self._params[name]
        try:
            inside = distribution._contains(distribution.to_internal_repr(value))
        except ValueError:  # no such choice, or not a number
            inside = False
        if not inside:
            raise BadInputError(f"the baseline lies outside its own space: {name} = {value!r} is not in {distribution}")
        return value


class DrawnTrial(_WalkedTrial):
    """Walks a search space with values that `draw` takes from each distribution."""

    def __init__(self, draw: Callable[[BaseDistribution], Any]) -> None:
        super().__init__({})
        self.draw = draw

    def choose(self, name: str, distribution: BaseDistribution) -> Any:
        """Return a drawn value."""
        return self.draw(distribution)


class FinishedTrial(FrozenTrial):
    """An ended trial. It never changes, so copies share its contents: each ask copies up to a thousand of them."""

    def __deepcopy__(self, memo: dict[int, Any]) -> FrozenTrial:
        return copy.copy(self)


def as_finished(trial: FrozenTrial) -> FrozenTrial:
    """Mark a trial as ended, so that copies are cheap."""
    trial.__class__ = FinishedTrial
    return trial


NOTED = ("completed_rung", "NSGAIISampler:generation")
"""How the attributes begin that successive-halving pruners and NSGA-II write: numbers, a few per trial."""


def noted_attributes(trial: FrozenTrial) -> dict[str, Any]:
    """Return what sampler and pruner wrote to a trial and need to find there again."""
    return {key: value for key, value in trial.system_attrs.items() if key.startswith(NOTED)}


class ResampledStudy(optuna.Study):
    """A study that returns the given trials. Adding them to a storage would copy every one, for every resample."""

    trials_given: Sequence[FrozenTrial] = ()

    def get_trials(self, deepcopy: bool = True, states: Container[TrialState] | None = None) -> list[FrozenTrial]:
        """Return the given trials; all of them are finished."""
        del deepcopy, states
        return list(self.trials_given)


def trial_id(trial: FrozenTrial) -> int:
    """Return the storage's own number of a trial."""
    return trial._trial_id


def write_curve(storage: optuna.storages.RDBStorage, trial: int, values: Mapping[int, float]) -> None:
    """Write all intermediate values of a trial in one transaction.

    Optuna's own call takes one transaction per value, which is most of the cost of a trial's end.
    """
    model = models.TrialIntermediateValueModel
    with _create_scoped_session(storage.scoped_session, True) as session:
        there = {step for (step,) in session.query(model.step).filter(model.trial_id == trial)}
        for step, value in values.items():
            if step not in there:  # a driver may have been killed between a trial's curve and its state
                stored, kind = model.intermediate_value_to_stored_repr(value)
                row = model(trial_id=trial, step=step, intermediate_value=stored, intermediate_value_type=kind)
                session.add(row)
