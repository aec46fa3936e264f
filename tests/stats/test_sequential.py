"""Looks at growing data: the boundaries, the sequential p-values, and the error over all looks together."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from knobs import stats
from knobs.errors import BadInputError

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


def test_early_looks_decide_only_what_is_overwhelming() -> None:
    levels = stats.look_levels(LOOKS, 20)
    assert (np.diff(levels) > 0).all()
    assert levels[0] < 1e-4
    assert 0.04 < levels[-1] < 0.05
    assert stats.look_levels([20], 20) == pytest.approx([0.05])


@given(st.floats(1e-9, 1.0))
def test_one_look_at_everything_is_the_test_itself(p: float) -> None:
    assert stats.sequential_p([p], [20], 20) == pytest.approx(p, rel=1e-3)


@given(st.lists(st.floats(1e-9, 1.0), min_size=4, max_size=4))
def test_sequential_p_never_grow_and_agree_with_the_levels(p: list[float]) -> None:
    found = [float(stats.sequential_p(p[:n], LOOKS, 20)) for n in (1, 2, 3, 4)]
    assert all(later <= earlier for earlier, later in itertools.pairwise(found))
    for alpha in (0.05, 0.01):
        crossed = np.array(p) <= stats.look_levels(LOOKS, 20, alpha)
        if abs(found[-1] / alpha - 1) > 1e-3:
            assert (found[-1] <= alpha) == crossed.any()


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


def test_one_planned_look_decides_as_without_looks() -> None:
    x = np.random.default_rng(1).normal(np.array([0.0, 1.0, 0.0, 0.2]), size=(20, 4))
    for looked, plain in zip(stats.decide_after_looks([20], 20, [claims(x)]), stats.decide(claims(x)), strict=True):
        assert looked.verdict == plain.verdict
        assert looked.p == pytest.approx(plain.p, rel=1e-3)


@pytest.mark.slow
def test_the_error_holds_over_all_looks_together() -> None:
    g = np.random.default_rng(2)
    wrong = sum(any(r.verdict != "undecided" for r in decided(g.normal(size=(20, 4)))) for _ in range(1500))
    assert wrong / 1500 < 0.065
    naive = 0
    for _ in range(300):
        x = g.normal(size=(20, 4))
        naive += any(r.verdict != "undecided" for look in LOOKS for r in stats.decide(claims(x[:look])))
    assert naive / 300 > 0.08, "looks without spending err more often: the test can see it"
