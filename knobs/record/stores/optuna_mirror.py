"""Optuna's store, for Optuna's own tools: a mirror of what MLflow holds, rebuilt whenever it differs."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.distributions import CategoricalDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from knobs.config import text_of
from knobs.errors import StoreError
from knobs.record.stores.locations import StoreLocations, without_password
from knobs.record.stores.locks import file_lock
from knobs.record.stores.retry import PATIENCE, PATIENCE_AT_OPENING, is_busy, retry
from knobs.search import PendingTrial, Study
from knobs.search.optuna_internals import trial_id, write_curve

logging.getLogger("optuna.storages").setLevel(logging.CRITICAL)


class OptunaMirror:
    """One study in Optuna's database. Trials are written in order, so they have our numbers."""

    def __init__(self, places: StoreLocations, name: str, study: Study) -> None:
        self.places, self.name, self.study = places, name, study
        self.url = places.optuna_url
        self.storage = self._open()
        self.direction = StudyDirection.MAXIMIZE if study.direction == "maximize" else StudyDirection.MINIMIZE
        self.ids: dict[int, int] = {}
        self._placeholders: set[int] = set()
        """Trials that wait without parameters: the record lacks them, or does not have them yet."""

    def sync(
        self, ended: Mapping[int, FrozenTrial], waiting: Mapping[int, FrozenTrial], attrs: Mapping[int, dict[str, str]]
    ) -> None:
        """Make the store agree with MLflow. A trial that is missing there waits here, without parameters."""
        for number, trial in ended.items():
            trial.user_attrs.update(attrs[number])
        trials = {**ended, **waiting}
        self._placeholders = set(range(max(trials, default=-1) + 1)) - trials.keys()
        trials |= {number: create_trial(state=TrialState.WAITING) for number in self._placeholders}
        wanted = [_storable(trials[number]) for number in range(len(trials))]
        with file_lock(self.places.folder / ".optuna.lock"):
            try:
                self._sync(wanted)
            except (StoreError, sqlalchemy.exc.SQLAlchemyError) as error:
                if is_busy(error) or not self._set_aside():
                    raise
                self.storage = _storage(self.url)
                self._sync(wanted)

    def _sync(self, wanted: list[FrozenTrial]) -> None:
        try:
            self.study_id = self._call(lambda: self.storage.get_study_id_from_name(self.name))
            there = self._call(lambda: self.storage.get_all_trials(self.study_id, deepcopy=False))
            if len(there) > len(wanted) or not all(map(_same, there, wanted)):
                self._call(lambda: self.storage.delete_study(self.study_id))
                raise KeyError(self.name)
        except KeyError:
            there = []
            self.study_id = self._call(lambda: self.storage.create_new_study([self.direction], self.name))
            self._call(lambda: self.storage.set_study_user_attr(self.study_id, "metric", self.study.metric))
        self.ids = {trial.number: trial_id(trial) for trial in there}
        for number, trial in enumerate(wanted):
            if number not in self.ids:
                self.ids[number] = self._create(trial)
            elif trial.state != there[number].state:
                self._state(number, trial.state)

    def started(self, asked: PendingTrial) -> None:
        """Mark a trial as RUNNING; create it if it is missing."""
        number, chosen = asked.number, asked.trial
        for earlier in range(len(self.ids), number):  # trials of a batch start together, before those between them
            self.ids[earlier] = self._create(create_trial(state=TrialState.WAITING))
            self._placeholders.add(earlier)
        running = create_trial(state=TrialState.RUNNING, params=dict(chosen.params), distributions=chosen.distributions)
        if number not in self.ids:
            self.ids[number] = self._create(running)
            return
        if number in self._placeholders:
            self._placeholders.remove(number)
            stored = _storable(running)
            for name, shape in stored.distributions.items():
                value = shape.to_internal_repr(stored.params[name])
                self._call(partial(self.storage.set_trial_param, self.ids[number], name, value, shape))
        self._state(number, TrialState.RUNNING)

    def waits(self, number: int) -> None:
        """Mark a trial as WAITING: it will continue."""
        self._state(number, TrialState.WAITING)

    def ended(self, number: int, trial: FrozenTrial, user_attrs: Mapping[str, Any]) -> None:
        """Write an ended trial: its curve, its constraint, its state and value."""
        mirrored = self.ids[number]
        self._call(lambda: write_curve(self.storage, mirrored, trial.intermediate_values))
        for key, attr in trial.system_attrs.items():
            self._call(lambda key=key, attr=attr: self.storage.set_trial_system_attr(mirrored, key, attr))
        for key, attr in user_attrs.items():
            self._call(lambda key=key, attr=attr: self.storage.set_trial_user_attr(mirrored, key, attr))
        self._state(number, trial.state, trial.values)

    def _create(self, trial: FrozenTrial) -> int:
        return int(self._call(lambda: self.storage.create_new_trial(self.study_id, _storable(trial))))

    def _state(self, number: int, state: TrialState, values: Any = None) -> None:
        self._call(lambda: self.storage.set_trial_state_values(self.ids[number], state, values))

    def _call(self, call: Any) -> Any:
        try:
            return retry(call, (optuna.exceptions.StorageInternalError,))
        except StoreError as error:
            raise StoreError(f"Optuna's store failed, the record is safe in MLflow: {error}") from None

    def _open(self) -> optuna.storages.RDBStorage:
        try:
            with warnings.catch_warnings(), file_lock(self.places.folder / ".optuna.lock"):
                warnings.simplefilter("ignore")
                return self._open_or_replace()
        except (sqlalchemy.exc.SQLAlchemyError, RuntimeError, ImportError) as error:
            text = without_password(str(error)).partition("\n")[0]
            raise StoreError(f"{without_password(self.url)} does not open as an Optuna store: {text}") from None

    def _open_or_replace(self) -> optuna.storages.RDBStorage:
        try:
            patience = PATIENCE_AT_OPENING if self.places.storage else PATIENCE
            return retry(lambda: _storage(self.url), (_Busy,), patience)
        except (sqlalchemy.exc.DatabaseError, RuntimeError, AssertionError):
            if not self._set_aside():
                raise
            return _storage(self.url)

    def _set_aside(self) -> bool:
        """Move our own file away if it is damaged or half made. Return false for a team's database."""
        if self.places.storage:
            return False
        file = Path(self.url.removeprefix("sqlite:///"))
        with suppress(OSError):
            file.replace(file.with_suffix(".damaged"))
        return True


class _Busy(Exception):
    """Optuna's database could not be opened because it is busy."""


def _storage(url: str) -> optuna.storages.RDBStorage:
    try:
        storage = optuna.storages.RDBStorage(url)
    except sqlalchemy.exc.OperationalError as error:
        if is_busy(error):
            raise _Busy(str(error)) from error
        raise
    if url.startswith("sqlite"):

        @sqlalchemy.event.listens_for(storage.engine, "connect")
        def _(connection: Any, _record: Any) -> None:
            # The mirror is rebuilt from MLflow if it is behind, so it need not wait for the disk.
            connection.execute("PRAGMA synchronous=OFF")

        storage.engine.dispose()
    return storage


def _storable(trial: FrozenTrial) -> FrozenTrial:
    """Return a trial as Optuna's database can hold it: choices that are tuples as their text, `[8, 8]`."""
    tupled = {
        name: CategoricalDistribution(list(map(_as_text, found.choices)))
        for name, found in trial.distributions.items()
        if isinstance(found, CategoricalDistribution) and any(isinstance(choice, tuple) for choice in found.choices)
    }
    if not tupled:
        return trial
    stored = copy.copy(trial)
    stored.distributions = {**trial.distributions, **tupled}
    stored.params = {name: _as_text(value) for name, value in trial.params.items()}
    return stored


def _as_text(value: Any) -> Any:
    return text_of(value) if isinstance(value, tuple) else value


def _same(old: FrozenTrial, new: FrozenTrial) -> bool:
    """Return whether a trial in the store is as it should be. A trial that has not ended may be RUNNING there."""
    if old.params != new.params or old.state.is_finished() != new.state.is_finished():
        return False
    if not new.state.is_finished():
        return True
    names = ("state", "values", "intermediate_values", "user_attrs", "system_attrs")
    return all(getattr(old, name) == getattr(new, name) for name in names)
