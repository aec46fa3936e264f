"""Which knobs of a study mattered: Optuna's PED-ANOVA, with intervals from resampled trials."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
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
    frozen = [_frozen(text, value) for text, value in trials]
    if len(frozen) < FEWEST:
        return {}
    found = _ask(frozen, direction)
    random = np.random.default_rng(seed)
    drawn = [
        _ask([frozen[i] for i in random.integers(0, len(frozen), len(frozen))], direction) for _ in range(resamples)
    ]
    made: dict[str, Importance] = {}
    for knob in sorted(found, key=lambda k: (-found[k], k)):
        low, high = np.quantile([sample.get(knob, 0.0) for sample in drawn], [0.025, 0.975])
        made[knob] = Importance(found[knob], float(low), float(high))
    return made


def _frozen(text: str, value: float) -> FrozenTrial:
    params, shapes, _ = thaw(text)
    return freeze(TrialState.COMPLETE, value, params, shapes, {}, True, {})


def _ask(trials: Sequence[FrozenTrial], direction: Direction) -> Mapping[str, float]:
    quantile = min(0.5, max(0.1, 5 / len(trials)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna's notes on experimental parts that we chose knowingly
        study = optuna.create_study(direction=direction)
        study.add_trials(trials)
        shares = get_param_importances(study, evaluator=PedAnovaImportanceEvaluator(target_quantile=quantile))
    return {knob: float(share) for knob, share in shares.items()}
