"""Claims and Holm's correction against independent computations; verdicts of clear cases."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from knobs import BadInputError, stats

SEEDS = st.integers(0, 2**32 - 1)
RUNS = st.integers(5, 20)
P = st.lists(st.floats(0, 1), min_size=1, max_size=6)


def cells(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


@given(P)
def test_holm_is_the_closure_of_bonferroni(p: list[float]) -> None:
    made = stats.holm(p)
    everyone = range(len(p))
    families = [f for size in range(1, len(p) + 1) for f in combinations(everyone, size)]
    for i in everyone:
        assert made[i] == pytest.approx(max(min(1, len(f) * min(p[j] for j in f)) for f in families if i in f))
    assert (made >= np.array(p)).all()
    assert (np.diff(made[np.argsort(p)]) >= 0).all()


@given(SEEDS, RUNS, st.floats(0.1, 3), st.floats(-2, 2))
def test_no_difference_is_two_one_sided_tests(seed: int, n: int, within: float, shift: float) -> None:
    a, b = cells(seed, n) + shift, cells(seed + 1, n)
    made = stats.no_difference(a, b, within)
    if made.effect.any_shape:
        return
    upper = scipy_stats.ttest_1samp(a - b, within, alternative="less").pvalue
    lower = scipy_stats.ttest_1samp(a - b, -within, alternative="greater").pvalue
    assert made.p_supports == pytest.approx(max(upper, lower), rel=1e-6)
    near = stats.no_difference(a, b, 1e-9)
    assert near.p_contradicts == pytest.approx(scipy_stats.ttest_rel(a, b).pvalue, rel=1e-4)


@given(SEEDS, st.integers(4, 12), st.floats(-1, 1), st.floats(0.5, 4))
def test_a_match_is_supported_exactly_where_the_interval_lies_within(
    seed: int, n: int, value: float, within: float
) -> None:
    made = stats.matches(cells(seed, n), value, within)
    low, high = float(made.effect.low), float(made.effect.high)
    assert (made.p_supports < 0.05) == (value - within < low and high < value + within)
    assert (made.p_contradicts < 0.05) == (value + within < low or high < value - within)


def test_each_claim_gets_the_verdict_that_the_runs_show() -> None:
    g = np.random.default_rng(3)
    base = g.normal(size=5)
    cell = [base + 0.05 * g.normal(size=5) for _ in range(4)]
    up = np.stack([base + i + 0.05 * g.normal(size=5) for i in range(4)], axis=1)
    tests = {
        "supported": [
            stats.beats(cell[0] + 1, cell[1]),
            stats.beats(cell[0], cell[1] + 1, direction="minimize"),
            stats.rises(up),
            stats.falls(-up),
            stats.no_difference(cell[0], cell[1], 0.5),
            stats.matches(0.9 + 0.001 * base, 0.9, 0.1),
        ],
        "contradicted": [
            stats.beats(cell[0], cell[1] + 1),
            stats.rises(-up),
            stats.no_difference(cell[0] + 1, cell[1], 0.5),
            stats.matches(0.9 + 0.001 * base, 0.5, 0.1),
        ],
        "undecided": [stats.beats(g.normal(size=5), g.normal(size=5)), stats.matches([0.8, 0.9, 1.0], 0.9, 0.5)],
    }
    verdicts = stats.decide([t for group in tests.values() for t in group])
    expected = [name for name, group in tests.items() for _ in group]
    assert [v.verdict for v in verdicts] == expected
    assert all((v.needed_more_seeds == 0) == (v.verdict != "undecided") for v in verdicts)
    assert "too few" in verdicts[-1].caveat
    assert verdicts[-1].needed_more_seeds is not None


def test_a_trend_that_turns_back_has_a_caveat() -> None:
    levels = np.array([0.0, 5.0, 4.0, 8.0]) + 0.05 * cells(1, 6, 4)
    made = stats.rises(levels)
    assert made.p_supports < 0.05
    assert made.caveat == "falls from level 2 to 3"


def test_claims_of_one_ablation_pay_for_each_other() -> None:
    g = np.random.default_rng(8)
    z = np.linspace(-1, 1, 5)
    clear = stats.beats(1.2 + z / 2, -z / 2)
    assert 0.01 < clear.p_supports <= 0.05
    assert stats.decide([clear])[0].verdict == "supported"
    beside = stats.decide([clear] + [stats.beats(g.normal(size=5), g.normal(size=5)) for _ in range(4)])
    assert beside[0].verdict == "undecided"
    assert beside[0].p >= beside[0].p_uncorrected
    assert stats.decide([]) == []


def test_cells_of_a_claim_are_averaged_and_a_tolerance_is_positive() -> None:
    a, b = cells(0, 5, 3), cells(1, 5, 3)
    assert stats.beats(a, b).effect.p == stats.beats(a.mean(axis=1), b.mean(axis=1)).effect.p
    with pytest.raises(BadInputError, match="tolerance"):
        stats.no_difference(a, b, 0.0)
    with pytest.raises(BadInputError, match="two levels"):
        stats.falls(a[:, :1])
