"""The statistics against independent computations and symmetries."""

from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from knobs import BadInputError, stats

SEEDS = st.integers(0, 2**32 - 1)
RUNS = st.integers(5, 20)


def cells(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


# -- means, intervals -------------------------------------------------------------------------------------------------


@given(SEEDS, RUNS, st.floats(-50, 50), st.floats(0.01, 100), st.sampled_from(["any", "symmetric"]))
def test_the_interval_moves_with_shift_scale_sign_and_order(
    seed: int, n: int, shift: float, scale: float, shape: str
) -> None:
    x = cells(seed, n, 3)
    plain = stats.mean_interval(x, shape=shape)
    moved = stats.mean_interval((x * scale + shift)[::-1], shape=shape)
    turned = stats.mean_interval(-x, shape=shape)
    np.testing.assert_allclose(moved.low, plain.low * scale + shift, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(moved.high, plain.high * scale + shift, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose((turned.low, turned.high), (-plain.high, -plain.low), rtol=1e-9)
    np.testing.assert_allclose(turned.p, plain.p, rtol=1e-9)


@given(SEEDS, RUNS, st.floats(-3, 3), st.sampled_from(["any", "symmetric"]), st.sampled_from([0.9, 0.95, 0.99]))
def test_the_p_value_and_the_interval_tell_the_same(
    seed: int, n: int, shift: float, shape: str, confidence: float
) -> None:
    made = stats.mean_interval(cells(seed, n, 8) + shift, shape=shape, confidence=confidence)
    np.testing.assert_array_equal(made.p < 1 - confidence, (made.low > 0) | (made.high < 0))


@given(SEEDS, RUNS)
def test_the_symmetric_interval_is_students(seed: int, n: int) -> None:
    x = cells(seed, n)
    made = stats.mean_interval(x, shape="symmetric")
    theirs = scipy_stats.ttest_1samp(x, 0.0)
    np.testing.assert_allclose((made.low, made.high), theirs.confidence_interval(0.95), rtol=1e-9)
    np.testing.assert_allclose(made.p, theirs.pvalue, rtol=1e-9)
    wide = stats.mean_interval(x)
    assert wide.low <= made.low
    assert wide.high >= made.high


def test_doubtful_intervals_are_marked() -> None:
    assert stats.mean_interval(cells(0, 5)).trusted
    few = stats.mean_interval(cells(0, 3))
    assert not few.trusted
    assert "3 runs: too few" in str(few.doubt)
    same = stats.mean_interval([0.97] * 5)
    assert "same" in str(same.doubt)
    assert same.low == same.high == pytest.approx(0.97)
    bounded = stats.mean_interval([0.99, 0.98, 1.0, 1.0, 0.97], bounds=(0, 1))
    assert bounded.high <= 1


@pytest.mark.parametrize(("runs", "error"), [([1.0], BadInputError), ([1.0, np.nan], ValueError), (3.0, ValueError)])
def test_bad_runs_are_refused(runs: object, error: type[Exception]) -> None:
    with pytest.raises(error):
        stats.mean_interval(runs)


@given(SEEDS, st.integers(1, 21))
def test_the_interquartile_mean_is_that_of_the_middle(seed: int, n: int) -> None:
    x = cells(seed, n, 2)
    cut = n // 4
    np.testing.assert_allclose(stats.interquartile_mean(x), np.sort(x, axis=0)[cut : n - cut].mean(axis=0))
    np.testing.assert_allclose(stats.mean(x), x.sum(axis=0) / n)


@given(SEEDS, st.integers(1, 9), st.integers(1, 9))
def test_probability_of_improvement_is_mann_and_whitneys(seed: int, n: int, m: int) -> None:
    a, b = np.round(cells(seed, n), 1), np.round(cells(seed + 1, m), 1)
    theirs = scipy_stats.mannwhitneyu(a, b, method="asymptotic").statistic / (n * m) if np.ptp([*a, *b]) else 0.5
    assert stats.probability_of_improvement(a, b) == pytest.approx(theirs)
    assert stats.probability_of_improvement(a, b) + stats.probability_of_improvement(b, a) == pytest.approx(1)


@given(SEEDS, st.integers(1, 6), st.booleans())
def test_the_expected_best_is_the_mean_over_all_draws(seed: int, total: int, replacement: bool) -> None:
    x = np.round(cells(seed, total), 1)
    made = stats.expected_best(x, replacement=replacement)
    for n in range(1, total + 1):
        draws = product(x, repeat=n) if replacement else combinations(x, n)
        assert made[n - 1] == pytest.approx(np.mean([max(d) for d in draws]), abs=1e-12)
    np.testing.assert_allclose(stats.expected_best(-x, direction="minimize", replacement=replacement), -made)


@given(SEEDS, st.integers(1, 200))
def test_the_expected_best_grows_to_the_best(seed: int, total: int) -> None:
    x = cells(seed, total, 2)
    made = stats.expected_best(x)
    np.testing.assert_allclose(made[0], x.mean(axis=0), atol=1e-9)
    np.testing.assert_allclose(made[-1], x.max(axis=0), atol=1e-9)
    assert (np.diff(made, axis=0) >= -1e-9).all()
    assert (np.diff(stats.expected_best(x, replacement=True), axis=0) >= -1e-9).all()


def test_bca_is_between_the_extremes_and_shifts() -> None:
    x = cells(4, 20)
    low, high = stats.bca_interval(x, resamples=999)
    assert x.min() < low < x.mean() < high < x.max()
    np.testing.assert_allclose(stats.bca_interval(x + 3, resamples=999), (low + 3, high + 3))
    assert stats.bca_interval([2.0, 2.0]) == (2.0, 2.0)


# -- differences ------------------------------------------------------------------------------------------------------


@given(SEEDS, RUNS, st.floats(0, 3))
def test_differences_are_students_and_welchs(seed: int, n: int, shift: float) -> None:
    a, b = cells(seed, n) + shift, cells(seed + 1, n)
    paired, unpaired = stats.paired_difference(a, b), stats.unpaired_difference(a, b[: n - 1])
    for made, theirs in (
        (paired, scipy_stats.ttest_rel(a, b)),
        (unpaired, scipy_stats.ttest_ind(a, b[: n - 1], equal_var=False)),
    ):
        if not made.any_shape:
            np.testing.assert_allclose(made.p, theirs.pvalue, rtol=1e-7)
            np.testing.assert_allclose((made.low, made.high), theirs.confidence_interval(0.95), rtol=1e-7)
        else:
            assert made.p >= theirs.pvalue * (1 - 1e-9)
    turned = stats.paired_difference(b, a)
    np.testing.assert_allclose((turned.value, turned.p, turned.low), (-paired.value, paired.p, -paired.high))


def test_a_cell_that_outspreads_the_other_gets_the_interval_of_a_mean() -> None:
    a, b = np.random.default_rng(0).lognormal(size=5), np.zeros(5)
    alone = stats.mean_interval(a)
    for made in (stats.paired_difference(a, b), stats.unpaired_difference(a, b)):
        assert made.any_shape
        np.testing.assert_allclose((made.low, made.high, made.p), (alone.low, alone.high, alone.p))


def test_what_seeds_share_drops_out_of_paired_differences() -> None:
    a, b, shared = cells(0, 5), cells(1, 5), 100 * cells(2, 5)
    plain, with_shared = stats.paired_difference(a, b), stats.paired_difference(a + shared, b + shared)
    np.testing.assert_allclose(with_shared.value, plain.value)
    np.testing.assert_allclose(with_shared.se, plain.se)


def test_equal_differences_prove_no_more_than_their_signs() -> None:
    made = stats.paired_difference([0.3, 0.5, 0.9, 0.1, 0.2], np.array([0.3, 0.5, 0.9, 0.1, 0.2]) - 0.1)
    assert float(made.p) == 2 * 0.5**5
    assert not made.trusted
    nothing = stats.paired_difference([1.0, 2.0], [1.0, 2.0])
    assert float(nothing.p) == 1


def test_the_sign_flip_test_is_exact() -> None:
    assert stats.sign_flip_p([1.0, 2.0, 3.0, 4.0, 5.0]) == pytest.approx(0.0625)
    x = np.array([0.3, -0.1, 0.5, 0.2, 0.7, -0.4])
    flips = np.array([abs((x * signs).mean()) for signs in product([1, -1], repeat=len(x))])
    assert stats.sign_flip_p(x) == pytest.approx((flips >= abs(x.mean()) - 1e-12).mean())


@given(SEEDS, st.integers(2, 6))
def test_a_trend_is_the_mean_of_the_seeds_slopes(seed: int, levels: int) -> None:
    x = cells(seed, 5, levels)
    at = [2.0**i for i in range(levels)]
    slopes = [scipy_stats.linregress(at, row).slope for row in x]
    made = stats.trend(x, at=at)
    assert float(made.value) == pytest.approx(np.mean(slopes))
    if not made.any_shape:
        assert float(made.p) == pytest.approx(scipy_stats.ttest_1samp(slopes, 0).pvalue)
    back = stats.trend(x[:, ::-1])
    np.testing.assert_allclose((back.value, back.p), (-stats.trend(x).value, stats.trend(x).p))


@given(SEEDS, st.integers(2, 4), st.integers(2, 4))
def test_crossed_effects_take_a_table_apart_and_add_up_to_it(seed: int, rows: int, columns: int) -> None:
    x = cells(seed, 5, rows, columns)
    made = stats.crossed_effects(x, ("depth", "width"))
    d, w, both = (made[key].value for key in (("depth",), ("width",), ("depth", "width")))
    np.testing.assert_allclose(x.mean() + d[:, None] + w[None, :] + both, x.mean(axis=0), atol=1e-12)
    np.testing.assert_allclose([d.sum(), w.sum(), *both.sum(axis=0), *both.sum(axis=1)], 0, atol=1e-12)
    first = stats.factor_effect(x[:, :2], [0])
    pair = stats.paired_difference(x[:, 0].mean(axis=1), x[:, 1].mean(axis=1))
    np.testing.assert_allclose((first.value[0], first.p[0]), (pair.value / 2, pair.p))
