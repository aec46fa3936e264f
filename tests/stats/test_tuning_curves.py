"""The median best of n trials, and the simultaneous coverage of its band."""

from __future__ import annotations

import numpy as np
import pytest

from knobs.stats import median_best


def test_it_equals_the_distribution_of_many_trials() -> None:
    trials = (np.arange(60) + 0.5) / 60
    line, low, high = median_best(trials, 8)
    truth = 0.5 ** (1 / np.arange(1, 9))  # of the largest of n uniform numbers
    assert np.abs(line - truth).max() < 0.02
    assert (low < line).all()
    assert (line < high).all()
    assert (np.diff(line) >= 0).all()


def test_it_mirrors_if_lower_is_better() -> None:
    trials = np.random.default_rng(1).normal(size=30)
    line, low, high = median_best(trials, 5)
    mirrored = median_best(-trials, 5, direction="minimize")
    assert [(-end).tolist() for end in mirrored] == [line.tolist(), high.tolist(), low.tolist()]


def test_few_trials_do_not_bound_the_best_of_many() -> None:
    _, low, high = median_best([0.1, 0.4, 0.2, 0.3], 4)
    assert high[-1] == np.inf
    assert np.isfinite(low[2:]).all()


@pytest.mark.parametrize("size", [8, 30])
def test_its_band_covers_all_budgets_together(size: int) -> None:
    g, covered, samples = np.random.default_rng(2), 0, 400
    truth = 0.5 ** (1 / np.arange(1, 9))
    for _ in range(samples):
        _, low, high = median_best(g.random(size), 8)
        covered += bool(((low <= truth) & (truth <= high)).all())
    assert covered / samples > 0.93
