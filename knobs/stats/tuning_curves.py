"""The best value that n trials are likely to reach, with bands that hold for all n at once."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import numpy as np

from knobs.stats.intervals import Array, checked_runs

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def median_best(
    trials: ArrayLike, most: int, *, direction: Literal["maximize", "minimize"] = "maximize", confidence: float = 0.95
) -> tuple[Array, Array, Array]:
    """Return the median of the best value of n trials, n = 1 ... most, and the ends of its band: (most,) each.

    The band holds for all n together (Lourie, Cho and He 2024, "Show Your Work with Confidence"; the package opda
    computes it). It assumes that trials are drawn independently; a quasi-random set is more even, so for it the band
    errs on the wide side. An end is infinite if the trials do not bound it: n near their number.
    """
    sign = 1.0 if direction == "maximize" else -1.0
    ranked = np.sort(sign * checked_runs(trials, 1))
    ends = np.concatenate([[-np.inf], ranked, [np.inf]])
    line, low, high = (ends[ranks] for ranks in _ranks(len(ranked), most, confidence))
    return (line, low, high) if sign > 0 else (-line, -high, -low)


@lru_cache
def _ranks(trials: int, most: int, confidence: float) -> tuple[Array, Array, Array]:
    """Return which order statistics are the median best of n trials and the ends of its band; 0 and trials + 1: none.

    They depend on the number of trials alone, so cells share them: opda takes seconds to find them.
    """
    from opda.nonparametric import EmpiricalDistribution  # takes a second

    ranks = np.arange(1.0, trials + 1.0)
    lower, line, upper = EmpiricalDistribution.confidence_bands(
        ranks, confidence, method="ld_equal_tailed", generator=np.random.default_rng(0)
    )
    budgets = np.arange(1, most + 1)

    def places(band: EmpiricalDistribution) -> Array:
        return np.asarray(np.clip(band.quantile_tuning_curve(budgets), 0, trials + 1).astype(int))

    return places(line), places(upper), places(lower)  # the higher distribution function has the lower values
