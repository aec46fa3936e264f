"""Descriptions of runs: means, the chance of an improvement, the expected best of n trials."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy import special

from knobs.stats.intervals import Array, checked_runs

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def mean(runs: ArrayLike) -> Array:
    """Return the mean over runs: (runs, cells...) -> (cells...)."""
    return np.asarray(checked_runs(runs, 1).mean(axis=0))


def interquartile_mean(runs: ArrayLike) -> Array:
    """Return the mean of the middle half of each cell's runs: (runs, cells...) -> (cells...).

    Agarwal et al. 2021, "Deep RL at the Edge of the Statistical Precipice", section 4: the lowest and the highest
    quarter (rounded down) are left out, so that single failed runs do not decide. Below 4 runs it is the mean.
    """
    from scipy import stats  # takes half a second, and few commands need it

    return np.asarray(stats.trim_mean(checked_runs(runs, 1), 0.25, axis=0))


def probability_of_improvement(a: ArrayLike, b: ArrayLike) -> float:
    """Return the chance that a run of `a` is above a run of `b`, ties counted half, averaged over cells. Unpaired.

    `a`: (runs_a,) or (runs_a, cells), `b`: (runs_b,) or (runs_b, cells). Agarwal et al. 2021, section 4; per cell it
    is Mann and Whitney's U / (runs_a * runs_b).
    """
    x, y = checked_runs(a, 1), checked_runs(b, 1)
    if x.shape[1:] != y.shape[1:]:
        raise ValueError(f"cells differ: {x.shape[1:]} and {y.shape[1:]}")
    above = x[:, None] > y[None, :]
    tied = x[:, None] == y[None, :]
    return float((above + 0.5 * tied).mean())


def expected_best(
    trials: ArrayLike, *, direction: Literal["maximize", "minimize"] = "maximize", replacement: bool = False
) -> Array:
    """Return the expected best value of n random trials, n = 1 ... B: (B, cells...) -> (B, cells...), row n-1 for n.

    Exact, without resampling. Assumes that trials are drawn independently from one search space, as in random search;
    those of an adaptive sampler are not. The default is the unbiased estimate of Tang et al. 2020 ("Showing Your Work
    Doesn't Always Work"): the mean over all subsets of n trials; it ends at the best trial. `replacement=True` is the
    estimate of Dodge et al. 2019 ("Show Your Work", section 3) from the empirical distribution, which Tang et al. show
    to be too pessimistic.
    """
    x = checked_runs(trials, 1)
    sign = 1.0 if direction == "maximize" else -1.0
    ranked = np.sort(sign * x, axis=0)
    total = len(x)
    n = np.arange(1, total + 1)[:, None]
    rank = np.arange(total + 1)[None, :]
    if replacement:
        at_most = (rank / total) ** n
    else:
        # C(rank, n) / C(total, n): the share of subsets of n that lie within the lowest `rank` trials
        log = special.gammaln
        inside = rank >= n
        low = np.where(inside, rank - n, 0)
        logs = log(rank + 1) - log(low + 1) - log(total + 1) + log(total - n + 1)
        at_most = np.where(inside, np.exp(logs), 0.0)
    chances = np.diff(at_most, axis=1)
    return np.asarray(sign * np.tensordot(chances, ranked, axes=1))
