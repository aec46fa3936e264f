"""Differences between cells: paired by seed, unpaired, trends over an ordered factor, effects of crossed factors."""

from __future__ import annotations

from functools import reduce
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from knobs.errors import BadInputError
from knobs.stats.intervals import Array, Estimate, checked_runs, skewness, spread, student_interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike

_LOPSIDED_WEIGHTS = 0.5
_LOPSIDED_SPREADS = 0.8


def _inherited(weights: Array, sd: Array) -> Array:
    """Return the share of skewness that a weighted sum of independent, equally skewed cells keeps: 0 (none) to 1.

    `weights` (sums, cells), `sd` (cells, ...). It is the third cumulant over the variance to the power 3/2.
    """
    third = np.abs(np.tensordot(weights**3, sd**3, axes=1))
    variance = np.tensordot(weights**2, sd**2, axes=1)
    return np.asarray(np.where(variance > 0, third / np.where(variance > 0, variance, 1.0) ** 1.5, 0.0))


def contrasts(cells: ArrayLike, weights: ArrayLike, *, confidence: float = 0.95) -> Estimate:
    """Estimate weighted sums of paired cells: `cells` (runs, k, ...), `weights` (sums, k); the estimate is (sums, ...).

    Each run (seed) gives one score per sum, and the scores' mean is tested by one-sample t over seeds. Effects that the
    cells of a seed share drop out, and the cells' spreads and correlations may differ. The test assumes independent
    seeds and scores that are about symmetric. If a knob does nothing and the weights mirror each other, the scores are
    exactly symmetric for every metric: cells are then exchangeable within a seed. That fails if one cell spreads far
    more than the others (about 3 times, for a pair) or the weights are far from mirrored (one level of 4 or more
    against the rest): the sum is then nearly as skewed as its cells, and the any-shape interval is used.
    """
    x, w = checked_runs(cells), np.atleast_2d(np.asarray(weights, dtype=np.float64))
    if x.ndim < 2 or x.shape[1] != w.shape[1]:
        raise ValueError(f"cells {x.shape} do not fit weights {w.shape}")
    scale = spread(x)
    scores = np.moveaxis(np.tensordot(w, x, axes=(1, 1)), 1, 0)
    from_weights = _inherited(w, np.ones(x.shape[1]))
    skewed = _inherited(w, scale) > _LOPSIDED_SPREADS
    skewed = skewed | (from_weights > _LOPSIDED_WEIGHTS).reshape(-1, *[1] * (x.ndim - 2))
    n = len(x)
    # rounding is compared with the size of the cells: scores can be far smaller
    size = np.tensordot(np.abs(w), np.abs(x).max(axis=0), axes=1)
    sd = np.where(spread(scores) > 1e-12 * size, spread(scores), 0.0)
    return student_interval(
        np.asarray(scores.mean(axis=0)), sd / np.sqrt(n), np.full(scores.shape[1:], n - 1.0),
        n=n, skew=skewness(scores), any_shape=skewed, confidence=confidence,
    )  # fmt: skip


def paired_difference(a: ArrayLike, b: ArrayLike, *, confidence: float = 0.95) -> Estimate:
    """Estimate the mean of a - b over common seeds; `a`, `b`: (runs, ...) with the same seed in the same row.

    Student's paired t (1908); `contrasts` lists the assumptions. At 5 seeds t can decide, while an exact sign-flip test
    cannot: its smallest p is .0625.
    """
    x, y = checked_runs(a), checked_runs(b)
    if x.shape != y.shape:
        raise ValueError(f"paired runs differ in shape: {x.shape} and {y.shape}")
    return contrasts(np.stack([x, y], axis=1), [[1.0, -1.0]], confidence=confidence).each(lambda array: array[0])


def unpaired_difference(a: ArrayLike, b: ArrayLike, *, confidence: float = 0.95) -> Estimate:
    """Estimate mean of a minus mean of b, without common seeds; `a`: (runs_a, ...), `b`: (runs_b, ...).

    Welch's t (1947): spreads may differ. Assumes independent runs and, as for paired ones, cells of one shape. If one
    mean is about 3 times less certain than the other, the interval is stretched by that cell's skewness.
    """
    x, y = checked_runs(a), checked_runs(b)
    if x.shape[1:] != y.shape[1:]:
        raise ValueError(f"cells differ: {x.shape[1:]} and {y.shape[1:]}")
    se = np.stack([spread(x) / np.sqrt(len(x)), spread(y) / np.sqrt(len(y))])
    var = (se**2).sum(axis=0)
    parts = (se**4 / np.array([len(x) - 1.0, len(y) - 1.0]).reshape(2, *[1] * (x.ndim - 1))).sum(axis=0)
    fewest = min(len(x), len(y))
    dof = np.where(parts > 0, var**2 / np.where(parts > 0, parts, 1.0), fewest - 1.0)
    skew = np.where(se[0] >= se[1], skewness(x), -skewness(y))
    skewed = _inherited(np.array([[1.0, -1.0]]), se)[0] > _LOPSIDED_SPREADS
    return student_interval(
        np.asarray(x.mean(axis=0) - y.mean(axis=0)), np.sqrt(var), dof,
        n=fewest, skew=skew, any_shape=skewed, confidence=confidence,
    )  # fmt: skip


def sign_flip_p(differences: ArrayLike, *, resamples: int = 9999, seed: int = 0) -> float:
    """Return the two-sided p of Fisher's sign-flip test on paired differences (runs,): exact if 2**runs <= `resamples`.

    Assumes only symmetry under the null. Its smallest p is 2 / 2**runs, so it can decide from 6 seeds on, and from more
    after Holm's correction.
    """
    x = checked_runs(differences)
    from scipy import stats  # takes half a second, and few commands need it

    made = stats.permutation_test(
        (x,),
        np.mean,
        permutation_type="samples",
        vectorized=True,
        n_resamples=resamples,
        rng=np.random.default_rng(seed),
    )
    return float(made.pvalue)


def trend(levels: ArrayLike, *, at: Sequence[float] | None = None, confidence: float = 0.95) -> Estimate:
    """Estimate the mean slope over an ordered factor: `levels` (runs, k, ...), paired by seed, in order along axis 1.

    Each seed gives its own least-squares slope over `at` (default: 0, 1, 2 ..., one step a level), and the slopes are
    tested by one-sample t over seeds (summary measures: Matthews et al. 1990). A slope's weights mirror each other,
    so under the null it is symmetric. Page's ranks fit worse: at 5 seeds rank scores tie, and t on them rejects a true
    null of 3 levels four times too often at .0125. A slope shows that the metric falls overall, not at each step.
    Raise `BadInputError` for fewer than two levels, or positions that do not increase.
    """
    x = checked_runs(levels)
    k = x.shape[1] if x.ndim > 1 else 0
    position = np.arange(k, dtype=np.float64) if at is None else np.asarray(at, dtype=np.float64)
    if k < 2 or position.shape != (k,) or not (np.diff(position) > 0).all():
        raise BadInputError("a trend needs at least two levels, at increasing positions")
    centred = position - position.mean()
    return contrasts(x, [centred / (centred**2).sum()], confidence=confidence).each(lambda array: array[0])


def factor_effect(cells: ArrayLike, axes: Sequence[int], *, confidence: float = 0.95) -> Estimate:
    """Estimate one crossed factor's effects, or an interaction: `cells` (runs, levels of factor 0, of 1, ...).

    `axes` names factors, from 0. The estimate has one axis per named factor: how far each level (or combination) lies
    from the sum of the grand mean and all lower effects, averaged over the other factors. Effects sum to zero along
    each axis. Sum-to-zero effects of a balanced design (Montgomery, Design and Analysis of Experiments, chapter 5);
    intervals per seed as in `contrasts`, so no equal variances and no sphericity are assumed. The intervals are not
    corrected for their number.
    """
    x = checked_runs(cells)
    kept = sorted(set(axes))
    if not kept or kept[0] < 0 or kept[-1] >= x.ndim - 1:
        raise ValueError(f"axes {list(axes)} do not fit {x.ndim - 1} factors")
    averaged = x.mean(axis=tuple(i + 1 for i in range(x.ndim - 1) if i not in kept))
    levels = averaged.shape[1:]
    weights = reduce(np.kron, [np.eye(k) - 1.0 / k for k in levels])
    made = contrasts(averaged.reshape(len(x), -1), weights, confidence=confidence)
    return made.each(lambda array: array.reshape(levels))


def crossed_effects(
    cells: ArrayLike, factors: Sequence[str], *, order: int = 2, confidence: float = 0.95
) -> dict[tuple[str, ...], Estimate]:
    """Estimate every main effect and interaction of up to `order` factors, by name; `cells` as in `factor_effect`."""
    if np.ndim(cells) != len(factors) + 1:
        raise ValueError(f"{np.ndim(cells) - 1} axes of levels for {len(factors)} factors")
    return {
        tuple(factors[i] for i in chosen): factor_effect(cells, chosen, confidence=confidence)
        for size in range(1, min(order, len(factors)) + 1)
        for chosen in combinations(range(len(factors)), size)
    }
