"""How many more seeds a claim needs: for the level that is left to it beside the ablation's other open claims."""

import numpy as np
from scipy import stats as scipy_stats

from knobs import stats

POWER = 0.8


def power_of(gaps: np.ndarray, seeds: int, alpha: float) -> float:
    """The chance that a two-sided paired t test at `alpha` sees an effect such as that of `gaps` with so many seeds."""
    size = gaps.mean() / gaps.std(ddof=1) * np.sqrt(seeds)
    bound = scipy_stats.t.isf(alpha / 2, seeds - 1)
    return float(scipy_stats.nct.sf(bound, seeds - 1, size))


GAPS = np.array([-0.9, 0.1, 0.6, 1.2, 2.0])
"""One claim's differences by seed; p = 0.3."""
BASE = np.array([3.0, -1.0, 0.5, 2.0, -4.0])


def test_the_seeds_that_an_open_claim_needs_grow_with_the_number_of_open_claims() -> None:
    needed = []
    for claims in (1, 2, 4, 8):
        verdicts = stats.decide([stats.beats(BASE + GAPS, BASE)] * claims)
        (more,) = {verdict.needed_more_seeds for verdict in verdicts}
        assert more is not None
        assert power_of(GAPS, 5 + more, 0.05 / claims) >= POWER > power_of(GAPS, 5 + more - 1, 0.05 / claims)
        needed.append(more)
    assert needed == sorted(set(needed))


def test_claims_that_are_decided_take_nothing_from_those_that_are_open() -> None:
    sure = stats.beats(BASE + 5 + 0.01 * GAPS, BASE)
    open_claim = stats.beats(BASE + GAPS, BASE)
    (alone,) = stats.decide([open_claim])
    for others in (1, 3):
        *decided, left = stats.decide([*[sure] * others, open_claim])
        assert {(verdict.verdict, verdict.needed_more_seeds) for verdict in decided} == {("supported", 0)}
        assert left.verdict == "undecided"
        assert left.needed_more_seeds == alone.needed_more_seeds


def test_with_the_needed_seeds_of_the_observed_kind_both_of_two_claims_are_decided() -> None:
    both = [stats.beats(BASE + GAPS, BASE)] * 2
    (more,) = {verdict.needed_more_seeds for verdict in stats.decide(both)}
    assert more is not None
    random = np.random.default_rng(0)
    found = 0
    for _ in range(400):
        gaps = GAPS.mean() + GAPS.std(ddof=1) * random.standard_normal(5 + more)
        base = 3.0 * random.standard_normal(5 + more)
        verdicts = stats.decide([stats.beats(base + gaps, base)] * 2)
        found += [verdict.verdict for verdict in verdicts] == ["supported"] * 2
    assert 0.74 < found / 400 < 0.86
