"""Verdicts of one ablation: its claims are corrected for each other, and the same seeds are compared."""

from collections.abc import Callable

import pytest
from scipy import stats as scipy_stats

from knobs import Beats, NoDifference, Trend, stats
from knobs.ablation import Claim, ClaimVerdict, decide_claims

LEVELS = ["a", "b", "c"]
SEED_EFFECTS = {1000: -3.0, 1001: 1.5, 1002: 4.0, 1003: -0.5, 1004: -2.0}
"""What a seed adds in every cell: far more than the levels differ by."""
GAPS = [0.0, 1.0, 1.4, 1.8, 2.8]
"""Five differences with p = 0.038 in a paired t test: enough alone, too little for one of two claims."""

Cells = dict[tuple[tuple[str, str], ...], dict[int, float]]


def cells(value: Callable[[str, int], float]) -> Cells:
    """One factor of three levels; `value` of a level and a seed. Each cell holds its seeds in another order."""
    orders = (sorted, lambda seeds: sorted(seeds, reverse=True), lambda seeds: sorted(seeds, key=lambda s: s * 7 % 5))
    return {
        (("arm", level),): {seed: value(level, seed) for seed in order(SEED_EFFECTS)}
        for level, order in zip(LEVELS, orders, strict=True)
    }


def decided(claims: list[Claim], values: Cells) -> list[ClaimVerdict]:
    return decide_claims(claims, {"m": values}, {"arm": LEVELS})


def beats(better: str, worse: str) -> Beats:
    return Beats(text=f"{better} beats {worse}", metric="m", better={"arm": better}, worse={"arm": worse})


def gap(level: str, seed: int) -> float:
    """Level a and level b are better than c, seed by seed, by `GAPS`."""
    return SEED_EFFECTS[seed] + (GAPS[seed - 1000] if level != "c" else 0.0)


def test_a_claim_that_is_decided_alone_is_open_beside_another_of_the_same_strength() -> None:
    values = cells(gap)
    alone = scipy_stats.ttest_1samp(GAPS, 0).pvalue
    assert 0.025 < alone < 0.05
    (one,) = decided([beats("a", "c")], values)
    assert one.verdict == "supported"
    assert one.result is not None
    assert one.result.p == pytest.approx(alone)
    for verdict in decided([beats("a", "c"), beats("b", "c")], values):
        assert verdict.verdict == "undecided"
        assert verdict.result is not None
        assert verdict.result.p_uncorrected == pytest.approx(alone)
        assert verdict.result.p == pytest.approx(2 * alone)


def test_every_verdict_has_the_p_that_holm_gives_to_all_claims_of_the_ablation() -> None:
    claims: list[Claim] = [
        beats("a", "c"),
        beats("c", "b"),
        beats("a", "b"),
        Trend(text="falls", metric="m", factor="arm", way="falls"),
        NoDifference(text="same", metric="m", a={"arm": "a"}, b={"arm": "c"}, within=9.0),
        beats("a", "no such level"),
    ]
    found = decided(claims, cells(gap))
    answered = [each.result for each in found if each.result is not None]
    assert len(answered) == len(claims) - 1
    corrected = stats.holm([verdict.p_uncorrected for verdict in answered])
    assert [verdict.p for verdict in answered] == pytest.approx(list(corrected))
    assert max(corrected) > max(verdict.p_uncorrected for verdict in answered) or max(corrected) == 1.0
    assert found[-1].verdict == "undecided"


SLIGHT = {"a": 0.30, "b": 0.20, "c": 0.10}


def slight(level: str, seed: int) -> float:
    """The levels differ by a tenth, with a last digit of noise; the seeds by units."""
    return SEED_EFFECTS[seed] + SLIGHT[level] + 0.001 * ((seed * ord(level)) % 7)


PAIRED: list[Claim] = [
    beats("a", "b"),
    beats("b", "c"),
    Beats(text="a beats c, as a list", metric="m", better={"arm": "a"}, worse={"arm": ["c"]}),
    NoDifference(text="a as b, within 0.2", metric="m", a={"arm": "a"}, b={"arm": "b"}, within=0.2),
    Trend(text="falls", metric="m", factor="arm", way="falls"),
]


@pytest.mark.parametrize("claim", PAIRED, ids=lambda claim: claim.text)
def test_what_seeds_share_drops_out_whatever_their_order(claim: Claim) -> None:
    (found,) = decided([claim], cells(slight))
    assert found.verdict == "supported"
    assert found.result is not None
    assert found.result.n == 5
    low, high = found.result.interval
    assert high - low < 0.02  # seeds alone spread a thousand times as much


def test_an_effect_is_the_mean_over_seeds_of_the_same_seeds_difference() -> None:
    values = cells(slight)
    (found,) = decided([beats("a", "c")], values)
    a, c = values[("arm", "a"),], values[("arm", "c"),]
    each = [a[seed] - c[seed] for seed in SEED_EFFECTS]
    expected = scipy_stats.ttest_1samp(each, 0)
    assert found.result is not None
    assert found.result.effect == pytest.approx(sum(each) / 5)
    assert found.result.interval == pytest.approx(tuple(expected.confidence_interval(0.95)))
    assert found.result.p_uncorrected == pytest.approx(expected.pvalue)


def test_a_seed_that_one_side_lacks_is_left_out_of_the_other_side_too() -> None:
    values = cells(slight)
    del values[("arm", "c"),][1001]
    (found,) = decided([beats("a", "c")], values)
    assert found.result is not None
    assert (found.verdict, found.result.n) == ("supported", 4)
    assert found.result.effect == pytest.approx(0.2, abs=0.01)


def test_the_same_values_under_other_seeds_decide_nothing() -> None:
    values = cells(slight)
    turned = dict(zip(SEED_EFFECTS, [values[("arm", "c"),][seed] for seed in reversed(SEED_EFFECTS)], strict=True))
    (found,) = decided([beats("a", "c")], {**values, (("arm", "c"),): turned})
    assert found.verdict == "undecided"
    assert found.result is not None
    assert found.result.effect == pytest.approx(0.2, abs=0.01)
