"""Several looks at growing data under one error level: alpha spending of the O'Brien-Fleming type.

After a share t of the planned data, at most 2 - 2 Phi(z(1 - alpha / 2) / sqrt(t)) of the level may have been spent (Lan
and DeMets 1983, their first example). Early looks decide only what is overwhelming, and the last keeps nearly the whole
level.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

from knobs.errors import BadInputError
from knobs.stats.intervals import Array

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike

NODES = 161
"""Points of the numerical integration over the statistic."""

SMALLEST = 1e-12
"""Sequential p-values below this one are given as this one."""

_BISECTIONS = 60


def spent(alpha: ArrayLike, share: float) -> Array:
    """Return how much of each level may be spent after this share of the planned data: (levels,) -> (levels,)."""
    level = np.asarray(alpha, dtype=np.float64)
    return np.asarray(2 * special.ndtr(special.ndtri(level / 2) / np.sqrt(share)))


def look_levels(looks: Sequence[int], most: int, alpha: float = 0.05) -> Array:
    """Return the two-sided level at which each look tests: (looks,).

    `looks` are numbers of rows, increasing; `most` is the planned maximum. The boundaries follow from recursive
    integration over the statistic's joint distribution (Armitage, McPherson and Rowe 1969; Jennison and Turnbull 2000,
    chapter 19), which is that of Brownian motion at the times n / most.
    """
    return _levels(tuple(looks), most, (alpha,))[:, 0]


def sequential_p(p: ArrayLike, looks: Sequence[int], most: int) -> Array:
    """Return p-values that hold after several looks: p (looks so far, ...) by look, in order -> (...).

    Each is the smallest overall level at which one of the looks so far would have decided (Liu and Anderson 2008).
    So they never grow, and Holm's correction over the claims' sequential p-values keeps the family-wise error
    (Maurer and Bretz 2013). With one look at all of the planned data it is p.
    """
    by_look = np.asarray(p, dtype=np.float64)
    if not 1 <= len(by_look) <= len(looks):
        raise ValueError(f"{len(by_look)} rows of p, {len(looks)} looks")
    grid = _grid()
    table = np.log(_levels(tuple(looks), most, tuple(grid)))
    found = []
    for levels, values in zip(table, by_look, strict=False):
        at = np.interp(np.log(np.maximum(values, 1e-300)), levels, np.log(grid))
        found.append(np.where(values >= 1.0, 1.0, np.exp(at)))
    return np.asarray(np.min(found, axis=0))


@lru_cache
def _grid() -> tuple[float, ...]:
    """Return the levels between which sequential p-values are interpolated."""
    close = 1.0 - np.geomspace(1e-6, 0.5, 25)[::-1]
    return (*np.geomspace(SMALLEST, 0.49, 90), *close, 1.0)


@lru_cache
def _levels(looks: tuple[int, ...], most: int, alpha: tuple[float, ...]) -> Array:
    """Return the two-sided level of each look for each overall level: (looks, levels)."""
    if not looks or sorted(set(looks)) != list(looks) or looks[0] < 1 or looks[-1] > most:
        raise BadInputError(f"looks after {looks} of {most}: they must increase, up to the planned maximum")
    times = [look / most for look in looks]
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    total = np.asarray(alpha)
    begun, before = np.zeros_like(total), 0.0
    found: list[Array] = []
    points = density = np.empty(0)
    for time in times:
        share = np.maximum(spent(total, time) - begun, 0.0)
        begun = spent(total, time)
        if not found:
            bound = -special.ndtri(share / 2) * np.sqrt(time)
        else:
            bound = _bound(points, density, share, np.sqrt(time - before), np.sqrt(time))
        found.append(2 * special.ndtr(-bound / np.sqrt(time)))
        reach = np.minimum(bound, 8.5 * np.sqrt(time))[:, None]
        here = reach * nodes
        if before == 0.0:
            values = np.exp(-(here**2) / (2 * time)) / np.sqrt(2 * np.pi * time)
        else:
            step = time - before
            gaps = here[:, :, None] - points[:, None, :]
            values = (np.exp(-(gaps**2) / (2 * step)) * density[:, None, :]).sum(axis=2) / np.sqrt(2 * np.pi * step)
        points, density, before = here, values * weights * reach, time
    return np.maximum(np.stack(found), 1e-300)


def _bound(points: Array, density: Array, share: Array, sd: float, scale: float) -> Array:
    """Return the bound that the statistic crosses with this chance at the next look, not having crossed before."""
    low, high = np.zeros_like(share), np.full_like(share, 40.0 * scale)
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        ends = middle[:, None]
        chance = density * (special.ndtr((points - ends) / sd) + special.ndtr((-points - ends) / sd))
        crosses = chance.sum(axis=1) > share
        low, high = np.where(crosses, middle, low), np.where(crosses, high, middle)
    return np.asarray((low + high) / 2)
