"""The interval of a test metric for new samples of the same kind, not only for the test samples at hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import special

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from knobs.stats.intervals import Estimate


def sampling_sd(left_out: ArrayLike) -> float:
    """Return the standard deviation of a mean over runs that comes from the choice of the test samples.

    `left_out` (runs, groups) is the number of each run without each group of test samples in turn, the same samples
    in all runs: the delete-a-group jackknife (Wolter 2007, section 4.2). It holds for every smooth function of the
    samples: means, areas, shares of variance, and differences of these. What a sample does to single runs alone is
    taken out: the spread between runs shows it already.
    """
    x = np.asarray(left_out, dtype=np.float64)
    runs, groups = x.shape
    of_mean = (groups - 1) ** 2 / groups * x.mean(axis=0).var(ddof=1)
    of_runs = (groups - 1) ** 2 / groups * x.var(axis=1, ddof=1).mean()
    return float(np.sqrt(max(of_mean - (of_runs - of_mean) / max(runs - 1, 1), 0.0)))


def new_samples_interval(
    estimate: Estimate,
    left_out: ArrayLike,
    *,
    confidence: float = 0.95,
    bounds: tuple[float, float] | None = None,
) -> tuple[float, float]:
    """Return the interval of one mean over runs, or of a mean difference, for new runs and new test samples.

    `estimate` is that of the runs, `left_out` as in `sampling_sd`. On each side the squares of the runs' half-width and
    the samples' are added (Graybill and Wang 1980, for sums of variances).
    """
    groups = np.asarray(left_out).shape[1]
    samples = float(-special.stdtrit(groups - 1, (1 - confidence) / 2)) * sampling_sd(left_out)
    value, low, high = float(estimate.value), float(estimate.low), float(estimate.high)
    ends = value - float(np.hypot(value - low, samples)), value + float(np.hypot(high - value, samples))
    if bounds is not None:
        ends = max(ends[0], bounds[0]), min(ends[1], bounds[1])
    return ends
