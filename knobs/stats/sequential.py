"""Several looks at growing data under one error level: alpha spending of the O'Brien-Fleming type.

After a share t of the planned data, 2 - 2 Phi(z(1 - alpha / 2) / sqrt(t)) of the level alpha may have been spent (Lan
and DeMets 1983, their first example). Early looks decide only what is overwhelming, and the last keeps nearly the whole
level. The function is applied to the two-sided level, so the bounds at 4 equal looks are 3.92, 2.77, 2.30 and 2.04;
published tables apply it to each side's half, which gives 4.33, 2.96, 2.36 and 2.01. Both spend exactly alpha. Ours
decides a little earlier.
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

SMALLEST = 1e-12
"""After several looks, smaller sequential p-values are given as about this one."""

_STEPS = 12
"""Newton steps to a bound. More change no bound by more than 1e-12."""
_RARE = 1e-40
"""A chance below this one is not integrated: its bound is one that would hold without earlier looks."""
_REACH = 12.0
"""Standard deviations of the statistic beyond which it is not integrated."""


def spent(alpha: ArrayLike, share: ArrayLike) -> Array:
    """Return how much of each two-sided level may be spent after a share of the planned data; both are broadcast."""
    level = np.asarray(alpha, dtype=np.float64)
    return np.asarray(2 * special.ndtr(special.ndtri(level / 2) / np.sqrt(share)))


def look_levels(looks: Sequence[int], most: int, alpha: float = 0.05) -> Array:
    """Return the two-sided level at which each look tests: (looks,).

    `looks` are the numbers of rows at the looks, as they were taken; `most` is the planned maximum. Raise
    `BadInputError` if looks do not increase up to the maximum.
    """
    shares = _shares(tuple(looks), most)
    return np.asarray(2 * special.ndtr(-crossing_bounds(spent([alpha], shares[:, None]), shares)[:, 0]))


def sequential_p(p: ArrayLike, looks: Sequence[int], most: int) -> Array:
    """Return p-values that hold after several looks: p (looks so far, ...) by look, in order -> (...).

    Each is the smallest overall level at which one of the looks so far would have decided (Liu and Anderson 2008).
    So they never grow, and Holm's correction over the claims' sequential p-values keeps the family-wise error
    (Maurer and Bretz 2013). With one look at all of the planned data it is p. Levels are interpolated between tabled
    ones, with a relative error below 1% unless p is below 1e-30. Raise `ValueError` for more rows of p than looks, and
    `BadInputError` as `look_levels` does.
    """
    by_look = np.asarray(p, dtype=np.float64)
    if not 1 <= len(by_look) <= len(looks):
        raise ValueError(f"{len(by_look)} rows of p, {len(looks)} looks")
    taken = tuple(looks)[: len(by_look)]  # a bound depends on earlier looks alone
    overall, bounds = _table(taken, most)
    z = -special.ndtri(by_look / 2)
    # the first bound has a closed form; a later one may lie above 0 at every level, and below it decides at none
    found = [np.sqrt(taken[0] / most) * z[0]]
    found += [np.interp(seen, bound, overall, left=0.0) for seen, bound in zip(z[1:], bounds[1:], strict=True)]
    exact = by_look[0] if taken == (most,) else 2 * special.ndtr(-np.max(found, axis=0))
    return np.asarray(exact)


def crossing_bounds(cumulative: Array, times: ArrayLike) -> Array:
    """Return bounds of |B(t)| / sqrt(t) for Brownian motion B that are first crossed with given chances.

    `times` (looks,) increase; `cumulative` (looks, levels) are the chances to cross at this time or before. The bounds
    are (looks, levels). They are found by recursive integration over the paths that have crossed none (Armitage,
    McPherson and Rowe 1969; Jennison and Turnbull 2000, chapter 19). Everything is symmetric, so half is integrated.
    """
    t = np.asarray(times, dtype=np.float64)
    chances = np.maximum(np.diff(cumulative, axis=0, prepend=0.0), 1e-300)
    bounds = -special.ndtri(chances / 2) * np.sqrt(t)[:, None]  # too far out if paths have crossed before
    points, mass = np.zeros((cumulative.shape[1], 1)), np.full((cumulative.shape[1], 1), 0.5)
    for look, (now, step) in enumerate(zip(t, np.diff(t, prepend=0.0), strict=True)):
        if look > 0:
            left = np.maximum(1 - cumulative[look - 1], chances[look])
            furthest = bounds[look - 1] - special.ndtri(chances[look] / left / 2) * np.sqrt(step)
            bounds[look] = np.minimum(bounds[look], furthest)
            near = chances[look] > _RARE
            bounds[look, near] = _solved(bounds[look, near], points[near], mass[near], chances[look, near], step**0.5)
        if look + 1 < len(t):
            nodes, weights = _nodes(48 + int(8 * np.sqrt(now / (t[look + 1] - now))))
            reach = np.minimum(bounds[look], _REACH * np.sqrt(now))[:, None]
            here = reach * nodes
            density = _density(here, -points, step) + _density(here, points, step)
            mass = np.einsum("lij,lj->li", density, mass) * weights * reach
            points = here
    return np.asarray(bounds / np.sqrt(t)[:, None])


def _density(here: Array, points: Array, step: float) -> Array:
    """Return the density of a step from each of minus `points` (levels, j) to each of `here` (levels, i)."""
    gaps = here[:, :, None] + points[:, None, :]
    return np.asarray(np.exp(gaps * gaps * (-0.5 / step)) / np.sqrt(2 * np.pi * step))


def _solved(start: Array, points: Array, mass: Array, chances: Array, sd: float) -> Array:
    """Return the bound that is crossed with each chance in a step of this sd from `points` of this mass.

    Newton's method on the logarithm of the chance, which is concave in the bound: from a start beyond the solution, it
    comes nearer at every step and never passes it.
    """
    bound = start
    for _ in range(_STEPS):
        above, below = (points - bound[:, None]) / sd, (-points - bound[:, None]) / sd
        crossed = 2 * (mass * (special.ndtr(above) + special.ndtr(below))).sum(axis=1)
        slope = 2 * (mass * (np.exp(-(above**2) / 2) + np.exp(-(below**2) / 2))).sum(axis=1) / (sd * np.sqrt(2 * np.pi))
        bound = bound + np.log(crossed / chances) * crossed / slope
    return bound


@lru_cache
def _nodes(count: int) -> tuple[Array, Array]:
    """Return the points and weights of Gauss-Legendre integration from 0 to 1."""
    points, weights = np.polynomial.legendre.leggauss(count)
    return (points + 1) / 2, weights / 2


@lru_cache
def _table(looks: tuple[int, ...], most: int) -> tuple[Array, Array]:
    """Return two-sided bounds of overall levels, increasing: (levels,), and of each look at them: (looks, levels)."""
    shares = _shares(looks, most)
    overall = np.concatenate([np.geomspace(1e-3, 0.2, 16), np.linspace(0.25, -special.ndtri(SMALLEST / 2), 60)])
    bounds = crossing_bounds(spent(2 * special.ndtr(-overall), shares[:, None]), shares)
    return overall, np.maximum.accumulate(bounds, axis=1)


def _shares(looks: tuple[int, ...], most: int) -> Array:
    """Return the share of the planned data at each look. Raise `BadInputError` if there cannot be such looks."""
    if not looks or sorted(set(looks)) != list(looks) or looks[0] < 1 or looks[-1] > most:
        raise BadInputError(f"looks after {looks} of {most}: they must increase, up to the planned maximum")
    return np.array(looks) / most
