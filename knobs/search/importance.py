"""Which knobs of a study mattered: Optuna's PED-ANOVA, with intervals from resampled trials."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from knobs.config import Direction
from knobs.search.optuna_internals import ResampledStudy
from knobs.search.trials import finished_trial

FEWEST_TRIALS = 10
"""Finished trials below which importances say nothing."""

RESAMPLES = 100


@dataclass(frozen=True)
class Importance:
    """One knob's share, with its 95% interval over resampled trials."""

    value: float
    low: float
    high: float


def importances(
    trials: Sequence[tuple[Mapping[str, Any], Mapping[str, BaseDistribution], float]],
    direction: Direction,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Importance]:
    """Return each knob's importance, the greatest first. `trials`: (values, distributions, metric) of finished trials.

    PED-ANOVA (Watanabe, Bansal, Hutter 2023): how much a knob's values differ between the best trials and all
    trials. It handles knobs that only some trials have. The best trials are the top tenth, but at least 5. The interval
    is the percentile interval over bootstrap resamples of the trials. Empty below `FEWEST_TRIALS`.
    """
    frozen = [
        finished_trial(TrialState.COMPLETE, value, dict(chosen), dict(shapes), {}, True, {})
        for chosen, shapes, value in trials
    ]
    if len(frozen) < FEWEST_TRIALS:
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
    """Number the trials. The evaluator tells trials apart by number, and a resample may hold a trial twice."""
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


def _study(direction: Direction) -> ResampledStudy:
    storage = optuna.storages.InMemoryStorage()
    name = optuna.create_study(storage=storage, direction=direction).study_name
    return ResampledStudy(name, storage)


def _ask(study: ResampledStudy, trials: Sequence[FrozenTrial]) -> Mapping[str, float]:
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances  # takes a second: scikit-learn

    study.trials_given = _numbered(trials)
    quantile = min(0.5, max(0.1, 5 / len(trials)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna's notes on experimental parts that we chose knowingly
        shares = get_param_importances(study, evaluator=PedAnovaImportanceEvaluator(target_quantile=quantile))
    return {knob: float(share) for knob, share in shares.items()}
