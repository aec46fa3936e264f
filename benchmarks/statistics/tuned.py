"""Do verdicts hold when tuning is part of what is random? Simulated ablations whose truth is known.

`python -m benchmarks.statistics tuned` writes `results/tuned.md`. A repetition's value is simulated as `Ablation` makes
it: 8 quasi-random rates, each trained once with the repetition's tuning seed; the best by validation is trained with
two fresh seeds, whose mean counts. A rate loses L (2 |u - 1/2|)^2, u its share of the range: the worst one loses L.
Seeds have a standard deviation of 1, in tuning and in evaluation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import qmc

from benchmarks.statistics.coverage import GROUPS, SAMPLES, coverage
from benchmarks.statistics.intervals import table
from knobs.stats import ClaimTest, beats, decide, decide_after_looks, paired_difference, rises, sequential_p, trend

CELLS, TRIALS, SEEDS, OLD_SEEDS = 4, 8, 2, 10
LOSSES = (0, 1, 2, 4, 8, 16)
LOOKS = [5, 10, 15, 20]
MOST = LOOKS[-1]
ALPHA = 0.05
CHECKED = 4
"""Ablations of every 1,000 that `decide` and `decide_after_looks` decide as well; the answers must be the same."""
RADICAL = qmc.Sobol(1, scramble=False).random(TRIALS)[:, 0]

Array = np.ndarray


@dataclass(frozen=True)
class World:
    """What is true of the simulated trainings."""

    loss: float
    """What the worst rate loses."""
    tuning: float = 0.0
    """Correlation between the cells' noise in tuning. If it is 1, all cells choose the same rate."""
    evaluation: float = 0.0
    """Correlation between the cells' noise in evaluation: they have common seeds."""
    grows: bool = False
    """The noise grows with what a rate loses: twice as large for 2, and so on."""

    def lost(self, u: Array) -> Array:
        """Return what rates lose."""
        return self.loss * (2 * np.abs(u - 0.5)) ** 2

    def noise(self, g: np.random.Generator, lost: Array, shared: float) -> Array:
        """Draw the noise of trainings (cells, ...), whose cells correlate by `shared`."""
        drawn = shared**0.5 * g.normal(size=lost.shape[1:]) + (1 - shared) ** 0.5 * g.normal(size=lost.shape)
        return drawn * (1 + lost / 2) if self.grows else drawn

    def repetitions(self, g: np.random.Generator, ablations: int) -> Array:
        """Return the values of the most repetitions: (repetitions, cells, ablations)."""
        u = (RADICAL[:, None, None] + g.random((1, MOST, ablations))) % 1
        return np.moveaxis(self.evaluated(g, self.tuned(g, u), SEEDS).mean(axis=1), 0, 1)

    def old_seeds(self, g: np.random.Generator, ablations: int, seeds: int) -> Array:
        """Return the values of seeds after one tuning over random rates: (seeds, cells, ablations)."""
        u = g.random((TRIALS, 1, ablations))
        return np.moveaxis(self.evaluated(g, self.tuned(g, u), seeds)[:, :, 0], 0, 1)

    def tuned(self, g: np.random.Generator, u: Array) -> Array:
        """Return the rate that wins in each cell: (trials, rows, ablations) -> (cells, rows, ablations)."""
        lost = np.broadcast_to(self.lost(u), (CELLS, *u.shape))
        best = (self.noise(g, lost, self.tuning) - lost).argmax(axis=1)
        return np.take_along_axis(np.broadcast_to(u, lost.shape), best[:, None], axis=1)[:, 0]

    def evaluated(self, g: np.random.Generator, u: Array, seeds: int) -> Array:
        """Return the values of fresh seeds: (cells, rows, ablations) -> (cells, seeds, rows, ablations)."""
        lost = np.repeat(self.lost(u)[:, None], seeds, axis=1)
        return self.noise(g, lost, self.evaluation) - lost


def all_p(x: Array) -> Array:
    """Return the two-sided p of an ablation's claims: (rows, cells, ablations) -> (claims, ablations).

    Each cell "beats" the first one, and the metric "rises" over the cells.
    """
    return np.concatenate([paired_difference(x[:, 1:], x[:, :1].repeat(CELLS - 1, axis=1)).p, [trend(x).p]])


def any_verdict(x: Array) -> Array:
    """Return whether a claim is decided at a fixed number of rows: (rows, cells, ablations) -> (ablations,).

    Holm's correction decides some claim exactly if the smallest p times the number of claims is at most alpha.
    """
    p = all_p(x)
    found = p.min(axis=0) * len(p) <= ALPHA
    for i in range(CHECKED):
        assert found[i] == any(result.verdict != "undecided" for result in decide(claims(x[:, :, i])))
    return found


def any_verdict_in_looks(x: Array) -> Array:
    """Return whether a claim is decided at any of the planned looks: (rows, cells, ablations) -> (ablations,)."""
    p = sequential_p([all_p(x[:look]) for look in LOOKS], LOOKS, MOST)
    found = p.min(axis=0) * len(p) <= ALPHA
    for i in range(CHECKED):
        made = decide_after_looks(LOOKS, MOST, [claims(x[:look, :, i]) for look in LOOKS])
        assert found[i] == any(result.verdict != "undecided" for result in made)
    return found


def claims(x: Array) -> list[ClaimTest]:
    """Return the tests of one ablation: (rows, cells)."""
    return [*(beats(x[:, i], x[:, 0]) for i in range(1, CELLS)), rises(x)]


def null_ablations(g: np.random.Generator, ablations: int) -> str:
    """Share of null ablations with any verdict, all of which are false."""
    rows = []
    for grows in (False, True):
        for tuning in (0.0, 0.5, 1.0):
            for evaluation in (0.0, 0.5):
                for loss in LOSSES:
                    world = World(loss, tuning, evaluation, grows)
                    counts = np.mean([_null_shares(g, world, 1000) for _ in range(ablations // 1000)], axis=0)
                    rows.append([loss, tuning, evaluation, "grows" if grows else "constant", *counts.tolist()])
    heads = ["worst rate loses, sd", "correlation in tuning", "in evaluation", "noise", "5 repetitions", "10", "20"]
    return table([*heads, "until decided", "old: one tuning, 10 seeds", "old, 20 seeds"], rows)


def _null_shares(g: np.random.Generator, world: World, ablations: int) -> list[float]:
    x = world.repetitions(g, ablations)
    found = [any_verdict(x[:n]) for n in (5, 10, 20)] + [any_verdict_in_looks(x)]
    found += [any_verdict(world.old_seeds(g, ablations, seeds)) for seeds in (OLD_SEEDS, 2 * OLD_SEEDS)]
    return [float(one.mean()) for one in found]


def power(g: np.random.Generator, ablations: int) -> str:
    """Share of true claims that are supported, and the repetitions spent until all claims are decided.

    Effects are in standard deviations of the paired difference of repetitions. "4 claims": three cells are better than
    the first by the effect, and all claims of the null ablations are true.
    """
    rows = []
    for loss in (0, 4):
        for grows in (False, True) if loss else (False,):
            world = World(loss, 0.0, 0.5, grows)
            drawn = world.repetitions(g, ablations)
            sd = float((drawn[:, 1] - drawn[:, 0]).std())
            for kind in ("1 claim", "4 claims"):
                for effect in (0.5, 1.0, 2.0):
                    x = drawn + sd * effect * np.array([0.0, 1.0, 1.0, 1.0])[:, None]
                    row = [loss, "grows" if grows else "constant", kind, effect]
                    by_look = np.array([all_p(x[:look]) for look in LOOKS])[:, : 1 if kind == "1 claim" else None]
                    fixed = [float(_holm_decided(by_look[LOOKS.index(n)]).mean()) for n in (5, 10, 20)]
                    held = [sequential_p(by_look[: k + 1], LOOKS, MOST) for k in range(len(LOOKS))]
                    done = np.array([_holm_decided(p) for p in held])
                    spent = np.where(done.all(axis=1).any(axis=0), done.all(axis=1).argmax(axis=0), len(LOOKS) - 1)
                    mean = float(np.array(LOOKS)[spent].mean())
                    rows.append([*row, *fixed, float(done[-1].mean()), f"{mean:.1f}", f"{mean / MOST:.1%}"])
    heads = ["worst rate loses, sd", "noise", "ablation of", "effect, sd", "5", "10", "20 repetitions", "until decided"]
    return table([*heads, "repetitions spent", "of 20"], rows)


def _holm_decided(p: Array) -> Array:
    """Return which claims Holm's correction decides: (claims, ablations) -> (claims, ablations)."""
    order = p.argsort(axis=0)
    steps = np.take_along_axis(p, order, axis=0) * np.arange(len(p), 0, -1)[:, None]
    decided = np.empty(p.shape, dtype=bool)
    np.put_along_axis(decided, order, np.maximum.accumulate(steps, axis=0) <= ALPHA, axis=0)
    return decided


TEXT = """# Verdicts when tuning is random too

Written by `python -m benchmarks.statistics tuned`; do not edit. All runs are simulated, so their truth is known; the
tests are those of knobs. A repetition draws 8 quasi-random rates, chooses the best by one noisy training each, and
takes the mean of two fresh seeds of it. The worst rate loses L standard deviations of seeds, a rate at the share u of
the range L (2 |u - 1/2|)^2.

## False verdicts: share of {ablations:,} null ablations with at least one
Four cells that are equal in distribution; three claims "beats the first cell", one "rises over the cells", corrected
together (Holm). At most .05 should have a verdict; the standard error of a share is {error:.4f}. *Correlation*: cells
have common seeds, so their noise may be shared; at 1, all cells choose the same rate. *Grows*: a training's noise grows
with what its rate loses, to 1 + L/2 times at the worst rate. *Until decided*: looks after 5, 10, 15 and 20 repetitions.
*Old*: one tuning over 8 random rates, then a test over seeds.

{null_ablations}

## Power: share of true claims that are supported, in {powers:,} ablations
Effects are in standard deviations of the paired difference of repetitions. *1 claim*: "beats". *4 claims*: three cells
are better than the first by the effect, so that all claims of the null ablations are true; repetitions are spent until
all four are decided.

{power}

## Coverage of both 95% intervals
{studies:,} studies of a generated task with two classes; a run is a ridge classifier on 100 fresh samples, a test split
has {samples}, in {groups} groups. *These samples*: the mean over runs, on the study's own test samples. *New samples*:
on a million others. The interval of one cell is stretched for skewed metrics (how much, in `statistics.md`), so with
few repetitions it covers more than 95%; *Student's* is not. *Runs alone*: the first interval against the second truth.

{coverage}
"""


def report() -> str:
    """Simulate everything and return the page."""
    sizes = {"ablations": 10_000, "powers": 10_000, "studies": 4000}
    g = [np.random.default_rng(seed) for seed in range(3)]
    return TEXT.format(
        **sizes,
        error=(ALPHA * (1 - ALPHA) / sizes["ablations"]) ** 0.5,
        samples=SAMPLES,
        groups=GROUPS,
        null_ablations=null_ablations(g[0], sizes["ablations"]),
        power=power(g[1], sizes["powers"]),
        coverage=coverage(g[2], sizes["studies"]),
    )
