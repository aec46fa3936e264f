"""Claims, each turned into a test on the recorded seeds, and decided together under Holm's correction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy import special

from knobs.errors import BadInputError
from knobs.stats.compare import paired_difference, trend, unpaired_difference
from knobs.stats.intervals import FEWEST, Array, Estimate, checked, mean_interval, stretch, tail_level, two_sided_p

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike

Decision = Literal["supported", "contradicted", "undecided"]


@dataclass(frozen=True, kw_only=True)
class ClaimTest:
    """One claim's test before any correction; `decide` turns an ablation's tests into verdicts."""

    effect: Estimate
    """The difference, slope or mean that the claim is about, in the metric's units."""
    p_supports: float
    p_contradicts: float
    """P of a result this far on that side, were the claim not so; at most one of the two is small."""
    centre: float = 0.0
    margin: float = 0.0
    """The claim's value and tolerance; a margin of 0 is a claim of direction."""
    caveat: str = ""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the runs say about one claim, beside the other claims of its ablation."""

    verdict: Decision
    effect: float
    interval: tuple[float, float]
    """95% interval of the effect by itself, not corrected for the other claims."""
    p: float
    """Corrected by Holm over the ablation's claims: the verdict is decided where it is at most alpha."""
    p_uncorrected: float
    n: int
    needed_more_seeds: int | None
    """Seeds to add for power 0.8, were the observed effect and spread true; 0 once decided, None if hopeless."""
    caveat: str


def _test(effect: Estimate, supports: float, contradicts: float, *, caveat: str = "", **band: float) -> ClaimTest:
    """The test with its doubts said; where no p is honest, because skewed runs are too few, it can decide nothing."""
    if bool(effect.any_shape) and effect.n < FEWEST:
        supports = contradicts = 1.0
    said = "; ".join(text for text in (str(effect.doubt), caveat) if text)
    return ClaimTest(effect=effect, p_supports=supports, p_contradicts=contradicts, caveat=said, **band)


def _uneven(difference: Estimate) -> str:
    return "one cell spreads far more than the others: interval stretched for skew" if difference.any_shape else ""


def _directional(effect: Estimate, upward: bool, caveat: str = "") -> ClaimTest:
    """Two-sided p on the side where the effect lies: a wrong verdict of either kind counts against alpha."""
    agrees = (float(effect.value) > 0) == upward
    p = float(effect.p)
    caveats = "; ".join(text for text in (_uneven(effect), caveat) if text)
    return _test(effect, p if agrees else 1.0, 1.0 if agrees else p, caveat=caveats)


def _within(effect: Estimate, centre: float, margin: float, caveat: str = "") -> ClaimTest:
    """TOST (Schuirmann 1987) for "within the margin", and its counterpart for "beyond it".

    Beyond: Hodges and Lehmann (1954), both tails at a true effect on the margin, which is the usual two-sided test at
    margin 0. Where any shape is allowed both are two-sided p's, so that "supported" is "the interval lies within".
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
    """(runs,) as it is; (runs, cells): each seed's mean over the claim's cells."""
    x = checked(runs)
    return x if x.ndim == 1 else np.asarray(x.reshape(len(x), -1).mean(axis=1))


def _difference(a: ArrayLike, b: ArrayLike, paired: bool) -> Estimate:
    return (paired_difference if paired else unpaired_difference)(_one_metric(a), _one_metric(b))


def beats(
    a: ArrayLike, b: ArrayLike, *, direction: Literal["maximize", "minimize"] = "maximize", paired: bool = True
) -> ClaimTest:
    """ "A beats B": `a`, `b` (runs,) or (runs, cells), averaged over the cells; the effect is a - b."""
    return _directional(_difference(a, b, paired), direction == "maximize")


def _ordered(levels: ArrayLike, at: Sequence[float] | None, upward: bool) -> ClaimTest:
    x = checked(levels)
    effect = trend(x, at=at)
    steps = paired_difference(x[:, 1:], x[:, :-1])
    p = holm(steps.p)
    against = [i for i in range(len(p)) if p[i] <= 0.05 and (float(steps.value[i]) > 0) != upward]
    word = "falls" if upward else "rises"
    caveat = ", ".join(f"{word} from level {i + 1} to {i + 2}" for i in against)
    return _directional(effect, upward, caveat)


def falls(levels: ArrayLike, *, at: Sequence[float] | None = None) -> ClaimTest:
    """ "M falls with factor F": `levels` (runs, k) in order of F; the effect is the slope a level (or unit of `at`)."""
    return _ordered(levels, at, upward=False)


def rises(levels: ArrayLike, *, at: Sequence[float] | None = None) -> ClaimTest:
    """ "M rises with factor F": as `falls`."""
    return _ordered(levels, at, upward=True)


def matches(runs: ArrayLike, value: float, within: float) -> ClaimTest:
    """ "M matches the published `value` within `within`": `runs` (runs,); the effect is the mean.

    A single cell's runs may be skewed, so the any-shape interval decides: supported where it lies within.
    """
    return _within(mean_interval(_one_metric(runs)), value, within)


def exceeds(runs: ArrayLike, value: float, *, direction: Literal["maximize", "minimize"] = "maximize") -> ClaimTest:
    """ "M is better than the given `value`": `runs` (runs,) or (runs, cells); the effect is mean - value.

    As in `matches` the any-shape interval decides.
    """
    effect = mean_interval(_one_metric(runs) - value)
    agrees, p = (float(effect.value) > 0) == (direction == "maximize"), float(effect.p)
    return _test(effect, p if agrees else 1.0, 1.0 if agrees else p)


def no_difference(a: ArrayLike, b: ArrayLike, within: float, *, paired: bool = True) -> ClaimTest:
    """ "No difference beyond `within`" between A and B, shapes as in `beats`: supported by TOST, never by a large p."""
    effect = _difference(a, b, paired)
    return _within(effect, 0.0, within, _uneven(effect))


def holm(p: ArrayLike) -> Array:
    """P-values corrected for being several (Holm 1979): (claims,) -> (claims,); at most alpha = rejected at alpha."""
    raw = np.asarray(p, dtype=np.float64)
    order = np.argsort(raw, kind="stable")
    grown = np.maximum.accumulate(raw[order] * np.arange(len(raw), 0, -1))
    corrected = np.empty_like(raw)
    corrected[order] = np.minimum(grown, 1.0)
    return corrected


def decide(tests: Sequence[ClaimTest], alpha: float = 0.05) -> list[Verdict]:
    """Verdicts of one ablation's claims together, in their order.

    The chance that any of them is supported or contradicted wrongly is at most alpha where the tests' assumptions hold
    (Holm 1979; Shaffer 1980 for a claim that can fail on both sides). It is for one look at the runs: whoever adds the
    seeds asked for and looks again gives each of the two looks half of alpha, or errs up to twice as often.
    """
    p = holm([min(t.p_supports, t.p_contradicts) for t in tests])
    open_claims = int((p > alpha).sum())
    verdicts = []
    for test, corrected in zip(tests, p, strict=True):
        decided = bool(corrected <= alpha)
        way: Decision = "supported" if test.p_supports <= test.p_contradicts else "contradicted"
        verdicts.append(
            Verdict(
                verdict=way if decided else "undecided",
                effect=float(test.effect.value),
                interval=(float(test.effect.low), float(test.effect.high)),
                p=float(corrected),
                p_uncorrected=min(test.p_supports, test.p_contradicts),
                n=test.effect.n,
                needed_more_seeds=0 if decided else seeds_to_decide(test, alpha / open_claims),
                caveat=test.caveat,
            )
        )
    return verdicts


def seeds_to_decide(test: ClaimTest, alpha: float = 0.05, *, power: float = 0.8, most: int = 100) -> int | None:
    """How many more seeds decide the claim with this power, were the observed effect and spread the true ones.

    `alpha` is what is left to the claim after correction. Noncentral t (Cohen 1988, chapter 2), and for an effect
    inside the tolerance the sum of both one-sided tests' failures (Phillips 1990). None where more than `most` would be
    needed. The observed effect of a few seeds is itself uncertain: what became of such plans is in
    `benchmarks/statistics/results/statistics.md`.
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
        """P that a true distance from a bound does not show, when the interval must not reach it on that side."""
        if not distance > 0:
            return np.ones(len(n))
        if scale[0] == 0:
            return np.where(0.5**n <= tail, 0.0, 1.0)
        # the skewness of the runs to come varies: 1 sd of a normal sample's more is planned for
        reach = stretch(towards * e.skew + np.sqrt(6 / n), n) if e.any_shape else 1.0
        return np.asarray(np.nan_to_num(special.nctdtr(dof, distance / scale, t * reach), nan=1.0))

    if inside:
        chance = 1 - missed(test.margin - gap, side) - missed(test.margin + gap, -side)
    else:
        chance = 1 - missed(gap - test.margin, -side)
    found = (chance >= power) & ((n >= FEWEST) | ~e.any_shape)
    return int(np.argmax(found)) + 1 if found.any() else None
