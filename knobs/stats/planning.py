"""How many rows (repetitions or seeds) would decide a claim."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import special

from knobs.stats.claims import ClaimTest
from knobs.stats.intervals import FEWEST, Array, stretch, tail_level

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def seeds_to_decide(test: ClaimTest, alpha: float = 0.05, *, power: float = 0.8, most: int = 100) -> int | None:
    """Return how many more seeds decide the claim with this power, if the observed effect and spread are the true ones.

    `alpha` is the share that correction leaves to the claim. The power is that of a noncentral t (Cohen 1988, chapter
    2); for an effect inside the tolerance, the failures of both one-sided tests are added (Phillips 1990). None if more
    than `most` seeds are needed. The observed effect of a few seeds is itself uncertain:
    `benchmarks/statistics/results/statistics.md` measures how often such plans succeed.
    """
    e = test.effect
    n = e.n + np.arange(1, most + 1)
    gap = abs(float(e.value) - test.centre)
    side = np.sign(float(e.value) - test.centre)
    inside = gap < test.margin
    one_sided = inside and not e.any_shape
    tail = np.full(len(n), alpha) if one_sided else tail_level(alpha, np.broadcast_to(e.any_shape, n.shape))
    scale = e.se * np.sqrt(e.n / n)
    dof = e.dof * (n - 1) / (e.n - 1)
    t = -special.stdtrit(dof, tail)

    def missed(distance: float, towards: float) -> Array:
        """Return the chance that the interval reaches a bound at this true distance, so that the claim stays open."""
        if not distance > 0:
            return np.ones(len(n))
        if scale[0] == 0:
            return np.where(0.5**n <= tail, 0.0, 1.0)
        # the skewness of the future runs varies: plan for 1 sd of a normal sample's skewness more
        reach = stretch(towards * e.skew + np.sqrt(6 / n), n) if e.any_shape else 1.0
        return np.asarray(np.nan_to_num(special.nctdtr(dof, distance / scale, t * reach), nan=1.0))

    if inside:
        chance = 1 - missed(test.margin - gap, side) - missed(test.margin + gap, -side)
    else:
        chance = 1 - missed(gap - test.margin, -side)
    found = (chance >= power) & ((n >= FEWEST) | ~e.any_shape)
    return int(np.argmax(found)) + 1 if found.any() else None


def rows_to_find(effect: float, sd: float, alpha: float = 0.05, *, power: float = 0.8, most: int = 1000) -> int | None:
    """Return how many rows find an effect with this power by a two-sided one-sample t; None if more than `most`.

    `sd` is the standard deviation of the effect over rows. Cohen 1988, chapter 2.
    """
    rows = np.arange(2, most + 1)
    enough = _power(effect, sd, rows.astype(np.float64), alpha) >= power
    return int(rows[np.argmax(enough)]) if enough.any() else None


def largest_sd(effect: float, rows: int, alpha: float = 0.05, *, power: float = 0.8) -> float:
    """Return the largest standard deviation over rows at which so many rows find an effect with this power."""
    ratios = np.geomspace(0.01, 1000.0, 20_001)
    enough = _power(ratios, 1.0, np.full(len(ratios), float(rows)), alpha) >= power
    return float(abs(effect) / ratios[np.argmax(enough)])


def _power(effect: ArrayLike, sd: float, rows: Array, alpha: float) -> Array:
    dof = rows - 1.0
    t = -special.stdtrit(dof, alpha / 2)
    missed = special.nctdtr(dof, np.abs(effect) / sd * np.sqrt(rows), t)
    return np.asarray(1 - np.nan_to_num(missed, nan=0.0))
