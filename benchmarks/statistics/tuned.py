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

from benchmarks.statistics.intervals import table
from knobs.stats import (
    ClaimTest,
    beats,
    decide,
    decide_after_looks,
    falls,
    mean_interval,
    new_samples_interval,
    paired_difference,
)

CELLS, TRIALS, SEEDS, OLD_SEEDS = 4, 8, 2, 10
LOSSES = (0, 1, 2, 4, 8, 16)
LOOKS = [5, 10, 15, 20]
RADICAL = qmc.Sobol(1, scramble=False).random(TRIALS)[:, 0]

Array = np.ndarray


@dataclass(frozen=True)
class World:
    """What is true of the simulated trainings."""

    loss: float
    """What the worst rate loses."""
    shared: float = 0.0
    """Correlation between the cells' noise in tuning, and in evaluation: they have common seeds."""
    grows: bool = False
    """The noise grows with what a rate loses: twice as large for 2, and so on."""

    def lost(self, u: Array) -> Array:
        """Return what rates lose."""
        return self.loss * (2 * np.abs(u - 0.5)) ** 2

    def noise(self, g: np.random.Generator, lost: Array, axis: int) -> Array:
        """Draw the noise of trainings; those that differ along `axis` alone share a part."""
        common = g.normal(size=[1 if i == axis else n for i, n in enumerate(lost.shape)])
        drawn = self.shared**0.5 * common + (1 - self.shared) ** 0.5 * g.normal(size=lost.shape)
        return drawn * (1 + lost / 2 if self.grows else 1.0)

    def repetitions(self, g: np.random.Generator, ablations: int, count: int) -> Array:
        """Return the values of repetitions: (ablations, repetitions, cells)."""
        shift = g.random((ablations, count, 1, 1))
        u = np.broadcast_to((RADICAL + shift) % 1, (ablations, count, CELLS, TRIALS))
        return self.evaluated(g, self.tuned(g, u), SEEDS).mean(axis=3)

    def old_seeds(self, g: np.random.Generator, ablations: int, seeds: int) -> Array:
        """Return the values of seeds after one tuning over random rates: (ablations, seeds, cells)."""
        u = np.broadcast_to(g.random((ablations, 1, 1, TRIALS)), (ablations, 1, CELLS, TRIALS))
        return self.evaluated(g, self.tuned(g, u), seeds)[:, 0].transpose(0, 2, 1)

    def tuned(self, g: np.random.Generator, u: Array) -> Array:
        """Return the rate that wins in each cell: (ablations, repetitions, cells, trials) -> (..., cells)."""
        lost = self.lost(u)
        best = (self.noise(g, lost, 2) - lost).argmax(axis=3)
        return np.take_along_axis(u, best[..., None], axis=3)[..., 0]

    def evaluated(self, g: np.random.Generator, u: Array, seeds: int) -> Array:
        """Return the values of fresh seeds: (..., cells) -> (..., cells, seeds)."""
        lost = np.broadcast_to(self.lost(u)[..., None], (*u.shape, seeds))
        return self.noise(g, lost, 2) - lost


def claims(x: Array) -> list[ClaimTest]:
    """Return the claims of one ablation of four cells: three comparisons with the first cell, one trend."""
    return [*(beats(x[:, i], x[:, 0]) for i in range(1, CELLS)), falls(x)]


def any_verdict(x: Array) -> bool:
    """Return whether a claim is decided at a fixed number of rows: (rows, cells)."""
    return any(result.verdict != "undecided" for result in decide(claims(x)))


def any_verdict_in_looks(x: Array) -> bool:
    """Return whether a claim is decided at any of the planned looks."""
    made = [claims(x[:look]) for look in LOOKS]
    return any(result.verdict != "undecided" for result in decide_after_looks(LOOKS, LOOKS[-1], made))


def null_ablations(g: np.random.Generator, ablations: int) -> str:
    """Share of null ablations with any verdict, all of which are false."""
    rows = []
    for grows in (False, True):
        for shared in (0.0, 0.5):
            for loss in LOSSES:
                world = World(loss, shared, grows)
                x = world.repetitions(g, ablations, LOOKS[-1])
                row: list[object] = [loss, "shared" if shared else "independent", "grows" if grows else "constant"]
                row += [float(np.mean([any_verdict(one[:n]) for one in x])) for n in (5, 10, 20)]
                row.append(float(np.mean([any_verdict_in_looks(one) for one in x])))
                for seeds in (OLD_SEEDS, 2 * OLD_SEEDS):
                    row.append(float(np.mean([any_verdict(one) for one in world.old_seeds(g, ablations, seeds)])))
                rows.append(row)
    heads = ["worst rate loses, sd", "noise between cells", "noise", "5 repetitions", "10", "20"]
    return table([*heads, "until decided", "old: one tuning, 10 seeds", "old, 20 seeds"], rows)


def power(g: np.random.Generator, ablations: int) -> str:
    """Share of ablations whose true claim is supported, and the repetitions spent until all claims are decided.

    Effects are in standard deviations of the paired difference of repetitions.
    """
    rows = []
    for loss in (0, 4):
        world = World(loss)
        sd = float(np.diff(world.repetitions(g, 4000, 1)[:, 0, :2], axis=1).std())
        for effect in (1.0, 2.0):
            x = world.repetitions(g, ablations, LOOKS[-1])[:, :, :2] + np.array([0.0, effect * sd])
            row: list[object] = [loss, effect]
            for n in (5, 10, 20):
                row.append(float(np.mean([decide([beats(o[:n, 1], o[:n, 0])])[0].verdict == "supported" for o in x])))
            spent, won = [], []
            for one in x:
                made = [[beats(one[:look, 1], one[:look, 0])] for look in LOOKS]
                result = decide_after_looks(LOOKS, LOOKS[-1], made)[0]
                won.append(result.verdict == "supported")
                spent.append(result.look or LOOKS[-1])
            rows.append([*row, float(np.mean(won)), float(np.mean(spent)), float(np.mean(spent)) / LOOKS[-1]])
    heads = ["worst rate loses, sd", "effect, sd", "5", "10", "20 repetitions", "until decided"]
    return table([*heads, "repetitions spent", "of 20"], rows)


FEATURES, TRAINED, SAMPLES, MILLION, GROUPS = 8, 400, 360, 1_000_000, 20


def coverage(g: np.random.Generator, studies: int) -> str:
    """Coverage of both 95% intervals on a generated two-class task. A run is a ridge classifier on 100 fresh samples.

    Truth: the mean over `TRAINED` runs, on the study's 360 test samples, or on a million for new samples.
    """
    direction = g.normal(size=FEATURES) / FEATURES**0.5

    def sample(count: int) -> tuple[Array, Array]:
        x = g.normal(size=(count, FEATURES))
        return x, np.sign(x @ direction * 1.5 + g.normal(size=count))

    weights = np.empty((2, TRAINED, FEATURES))
    for run in range(TRAINED):
        x, y = sample(100)
        for cell, ridge in enumerate((1.0, 300.0)):
            weights[cell, run] = np.linalg.solve(x.T @ x + ridge * np.eye(FEATURES), x.T @ y)
    big = sample(MILLION)
    names = ("accuracy", "log loss")
    million = {name: [_million(*big, weights[cell], name) for cell in (0, 1)] for name in names}
    hits: dict[tuple[str, str, int], list[tuple[bool, bool]]] = {}
    for _ in range(studies):
        x, y = sample(SAMPLES)
        groups = g.permutation(SAMPLES) % GROUPS
        for name in names:
            values = np.array([measure(x @ weights[cell].T, y, name) for cell in (0, 1)])  # (cells, runs, samples)
            near, per_run = values.mean(axis=(1, 2)), values.mean(axis=2)
            for count in (5, 10, 20):
                runs = g.choice(TRAINED, count, replace=False)
                without = np.stack([values[:, runs][:, :, groups != one].mean(axis=2) for one in range(GROUPS)], axis=2)
                for what, made, left, here, new in (
                    ("one cell", mean_interval(per_run[0, runs]), without[0], near[0], million[name][0]),
                    ("difference", paired_difference(*per_run[:, runs]), without[0] - without[1],
                     near[0] - near[1], million[name][0] - million[name][1]),
                ):  # fmt: skip
                    low, high = new_samples_interval(made, left)
                    found = (bool(made.low <= here <= made.high), bool(low <= new <= high))
                    hits.setdefault((name, what, count), []).append(found)
    rows = [[*key, *np.mean(found, axis=0).tolist()] for key, found in sorted(hits.items())]
    return table(["metric", "of", "repetitions", "these samples", "new samples"], rows)


def measure(scores: Array, y: Array, name: str) -> Array:
    """Return each run's value on each sample: (samples, runs) -> (runs, samples)."""
    if name == "accuracy":
        return (np.sign(scores) == y[:, None]).T.astype(float)
    return np.logaddexp(0.0, -2 * scores * y[:, None]).T


def _million(x: Array, y: Array, weights: Array, name: str) -> float:
    """Return the mean over all runs on the million, in parts that fit the memory."""
    parts = [measure(a @ weights.T, b, name).mean() for a, b in zip(np.split(x, 200), np.split(y, 200), strict=True)]
    return float(np.mean(parts))


TEXT = """# Verdicts when tuning is random too

Written by `python -m benchmarks.statistics tuned`; do not edit. All runs are simulated, so their truth is known; the
tests are those of knobs. A repetition draws 8 quasi-random rates, chooses the best by one noisy training each, and
takes the mean of two fresh seeds of it. The worst rate loses L standard deviations of seeds, a rate at the share u of
the range L (2 |u - 1/2|)^2.

## False verdicts: share of {ablations} null ablations with at least one
Four cells that are equal in distribution; three claims "beats the first cell", one "falls over the cells", corrected
together (Holm). At most .05 should have a verdict; with {ablations} ablations, .0635 is two standard errors above.
*Noise between cells* is shared if their trainings with common seeds err alike (correlation .5). *Grows*: a training's
noise grows with what its rate loses, to 1 + L/2 times at the worst rate. *Until decided*: looks after 5, 10, 15 and 20
repetitions. *Old*: one tuning over 8 random rates, then a test over seeds.

{null_ablations}

## Power: share of {powers} ablations with the right verdict
One claim "beats"; the effect is in standard deviations of the paired difference of repetitions.

{power}

## Coverage of both 95% intervals
{studies} studies of a generated task with two classes; a run is a ridge classifier on 100 fresh samples, a test split
has 360. *These samples*: the mean over runs, on the study's own test samples. *New samples*: on a million others. The
interval of one cell is stretched for skewed metrics, so it covers a little more than 95%.

{coverage}
"""


def report() -> str:
    """Simulate everything and return the page."""
    sizes = {"ablations": 1000, "powers": 1000, "studies": 4000}
    g = [np.random.default_rng(seed) for seed in range(3)]
    return TEXT.format(
        **sizes,
        null_ablations=null_ablations(g[0], sizes["ablations"]),
        power=power(g[1], sizes["powers"]),
        coverage=coverage(g[2], sizes["studies"]),
    )
