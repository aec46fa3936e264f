"""Which knobs of a study mattered: Optuna's PED-ANOVA, with intervals from resampled trials."""

from __future__ import annotations

import warnings
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import optuna
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, TrialState

from knobs.study import Direction, freeze, thaw

FEWEST = 10
"""Finished trials from which on importances are worth asking for."""

RESAMPLES = 100


@dataclass(frozen=True)
class Importance:
    """One knob's share, with its 95% interval over resampled trials."""

    value: float
    low: float
    high: float


def importances(
    trials: Sequence[tuple[str, float]], direction: Direction, *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Importance]:
    """Knob -> importance, greatest first; `trials` are (`knobs.optuna`, value) of finished trials.

    PED-ANOVA (Watanabe, Bansal, Hutter 2023): how much a knob's choice sets the best trials apart from all; it handles
    knobs that are there for some trials only. The best trials are the top tenth, but at least 5. The interval is the
    percentile interval over bootstrap resamples of the trials.
    """
    thawed = [(*thaw(text)[:2], value) for text, value in trials]
    frozen = [freeze(TrialState.COMPLETE, value, params, shapes, {}, True, {}) for params, shapes, value in thawed]
    if len(frozen) < FEWEST:
        return {}
    study = _study(direction)
    found = _ask(study, frozen)
    random = np.random.default_rng(seed)
    drawn = [_ask(study, [frozen[i] for i in random.integers(0, len(frozen), len(frozen))]) for _ in range(resamples)]
    made: dict[str, Importance] = {}
    for knob in sorted(found, key=lambda k: (-found[k], k)):
        low, high = np.quantile([sample.get(knob, 0.0) for sample in drawn], [0.025, 0.975])
        made[knob] = Importance(found[knob], float(low), float(high))
    return made


def _numbered(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Each with a number of its own, as the evaluator tells trials apart by; the same trial may be drawn twice."""
    return [
        FrozenTrial(
            number=number,
            state=TrialState.COMPLETE,
            value=trial.value,
            datetime_start=None,
            datetime_complete=None,
            params=trial.params,
            distributions=trial.distributions,
            user_attrs={},
            system_attrs={},
            intermediate_values={},
            trial_id=number,
        )
        for number, trial in enumerate(trials)
    ]


class _Drawn(optuna.Study):
    """A study whose trials are those that were drawn; adding them to a store would copy each, every time."""

    drawn: Sequence[FrozenTrial] = ()

    def get_trials(self, deepcopy: bool = True, states: Container[TrialState] | None = None) -> list[FrozenTrial]:
        """All of them are finished."""
        del deepcopy, states
        return list(self.drawn)


def _study(direction: Direction) -> _Drawn:
    storage = optuna.storages.InMemoryStorage()
    name = optuna.create_study(storage=storage, direction=direction).study_name
    return _Drawn(name, storage)


def _ask(study: _Drawn, trials: Sequence[FrozenTrial]) -> Mapping[str, float]:
    study.drawn = _numbered(trials)
    quantile = min(0.5, max(0.1, 5 / len(trials)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna's notes on experimental parts that we chose knowingly
        shares = get_param_importances(study, evaluator=PedAnovaImportanceEvaluator(target_quantile=quantile))
    return {knob: float(share) for knob, share in shares.items()}
