"""Samplers that learn find better trials than random ones, wait for the lag, and continue from the record alone."""

from __future__ import annotations

import math
from statistics import mean
from typing import Any

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState
from search.test_study import BASELINE, made, searched

from knobs import RunConfig, Study
from knobs.search import LEARNS_FROM, PendingTrial, Search, finished_trial, noted_from_json
from knobs.search.samplers import SAMPLERS
from knobs.search.shares import share_of, value_at

LAG = 4


def space(trial: optuna.trial.BaseTrial, baseline: RunConfig) -> RunConfig:
    return baseline.with_knobs(
        {
            "optimizer.lr": trial.suggest_float("optimizer.lr", 1e-3, 1.0, log=True),
            "optimizer.momentum": trial.suggest_float("optimizer.momentum", 0.0, 0.9),
            "model.width": trial.suggest_int("model.width", 4, 512, log=True),
        }
    )


def study(sampler: str, **changes: Any) -> Study:
    given_: dict[str, Any] = {"space": space, "pruner": "none", "feedback_lag": LAG, "sampler": sampler, **changes}
    return made(metric="val/loss", direction="minimize", **given_)


def distance(config: RunConfig, best: float) -> float:
    """Return a quadratic over the three knobs; each has its minimum at this share of its range."""
    knobs: Any = config.knobs()
    shares = (
        math.log10(knobs["optimizer.lr"]) / 3 + 1,
        knobs["optimizer.momentum"] / 0.9,
        math.log(knobs["model.width"] / 4) / math.log(128),
    )
    return sum(weight * (share - best) ** 2 for weight, share in zip((1, 3, 5), shares, strict=True))


def restarted(asked: PendingTrial, search: Search) -> None:
    """Add a trial to the history as a relaunch does, from plain values."""
    value, noted = distance(asked.config, 0.3), noted_from_json(asked.noted_to_json())
    shapes = asked.trial.distributions
    search.history[asked.number] = finished_trial(
        TrialState.COMPLETE, value, dict(asked.trial.params), shapes, noted, True, {270: value}
    )


def best_of(sampler: str, seed: int, trials: int = 150) -> float:
    """Return the logarithm of the best value, with each trial's history as old as the lag allows."""
    search = Search(study(sampler, seed=seed, baseline_first=False), "s")
    values = []
    ended: dict[int, Any] = {}
    for number in range(trials):
        if (late := number - LAG) in ended:
            search.history[late + 1] = ended[late + 1]
        elif number == LAG - 1:
            search.history[0] = ended[0]
        asked = search.ask(number)
        values.append(distance(asked.config, (0.3, 0.7, 0.85)[seed]))
        ended[number] = asked.ended(TrialState.COMPLETE, values[-1], trained=True)
    return math.log10(min(values))
