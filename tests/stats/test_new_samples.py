"""The interval for new test samples covers their truth, where the interval of the runs alone does not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from knobs import stats

GROUPS = 20


def left_out(values: np.ndarray) -> np.ndarray:
    """Return each run's mean without each group of samples: (runs, samples) -> (runs, groups)."""
    group = np.arange(values.shape[1]) % GROUPS
    return np.stack([values[:, group != one].mean(axis=1) for one in range(GROUPS)], axis=1)


def study(g: np.random.Generator, runs: int, samples: int, shared: float) -> np.ndarray:
    """Return whether runs are right on samples: samples are easy or hard for all, as far as `shared`."""
    hard = g.normal(size=samples) * shared**0.5
    own, luck = g.normal(size=(runs, samples)) * (1 - shared) ** 0.5, 0.1 * g.normal(size=(runs, 1))
    return np.asarray(hard + own + luck > -1, dtype=float)


def test_the_jackknife_of_a_mean_is_its_standard_error() -> None:
    values = np.repeat(np.random.default_rng(0).normal(size=(1, 4000)), 5, axis=0)  # equal runs
    assert stats.sampling_sd(left_out(values)) == pytest.approx(values[0].std() / 4000**0.5, rel=0.35)


def test_what_single_runs_do_is_not_counted_twice() -> None:
    values = np.random.default_rng(1).normal(size=(40, 4000))  # a sample is as likely right in one run as in another
    assert stats.sampling_sd(left_out(values)) < 0.3 * 4000**-0.5


@pytest.mark.parametrize("shared", [0.2, 0.9])
def test_it_covers_the_truth_of_new_samples(shared: float) -> None:
    g, studies = np.random.default_rng(2), 300
    truth = float(study(g, 1000, 20_000, shared).mean())
    narrow = wide = 0
    for _ in range(studies):
        values = study(g, 10, 360, shared)
        made = stats.mean_interval(values.mean(axis=1))
        low, high = stats.new_samples_interval(made, left_out(values))
        narrow += bool(made.low <= truth <= made.high)
        wide += low <= truth <= high
    assert wide / studies > 0.93
    assert narrow / studies < (0.96 if shared < 0.5 else 0.90)


def area_under_curve(scores: np.ndarray, y: np.ndarray) -> float:
    ranks = scores.argsort().argsort() + 1.0
    positive = y.sum()
    return float((ranks[y].sum() - positive * (positive + 1) / 2) / (positive * (len(y) - positive)))


def explained(scores: np.ndarray, y: np.ndarray) -> float:
    return float(1 - ((y - scores) ** 2).mean() / y.var())


@pytest.mark.parametrize("metric", [area_under_curve, explained])
def test_the_jackknife_holds_for_areas_and_shares_of_variance(metric: Callable[..., float]) -> None:
    """One run, judged on many draws of 360 samples: the mean variance by the jackknife is that over the draws."""
    g, group = np.random.default_rng(3), np.arange(360) % GROUPS
    values, variances = [], []
    for _ in range(400):
        scores = g.normal(size=360)
        y = scores + g.normal(size=360) if metric is explained else g.random(360) < 1 / (1 + np.exp(-2 * scores))
        values.append(metric(scores, y))
        without = [metric(scores[group != one], y[group != one]) for one in range(GROUPS)]
        variances.append(stats.sampling_sd([without]) ** 2)
    assert np.sqrt(np.mean(variances)) == pytest.approx(np.std(values), rel=0.12)


def test_bounds_cut_it() -> None:
    values = np.ones((5, 100))
    values[:, 0] = 0.0
    made = stats.mean_interval(values.mean(axis=1))
    assert stats.new_samples_interval(made, left_out(values), bounds=(0.0, 1.0))[1] == 1.0
