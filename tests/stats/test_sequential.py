"""Looks at growing data: the boundaries, the sequential p-values, and the error over all looks together."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from knobs import stats
from knobs.errors import BadInputError
from knobs.stats.sequential import crossing_bounds, spent

LOOKS = [5, 10, 15, 20]
stats.sequential_p([1.0], LOOKS, 20)  # the table is made here, not within the time limit of an example
stats.sequential_p([1.0], [20], 20)


def test_the_levels_spend_exactly_alpha() -> None:
    """The chance to cross no boundary, by another integration: a normal distribution of four correlated dimensions."""
    for alpha in (0.05, 0.01):
        bounds = scipy_stats.norm.isf(stats.look_levels(LOOKS, 20, alpha) / 2)
        shares = np.array(LOOKS) / 20
        correlation = np.sqrt(np.minimum.outer(shares, shares) / np.maximum.outer(shares, shares))
        normal = scipy_stats.multivariate_normal(np.zeros(4), correlation, maxpts=400_000, seed=0)
        inside = normal.cdf(bounds, lower_limit=-bounds)
        assert inside == pytest.approx(1 - alpha, abs=2e-4)


@pytest.mark.parametrize(
    "published",
    [[2.963, 1.969], [3.710, 2.511, 1.993], [4.333, 2.963, 2.359, 2.014], [4.877, 3.357, 2.680, 2.290, 2.031]],
)
def test_bounds_agree_with_published_ones(published: list[float]) -> None:
    """O'Brien-Fleming-type bounds at alpha .05 and 2 to 5 equal looks, spent by each side (Lan and DeMets 1983)."""
    times = np.arange(1, len(published) + 1) / len(published)
    each_side = 2 * spent([0.025], times[:, None])
    assert crossing_bounds(each_side, times)[:, 0] == pytest.approx(published, abs=1.1e-3)


def test_bounds_of_rare_looks_and_of_many_are_finite_and_ordered() -> None:
    for looks, most in [([2, 3, 100], 100), ([98, 99, 100], 100), (list(range(1, 21)), 20), ([1], 60)]:
        levels = [stats.look_levels(looks, most, alpha) for alpha in (1e-9, 1e-4, 0.05, 0.5, 0.999)]
        assert np.isfinite(levels).all()
        assert (np.diff(levels, axis=0) >= 0).all(), "a claim that is decided at a level is decided at higher ones"


def test_early_looks_decide_only_what_is_overwhelming() -> None:
    levels = stats.look_levels(LOOKS, 20)
    assert (np.diff(levels) > 0).all()
    assert levels[0] < 1e-4
    assert 0.04 < levels[-1] < 0.05
    assert stats.look_levels([20], 20) == pytest.approx([0.05])


@given(st.floats(1e-9, 1.0))
def test_one_look_at_everything_is_the_test_itself(p: float) -> None:
    assert stats.sequential_p([p], [20], 20) == p


@given(st.lists(st.floats(1e-9, 1.0), min_size=4, max_size=4))
def test_sequential_p_never_grow_and_agree_with_the_levels(p: list[float]) -> None:
    found = [float(stats.sequential_p(p[:n], LOOKS, 20)) for n in (1, 2, 3, 4)]
    assert all(later <= earlier for earlier, later in itertools.pairwise(found))
    for alpha in (0.05, 0.01):
        crossed = np.array(p) <= stats.look_levels(LOOKS, 20, alpha)
        if abs(found[-1] / alpha - 1) > 1e-3:
            assert (found[-1] <= alpha) == crossed.any()


@pytest.mark.parametrize("looks", [LOOKS, [7, 10, 15, 20], [5, 6, 20], [2, 19]])
def test_sequential_p_inverts_the_levels_to_one_percent(looks: list[int]) -> None:
    for alpha in [*np.geomspace(1e-11, 0.9, 150), *np.linspace(0.9, 0.999, 50)]:
        levels = stats.look_levels(looks, 20, alpha)
        for look, level in enumerate(levels):
            by_look = np.ones(len(looks))
            by_look[look] = level
            assert float(stats.sequential_p(by_look, looks, 20)) == pytest.approx(alpha, rel=0.01)


def test_later_looks_do_not_change_what_an_early_one_found() -> None:
    """A look is judged by the looks before it, and by when it was taken: here at 7 in place of 5."""
    assert stats.sequential_p([1e-4, 0.02], [7, 10, 15, 20], 20) == stats.sequential_p([1e-4, 0.02], [7, 10], 20)
    assert stats.sequential_p([1e-4], [7], 20) == pytest.approx(
        2 * scipy_stats.norm.sf(scipy_stats.norm.isf(5e-5) * 0.35**0.5)
    )


def test_looks_must_increase_up_to_the_maximum() -> None:
    for looks in ([5, 5], [10, 5], [5, 25], []):
        with pytest.raises(BadInputError, match="they must increase"):
            stats.look_levels(looks, 20)


def claims(x: np.ndarray) -> list[stats.ClaimTest]:
    """Return three claims on four cells: (rows, cells)."""
    return [stats.beats(x[:, i], x[:, 0]) for i in (1, 2, 3)]


def decided(x: np.ndarray) -> list[stats.ClaimResult]:
    """Return the verdicts after all looks."""
    return stats.decide_after_looks(LOOKS, 20, [claims(x[:look]) for look in LOOKS])


def test_a_decided_claim_stays_decided() -> None:
    g = np.random.default_rng(0)
    x = g.normal(size=(20, 4))
    x[:5, 1] += 40.0
    x[5:, 1] -= 30.0
    result = decided(x)[0]
    assert (result.verdict, result.look) == ("supported", 5)
    assert result.effect < 0, "the effect is that of all repetitions"
    first = stats.decide_after_looks([5], 20, [claims(x[:5])])[0]
    assert (first.verdict, first.look, first.p) == ("supported", 5, pytest.approx(result.p))


def test_a_verdict_does_not_turn_although_the_other_side_becomes_surer() -> None:
    def look(supports: float, contradicts: float) -> stats.ClaimTest:
        return stats.ClaimTest(effect=stats.mean_interval([0.0, 1.0]), p_supports=supports, p_contradicts=contradicts)

    first, second, other = look(1e-6, 1.0), look(1.0, 1e-12), look(0.5, 1.0)
    for rows in ([[first, other]], [[first, other], [second, other]]):
        result, open_claim = stats.decide_after_looks(LOOKS[: len(rows)], 20, rows)
        assert (result.verdict, result.look) == ("supported", 5)
        assert result.p <= 0.05
        assert (open_claim.verdict, open_claim.look) == ("undecided", None)


def test_one_planned_look_decides_as_without_looks() -> None:
    x = np.random.default_rng(1).normal(np.array([0.0, 1.0, 0.0, 0.2]), size=(20, 4))
    for looked, plain in zip(stats.decide_after_looks([20], 20, [claims(x)]), stats.decide(claims(x)), strict=True):
        assert replace(looked, look=None) == plain
        assert looked.look == (20 if plain.verdict != "undecided" else None)
