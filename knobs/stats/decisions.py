"""The decision on all claims of an ablation together: after one look, or after planned looks at growing data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from knobs.stats.claims import ClaimTest, Verdict, holm
from knobs.stats.planning import seeds_to_decide
from knobs.stats.sequential import sequential_p

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, kw_only=True)
class ClaimResult:
    """The result of one claim's test, corrected for the other claims of its ablation."""

    verdict: Verdict
    effect: float
    interval: tuple[float, float]
    """95% interval of the effect, not corrected for the other claims."""
    p: float
    """Corrected by Holm over the ablation's claims. The claim is decided if this is at most alpha."""
    p_uncorrected: float
    n: int
    se: float
    """Standard error of the effect."""
    needed_more_seeds: int | None
    """Seeds to add for power 0.8, if the observed effect and spread were true. 0 if decided, None if hopeless."""
    caveat: str
    look: int | None = None
    """With several looks: the number of rows after which the claim was decided first; None if it is not."""


def decide(tests: Sequence[ClaimTest], alpha: float = 0.05) -> list[ClaimResult]:
    """Decide the claims of one ablation together; return their results in the same order.

    The chance that any of them is supported or contradicted wrongly is at most alpha if the tests' assumptions hold
    (Holm 1979; Shaffer 1980 for a claim that can fail on both sides). That holds for one look at the runs. To add the
    missing seeds and look again, give each look half of alpha; if not, errors are up to twice as frequent. For looks
    that were planned, `decide_after_looks` has no such cost.
    """
    return _decide(tests, [(test.p_supports, test.p_contradicts) for test in tests], alpha)


def decide_after_looks(
    looks: Sequence[int], most: int, tests: Sequence[Sequence[ClaimTest]], alpha: float = 0.05
) -> list[ClaimResult]:
    """Decide the claims after planned looks at growing data: `looks` rows at each, at most `most` rows in all.

    `tests` are all claims' tests at each look so far. The error of `decide` holds over all looks together, since each
    side's p are sequential ones (`knobs.stats.sequential`). A decided claim keeps its verdict, whatever comes later:
    its other side no longer counts. Effects and intervals are those of the newest look, and the intervals are not
    corrected for looks.
    """
    sides = np.array([[(test.p_supports, test.p_contradicts) for test in look] for look in tests])
    sides = sides.reshape(len(looks), -1, 2)
    first: dict[int, int] = {}
    for count, rows in enumerate(looks, 1):
        held = sequential_p(sides[:count], looks, most)
        for claim in np.flatnonzero(holm(held.min(axis=1)) <= alpha):
            if first.setdefault(int(claim), rows) == rows:
                sides[count:, claim, held[claim].argmax()] = 1.0
    results = _decide(tests[-1], [(float(a), float(b)) for a, b in held], alpha)
    return [replace(result, look=first.get(claim)) for claim, result in enumerate(results)]


def _decide(tests: Sequence[ClaimTest], sides: Sequence[tuple[float, float]], alpha: float) -> list[ClaimResult]:
    """Decide claims by the p of each side, (supports, contradicts), under Holm's correction."""
    p = holm([min(both) for both in sides])
    open_claims = int((p > alpha).sum())
    results = []
    for test, (supports, contradicts), corrected in zip(tests, sides, p, strict=True):
        decided = bool(corrected <= alpha)
        side: Verdict = "supported" if supports <= contradicts else "contradicted"
        results.append(
            ClaimResult(
                verdict=side if decided else "undecided",
                effect=float(test.effect.value),
                interval=(float(test.effect.low), float(test.effect.high)),
                p=float(corrected),
                p_uncorrected=min(supports, contradicts),
                n=test.effect.n,
                se=float(test.effect.se),
                needed_more_seeds=0 if decided else seeds_to_decide(test, alpha / open_claims),
                caveat=test.caveat,
            )
        )
    return results
