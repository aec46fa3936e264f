"""Ablations of cells that are equal in distribution: the share with a false verdict, with tuning in the simulation."""

from __future__ import annotations

import numpy as np
import pytest

from knobs import stats

CELLS, TRIALS, ABLATIONS, LOOKS = 4, 8, 3000, [5, 10, 15, 20]


def tuned_values(g: np.random.Generator, rates: np.ndarray, loss: float, seeds: int) -> np.ndarray:
    """Return values of fresh seeds with the rate that won: rates (trials, rows, ...) -> (seeds, rows, cells, ...).

    The best rate is .5, and the worst ones lose `loss` standard deviations of a training.
    """
    lost = loss * (2 * np.abs(rates - 0.5)) ** 2
    found = []
    for _ in range(CELLS):
        best = (g.normal(size=lost.shape) - lost).argmax(axis=0)
        chosen = np.take_along_axis(lost, best[None], axis=0)
        found.append(g.normal(size=(seeds, *chosen.shape[1:])) - chosen)
    return np.stack(found, axis=2)


def smallest_p(x: np.ndarray) -> np.ndarray:
    """Return the p of each claim, (claims, ablations), of values (rows, cells, ablations)."""
    return np.stack([*(stats.paired_difference(x[:, i], x[:, 0]).p for i in range(1, CELLS)), stats.trend(x).p])


def share_decided(p: np.ndarray) -> float:
    """Return the share of ablations with a verdict, which Holm's correction gives the smallest p first."""
    return float((p.min(axis=0) * len(p) <= 0.05).mean())


@pytest.mark.parametrize("loss", [0.0, 4.0, 16.0])
def test_verdicts_on_repetitions_hold_and_those_on_seeds_of_one_tuning_do_not(loss: float) -> None:
    g = np.random.default_rng(4)
    quasi_random = (np.arange(TRIALS)[:, None, None] / TRIALS + g.random((1, 20, ABLATIONS))) % 1
    x = tuned_values(g, quasi_random, loss, 2).mean(axis=0)
    shares = [share_decided(smallest_p(x[:n])) for n in (5, 10, 20)]
    looked = share_decided(stats.sequential_p([smallest_p(x[:look]) for look in LOOKS], LOOKS, 20))
    assert max(*shares, looked) <= 0.055
    unplanned = share_decided(np.min([smallest_p(x[:look]) for look in LOOKS], axis=0))
    assert unplanned > 1.7 * looked
    seeds = tuned_values(g, g.random((TRIALS, 1, ABLATIONS)), loss, 10)[:, 0]
    assert share_decided(smallest_p(seeds)) > 0.15 or loss == 0


def test_single_ablations_get_the_verdicts_of_the_simulation() -> None:
    g = np.random.default_rng(5)
    x = g.normal(np.array([0.0, 0.6, 1.2, 0.0])[:, None], size=(20, CELLS, 30))
    held = stats.sequential_p([smallest_p(x[:look]) for look in LOOKS], LOOKS, 20)
    for i in range(x.shape[2]):
        rows = [
            [*(stats.beats(x[:look, c, i], x[:look, 0, i]) for c in range(1, CELLS)), stats.rises(x[:look, :, i])]
            for look in LOOKS
        ]
        made = stats.decide_after_looks(LOOKS, 20, rows)
        assert [result.p for result in made] == pytest.approx(stats.holm(held[:, i]))
        assert all((result.look is None) == (result.verdict == "undecided") for result in made)
