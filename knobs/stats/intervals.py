"""Means over runs and their intervals: Student's t if differences are symmetric, else a stretched t.

Every array has runs (seeds) along axis 0; further axes (cells) are kept. `benchmarks/statistics` measures the coverage
of both intervals, and of the alternatives that were tried.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import special

from knobs.errors import BadInputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike

Array = NDArray[np.float64]
Shape = Literal["any", "symmetric"]

FEWEST = 4
"""From this many runs on, the any-shape interval was measured to cover."""
_ROUNDING = 1e-12
"""A spread below this share of the values is rounding: deterministic runs differ in their last bits only."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean over runs, or a difference of means. Each array has one entry per cell; without cells it is a number."""

    value: Array
    low: Array
    high: Array
    p: Array
    """Two-sided, against zero; below 1 - confidence exactly if the interval leaves zero out."""
    n: int
    """Number of runs; the smaller number if two unpaired cells are compared."""
    se: Array
    dof: Array
    skew: Array
    any_shape: NDArray[np.bool_]
    """True if the interval is stretched for skewed values; else it is Student's."""
    doubt: NDArray[np.str_]
    """Why the interval should not be relied on; empty if it may be."""

    @property
    def trusted(self) -> NDArray[np.bool_]:
        """True if there is no doubt."""
        return np.asarray(self.doubt == "")

    def each(self, change: Callable[[NDArray[Any]], NDArray[Any]]) -> Estimate:
        """Return the estimate with every array changed, as by a reshape or an index."""
        return Estimate(
            value=np.asarray(change(self.value)),
            low=np.asarray(change(self.low)),
            high=np.asarray(change(self.high)),
            p=np.asarray(change(self.p)),
            n=self.n,
            se=np.asarray(change(self.se)),
            dof=np.asarray(change(self.dof)),
            skew=np.asarray(change(self.skew)),
            any_shape=np.asarray(change(self.any_shape)),
            doubt=np.asarray(change(self.doubt)),
        )

    def p_above(self, value: float) -> Array:
        """Return the one-sided p of "the mean is above `value`", from the lower side of the interval."""
        return self._tail(self.value - value, self.skew)

    def p_below(self, value: float) -> Array:
        """Return the one-sided p of "the mean is below `value`", from the upper side of the interval."""
        return self._tail(value - self.value, -self.skew)

    def _tail(self, gap: Array, skew: Array) -> Array:
        """Return the p of a gap this large. Without any spread only the signs count: 2**-n, as in the sign test."""
        toward = np.where(gap > 0, -skew, skew)
        width = self.se * np.where(self.any_shape, stretch(toward, self.n), 1.0)
        t = gap / np.where(width > 0, width, 1.0)
        signs_only = np.where(gap > 0, 0.5**self.n, np.where(gap < 0, 1.0, 0.5))
        return np.asarray(np.where(width > 0, special.stdtr(self.dof, -t), signs_only))


def checked_runs(runs: ArrayLike, fewest: int = 2) -> Array:
    """Return the runs as a float array of at least one axis.

    Raise `ValueError` if a value is infinite or missing, `BadInputError` for fewer than `fewest` runs.
    """
    x = np.asarray(runs, dtype=np.float64)
    if x.ndim == 0 or not np.isfinite(x).all():
        raise ValueError("runs must be an array of finite numbers, one run a row")
    if len(x) < fewest:
        raise BadInputError(f"{len(x)} seed{'s' * (len(x) != 1)}: a test or an interval needs at least {fewest}")
    return x


def stretch(skew: ArrayLike, n: ArrayLike) -> Array:
    """Return the factor by which Student's half-width grows on the side of the sample's skew; 1 on the other side.

    If no run of the long tail was drawn, the mean of skewed runs is too low and the sample's spread too small. Johnson
    (1978) and Hall (1992) correct t by the sample's skewness; at 5 to 20 runs that is far too little, since the
    skewness is itself underestimated. The constants here are calibrated: the least mean width over normal, gamma(2),
    lognormal(1) and Beta(20, 0.5) at which each covers 93% at every n from 4 to 100.
    """
    runs = np.asarray(n, dtype=np.float64)
    most = 1.6 * (5 / runs) ** 0.7
    middle = 0.9 - 5.75 / runs
    return np.asarray(1 + most * np.clip((np.asarray(skew) - middle) / 0.5 + 0.5, 0, 1))


def tail_level(alpha: float, any_shape: NDArray[np.bool_]) -> Array:
    """Return the one-sided p at which a two-sided test at `alpha` rejects; `two_sided_p` is the inverse."""
    return np.where(any_shape & (alpha < 0.05), 0.025 * (alpha / 0.05) ** 2.5, alpha / 2)


def two_sided_p(tail: Array, any_shape: NDArray[np.bool_]) -> Array:
    """Return twice the one-sided p; below .05, if any shape is allowed, a root of it. The two meet at .05.

    If runs are skewed, the tail of the stretched statistic falls far slower than Student's, so doubling would make the
    small levels of corrected claims too easy. With this root the error rate is at most 1.2 times any level below .05
    (1.3 times .05) for the distributions that `stretch` is calibrated on, and 4 to 40 runs.
    """
    rooted = any_shape & (tail < 0.025)
    return np.asarray(np.minimum(np.where(rooted, 0.05 * (tail / 0.025) ** 0.4, 2 * tail), 1.0))


def student_interval(
    value: Array, se: Array, dof: Array, *, n: int, skew: Array, any_shape: NDArray[np.bool_], confidence: float
) -> Estimate:
    """Return the interval value +- t * se with its p and its doubts. Each side is stretched if any shape is allowed."""
    t = -special.stdtrit(dof, tail_level(1 - confidence, any_shape))
    below = t * se * np.where(any_shape, stretch(-skew, n), 1.0)
    above = t * se * np.where(any_shape, stretch(skew, n), 1.0)
    few = f"{n} runs: too few for an interval that holds for skewed values (needs {FEWEST})"
    doubt = np.where(any_shape & (n < FEWEST), few, "")
    doubt = np.where(se > 0, doubt, f"all {n} runs gave the same: their spread is unknown")
    made = Estimate(
        value=value,
        low=value - below,
        high=value + above,
        p=np.ones_like(value),
        n=n,
        se=se,
        dof=dof,
        skew=skew,
        any_shape=any_shape,
        doubt=doubt,
    )
    return replace(made, p=two_sided_p(np.minimum(made.p_above(0.0), made.p_below(0.0)), any_shape))


def spread(x: Array) -> Array:
    """Return the standard deviation over runs; exactly 0 if only rounding differs."""
    sd = np.std(x, axis=0, ddof=1)
    return np.asarray(np.where(sd > _ROUNDING * np.abs(x).max(axis=0), sd, 0.0))


def skewness(x: Array) -> Array:
    """Return the sample skewness G1 over runs (Joanes and Gill 1998); 0 if it is not defined."""
    n, sd = len(x), spread(x)
    if n < 3:
        return np.zeros(x.shape[1:])
    third = ((x - x.mean(axis=0)) ** 3).mean(axis=0) * n**2 / ((n - 1) * (n - 2))
    return np.asarray(np.where(sd > 0, third / np.where(sd > 0, sd, 1.0) ** 3, 0.0))


def mean_interval(
    runs: ArrayLike,
    *,
    confidence: float = 0.95,
    shape: Shape = "any",
    bounds: tuple[float, float] | None = None,
) -> Estimate:
    """Return the mean of each cell with its interval. `runs`: (runs,) or (runs, cells...); the estimate is (cells...).

    Assumes independent seeds. `shape="any"` is for metrics that may be skewed, such as losses and accuracies near 1: at
    5 seeds it is 1.9 times as wide as Student's on normal runs, at 10 seeds 1.3 times, at 20 seeds 1.07 times.
    `shape="symmetric"` is Student's (1908). `bounds` are the metric's bounds; they cut the interval and lose nothing.
    """
    x = checked_runs(runs)
    n = len(x)
    any_shape = np.full(x.shape[1:], shape == "any")
    dof = np.full(x.shape[1:], n - 1.0)
    made = student_interval(
        np.asarray(x.mean(axis=0)), spread(x) / np.sqrt(n), dof,
        n=n, skew=skewness(x), any_shape=any_shape, confidence=confidence,
    )  # fmt: skip
    if bounds is None:
        return made
    return replace(made, low=np.clip(made.low, *bounds), high=np.clip(made.high, *bounds))


def bca_interval(
    runs: ArrayLike,
    statistic: Callable[..., Any] = np.mean,
    *,
    confidence: float = 0.95,
    resamples: int = 9999,
    seed: int = 0,
) -> tuple[float, float]:
    """Return the bootstrap interval, bias-corrected and accelerated (Efron 1987), of any statistic of `runs` (runs,).

    It is for statistics without a formula, from 20 runs on: with fewer runs it covers less than Student's.
    `statistic` must take `axis`.
    """
    x = checked_runs(runs)
    if spread(x) == 0:
        return float(statistic(x, axis=0)), float(statistic(x, axis=0))
    from scipy import stats  # takes half a second, and few commands need it

    made = stats.bootstrap(
        (x,),
        statistic,
        confidence_level=confidence,
        n_resamples=resamples,
        method="BCa",
        rng=np.random.default_rng(seed),
    )
    return float(made.confidence_interval.low), float(made.confidence_interval.high)
