"""Quasi-random trials: points that cover a search space more evenly than random ones, and need no history.

Trial n is point n of a Sobol sequence (Sobol 1967; direction numbers of Joe and Kuo 2008, as SciPy has them). Each
column is shifted by a digital shift of its own, which depends on the study's seed: every point is then uniform over
the space, and the points stay as even as before (L'Ecuyer and Lemieux 2002, section 4.4).

A column belongs to a place in the walk of the space: the first knob that is suggested takes the first column. So a
conditional space needs no fixed number of columns, and two spaces that begin alike get the same values.
"""

from __future__ import annotations

import functools
import hashlib
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution

from knobs.search.shares import value_at

BITS = 30


class QuasiRandomSampler(optuna.samplers.BaseSampler):
    """Chooses the values of one trial: point `index` of the sequence that `seed` shifts."""

    def __init__(self, seed: int, index: int) -> None:
        self.seed, self.index = seed, index

    def infer_relative_search_space(
        self, study: optuna.Study, trial: optuna.trial.FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Return nothing: knobs are chosen one by one."""
        del study, trial
        return {}

    def sample_relative(
        self, study: optuna.Study, trial: optuna.trial.FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return nothing."""
        del study, trial, search_space
        return {}

    def sample_independent(
        self,
        study: optuna.Study,
        trial: optuna.trial.FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Return the value of a knob."""
        del study, param_name
        return value_at(param_distribution, share_at(self.seed, self.index, len(trial.params)))


def share_at(seed: int, index: int, column: int) -> float:
    """Return a coordinate of a point, in (0, 1): the middle of its cell."""
    shift = int.from_bytes(hashlib.sha256(f"{seed}/{column}".encode()).digest()[:4], "big") >> (32 - BITS)
    return float((_sobol(column, index) ^ shift) + 0.5) / (1 << BITS)


def _sobol(column: int, index: int) -> int:
    """Return a coordinate of an unshifted point, as `BITS` binary digits."""
    return _columns(-(-(column + 1) // 8) * 8, 1 << max(5, index.bit_length()))[index][column]


@functools.lru_cache(maxsize=8)
def _columns(columns: int, points: int) -> list[list[int]]:
    from scipy.stats import qmc  # takes half a second

    made = qmc.Sobol(columns, scramble=False, bits=BITS).random(points)
    digits: list[list[int]] = np.round(made * (1 << BITS)).astype(np.int64).tolist()
    return digits
