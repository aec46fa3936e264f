"""Studies: search spaces, asking Optuna for trials, samplers and pruners, importance of knobs."""

from __future__ import annotations

from knobs.config import Direction
from knobs.search.asking import PendingTrial, Search
from knobs.search.draws import DRAWS, check_space
from knobs.search.function_code import function_hash
from knobs.search.identity import identity_changes, study_identity
from knobs.search.importance import FEWEST_TRIALS, RESAMPLES, Importance, importances
from knobs.search.optuna_internals import SpaceProbe
from knobs.search.replicates import Replicates
from knobs.search.samplers import LEARNS_FROM, check_pruner
from knobs.search.study import Space, Study, check_goal, not_recorded, rank_trials
from knobs.search.trials import finished_trial, noted_from_json

__all__ = [
    "DRAWS",
    "FEWEST_TRIALS",
    "LEARNS_FROM",
    "RESAMPLES",
    "Direction",
    "Importance",
    "PendingTrial",
    "Replicates",
    "Search",
    "Space",
    "SpaceProbe",
    "Study",
    "check_goal",
    "check_pruner",
    "check_space",
    "finished_trial",
    "function_hash",
    "identity_changes",
    "importances",
    "not_recorded",
    "noted_from_json",
    "rank_trials",
    "study_identity",
]
