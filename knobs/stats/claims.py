"""Tests of claims on repetitions or seeds, and Holm's correction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from knobs.errors import BadInputError
from knobs.stats.compare import paired_difference, trend, unpaired_difference
from knobs.stats.intervals import FEWEST, Array, Estimate, checked_runs, mean_interval, two_sided_p

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike

Verdict = Literal["supported", "contradicted", "undecided"]


@dataclass(frozen=True, kw_only=True)
class ClaimTest:
    """The test of one claim before any correction. `decide` turns an ablation's tests into results."""

    effect: Estimate
    """The difference, slope or mean that the claim is about, in the metric's unit."""
    p_supports: float
    p_contradicts: float
    """P of a result at least this far on that side if the claim were false. At most one of the two is small."""
    centre: float = 0.0
    margin: float = 0.0
    """The claimed value and its tolerance. With a margin of 0 the claim is one of direction."""
    caveat: str = ""


def _test(effect: Estimate, supports: float, contradicts: float, *, caveat: str = "", **band: float) -> ClaimTest:
    """Return the test, with doubts as caveats. If skewed runs are too few for an honest p, it decides nothing."""
    if bool(effect.any_shape) and effect.n < FEWEST:
        supports = contradicts = 1.0
    caveats = "; ".join(text for text in (str(effect.doubt), caveat) if text)
    return ClaimTest(effect=effect, p_supports=supports, p_contradicts=contradicts, caveat=caveats, **band)


def _uneven(difference: Estimate) -> str:
    return "one cell spreads far more than the others: interval stretched for skew" if difference.any_shape else ""


def _directional(effect: Estimate, upward: bool, caveat: str = "") -> ClaimTest:
    """Return a test with the two-sided p on the effect's side: wrong verdicts of both kinds count against alpha."""
    agrees = (float(effect.value) > 0) == upward
    p = float(effect.p)
    caveats = "; ".join(text for text in (_uneven(effect), caveat) if text)
    return _test(effect, p if agrees else 1.0, 1.0 if agrees else p, caveat=caveats)


def _within(effect: Estimate, centre: float, margin: float, caveat: str = "") -> ClaimTest:
    """Return a test of "within the margin" by TOST (Schuirmann 1987), and of "beyond the margin".

    Beyond: Hodges and Lehmann (1954), both tails at a true effect on the margin; at margin 0 it is the two-sided test.
    If any shape is allowed, both p are two-sided, so that "supported" means "the interval lies within". Raise
    `BadInputError` if the margin is not positive.
    """
    if not margin > 0:
        raise BadInputError(f"a tolerance must be above 0, not {margin:g}")
    above, below = effect.p_above(centre - margin), effect.p_below(centre + margin)
    beyond = np.minimum(effect.p_above(centre + margin), effect.p_below(centre - margin))
    inside = np.maximum(above, below)
    if effect.any_shape:
        inside, beyond = two_sided_p(inside, effect.any_shape), two_sided_p(beyond, effect.any_shape)
    else:
        beyond = np.minimum(beyond + np.minimum(above, below), 1.0)
    return _test(effect, float(inside), float(beyond), caveat=caveat, centre=centre, margin=margin)


def _one_metric(runs: ArrayLike) -> Array:
    """Return one value per seed: (runs,) unchanged, the mean over the cells of (runs, cells)."""
    x = checked_runs(runs)
    return x if x.ndim == 1 else np.asarray(x.reshape(len(x), -1).mean(axis=1))


def _difference(a: ArrayLike, b: ArrayLike, paired: bool) -> Estimate:
    return (paired_difference if paired else unpaired_difference)(_one_metric(a), _one_metric(b))


def beats(
    a: ArrayLike, b: ArrayLike, *, direction: Literal["maximize", "minimize"] = "maximize", paired: bool = True
) -> ClaimTest:
    """Test "A beats B": `a`, `b` (runs,) or (runs, cells), averaged over the cells. The effect is a - b."""
    return _directional(_difference(a, b, paired), direction == "maximize")


def _ordered(levels: ArrayLike, at: Sequence[float] | None, upward: bool) -> ClaimTest:
    x = checked_runs(levels)
    effect = trend(x, at=at)
    steps = paired_difference(x[:, 1:], x[:, :-1])
    p = holm(steps.p)
    against = [i for i in range(len(p)) if p[i] <= 0.05 and (float(steps.value[i]) > 0) != upward]
    word = "falls" if upward else "rises"
    caveat = ", ".join(f"{word} from level {i + 1} to {i + 2}" for i in against)
    return _directional(effect, upward, caveat)


def falls(levels: ArrayLike, *, at: Sequence[float] | None = None) -> ClaimTest:
    """Test "M falls with factor F": `levels` (runs, k) in order of F. The effect is the slope (per unit of `at`)."""
    return _ordered(levels, at, upward=False)


def rises(levels: ArrayLike, *, at: Sequence[float] | None = None) -> ClaimTest:
    """Test "M rises with factor F", as `falls` does."""
    return _ordered(levels, at, upward=True)


def matches(runs: ArrayLike, value: float, within: float) -> ClaimTest:
    """Test "M matches the published `value` within `within`": `runs` (runs,). The effect is the mean.

    A single cell's runs may be skewed, so the any-shape interval decides: supported if it lies within.
    """
    return _within(mean_interval(_one_metric(runs)), value, within)


def exceeds(runs: ArrayLike, value: float, *, direction: Literal["maximize", "minimize"] = "maximize") -> ClaimTest:
    """Test "M is better than the given `value`": `runs` (runs,) or (runs, cells). The effect is mean - value.

    As in `matches`, the any-shape interval decides.
    """
    effect = mean_interval(_one_metric(runs) - value)
    agrees, p = (float(effect.value) > 0) == (direction == "maximize"), float(effect.p)
    return _test(effect, p if agrees else 1.0, 1.0 if agrees else p)


def no_difference(a: ArrayLike, b: ArrayLike, within: float, *, paired: bool = True) -> ClaimTest:
    """Test "A and B differ by at most `within`", shapes as in `beats`: by TOST, never by a large p."""
    effect = _difference(a, b, paired)
    return _within(effect, 0.0, within, _uneven(effect))


def holm(p: ArrayLike) -> Array:
    """Return p-values corrected for their number (Holm 1979): (claims,) -> (claims,). Reject those at most alpha."""
    raw = np.asarray(p, dtype=np.float64)
    order = np.argsort(raw, kind="stable")
    grown = np.maximum.accumulate(raw[order] * np.arange(len(raw), 0, -1))
    corrected = np.empty_like(raw)
    corrected[order] = np.minimum(grown, 1.0)
    return corrected
