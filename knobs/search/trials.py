"""Ended trials as later trials and the record see them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from knobs.search.optuna_internals import as_finished, noted_attributes

TRAINED = "trained"
"""The constraint that a trial violates if it diverged or ran out of memory, so that the search moves away."""


def finished_trial(
    state: TrialState,
    value: float | None,
    params: dict[str, Any],
    distributions: dict[str, BaseDistribution],
    attrs: dict[str, Any],
    trained: bool,
    values: Mapping[int, float],
) -> FrozenTrial:
    """Return an ended trial. `trained` is false if it diverged or ran out of memory; `values` is its curve by step."""
    ended = create_trial(
        state=state,
        value=value if state == TrialState.COMPLETE else None,
        params=params,
        distributions=distributions,
        system_attrs=attrs,
        intermediate_values=dict(values),
        constraints={TRAINED: 0.0 if trained else 1.0},
    )
    return as_finished(ended)


def noted_to_json(trial: Trial) -> str:
    """Return what sampler and pruner noted on a live trial, as JSON; empty if they noted nothing."""
    noted = noted_attributes(trial.study.get_trials(deepcopy=False)[trial.number])
    return json.dumps(noted) if noted else ""


def noted_from_json(text: str) -> dict[str, Any]:
    """Return the attributes that `noted_to_json` wrote."""
    return dict(json.loads(text)) if text else {}
