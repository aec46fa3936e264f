"""Test the intervals and claims of `knobs/stats` on runs whose truth is known.

`python -m benchmarks.statistics` writes the pages in `results/`: `statistics` (10 minutes on one core), `tuned` (7
minutes), `real_nulls` (half an hour on two cores); name some to write only those. All seeds are fixed. Do not start it
as a script by its path.
"""

from __future__ import annotations

import sys
import time
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.statistics import real_nulls, tuned
from benchmarks.statistics.intervals import NAMED, RUNS, differences, effects, means, noise, table, trend_choices
from knobs.stats import ClaimTest, beats, decide, falls, matches, no_difference, seeds_to_decide
from knobs.stats.compare import paired_difference


def null_claims(x: np.ndarray, side: float, kind: str) -> list[ClaimTest]:
    """Return claims of one null ablation, all false. If a claim has a tolerance, the truth lies just outside it."""
    if kind == "mixed":
        return [
            beats(x[:, 1], x[:, 0]),
            beats(x[:, 2], x[:, 0]),
            falls(x[:, :5]),
            matches(x[:, 3], 3 * side, 3.0),
            no_difference(x[:, 4] + 3.0, x[:, 0], 3.0),
        ]
    if kind == "directional":
        return [*(beats(x[:, i], x[:, 0]) for i in range(1, 6)), falls(x[:, :5])]
    return [matches(x[:, i], 3 * side, 3.0) for i in range(4)]


def false_positives(g: np.random.Generator, ablations: int) -> str:
    """Share of null ablations with any false verdict: of knobs, of each claim at .05 alone, and by the best run."""
    rows = []
    for name in NAMED:
        for n in (3, 4, *RUNS):
            row: list[object] = [name, n]
            for kind in ("mixed", "directional", "matches"):
                ours, alone, best = [], [], []
                side = 1.0 if name.startswith("Beta") else -1.0  # the side on which a skewed sample misleads more
                for _ in range(ablations):
                    x = noise(name, g, (n, 6))
                    if kind != "matches":
                        x = x + g.normal(size=(n, 1))  # the seed's effect, shared by all cells
                    tests = null_claims(x, side, kind)
                    false = [t.p_supports if t.margin else min(t.p_supports, t.p_contradicts) for t in tests]
                    ours.append(any(v.verdict == "supported" or (v.verdict == "contradicted" and not t.margin)
                                    for v, t in zip(decide(tests), tests, strict=True)))  # fmt: skip
                    alone.append(min(false) <= 0.05)
                    rivals = x[:, 1:3] if kind == "mixed" else x[:, 1:]
                    best.append(bool((rivals.max(axis=0) > x[:, 0].max()).any()))
                row += [float(np.mean(ours)), float(np.mean(alone))]
                if kind != "matches":
                    row.append(float(np.mean(best)))
            rows.append(row)
    heads = ["5 mixed claims", "uncorrected", "best trial wins", "6 directional", "uncorrected", "best trial wins"]
    return table(["runs from", "n", *heads, "4 matches", "uncorrected"], rows)


def power(g: np.random.Generator, samples: int) -> str:
    """Share decided correctly, by the true difference in sd of the paired differences; alone and first of 5 claims."""
    rows = []
    for name in ("normal", "lognormal(1)"):
        for n in RUNS:
            row: list[object] = [name, n]
            for effect in (0.5, 1.0, 2.0):
                a, b = noise(name, g, (2, n, samples))
                made = paired_difference(a + effect * 2**0.5, b)
                row += [float(((made.p <= alpha) & (made.value > 0)).mean()) for alpha in (0.05, 0.01)]
            few = samples // 10
            x, y = noise(name, g, (2, n, few)) / 2**0.5
            for d in (1.0, 2.0):
                row.append(float(np.mean([no_difference(x[:, i], y[:, i], d).p_supports <= 0.05 for i in range(few)])))
            z = noise(name, g, (n, few))
            for d in (1.0, 2.0, 4.0):
                row.append(float(np.mean([matches(z[:, i], 0.0, d).p_supports <= 0.05 for i in range(few)])))
            rows.append(row)
    heads = [f"beats, {e} sd, {kind}" for e in (0.5, 1, 2) for kind in ("alone", "of 5")]
    heads += [f"no difference beyond {d} sd" for d in (1, 2)] + [f"matches within {d} sd" for d in (1, 2, 4)]
    return table(["runs from", "n", *heads], rows)


def pilot(runs: int, effect: float) -> np.ndarray:
    """Return two cells (runs, 2) of equal spread whose differences have exactly this mean and sd 1."""
    z = np.linspace(-1.0, 1.0, runs)
    z = z / z.std(ddof=1)
    return np.stack([z / 2 + effect, -z / 2], axis=1)


def plans(g: np.random.Generator, samples: int) -> str:
    """Seeds needed in all if 5 seeds showed exactly the truth, and the power that they have (0.8 is intended)."""
    cases = {
        "beats, true difference 0.7 sd": (0.7, beats),
        "beats, true difference 1 sd": (1.0, beats),
        "beats, true difference 1.4 sd": (1.4, beats),
        "no difference beyond 1 sd, truly 0": (0.0, partial(no_difference, within=1.0)),
        "no difference beyond 1 sd, truly 0.3 sd": (0.3, partial(no_difference, within=1.0)),
        "no difference beyond 0.5 sd, truly 1.5 sd": (1.5, partial(no_difference, within=0.5)),
        "matches within 1 sd, truly off by 0.2 sd": (0.2, lambda a, b: matches(a - b, 0.0, 1.0)),
    }
    rows = []
    for case, (effect, claim) in cases.items():
        for alpha in (0.05, 0.01):
            first = pilot(5, effect)
            more = seeds_to_decide(claim(first[:, 0], first[:, 1]), alpha)
            if more is None:
                rows.append([case, alpha, "none", ""])
                continue
            a, b = g.normal(size=(2, 5 + more, samples)) / 2**0.5
            tests = [claim(a[:, i] + effect, b[:, i]) for i in range(samples)]
            decided = np.mean([min(t.p_supports, t.p_contradicts) <= alpha for t in tests])
            rows.append([case, alpha, 5 + more, float(decided)])
    return table(["claim", "alpha", "seeds in all", "decided"], rows)


def second_looks(g: np.random.Generator, ablations: int) -> str:
    """One claim "A beats B" at 5 seeds. If it is undecided, add the seeds that its verdict names, once."""
    rows = []
    for name in ("normal", "lognormal(1)"):
        for alpha in (0.05, 0.025, 0.01):
            for effect in (0.0, 0.5, 1.0, 1.5, 2.0):
                more: list[int] = []
                first = later = hopeless = 0
                for _ in range(ablations):
                    a, b = noise(name, g, (2, 105)) / 2**0.5
                    a = a + effect
                    verdict = decide([beats(a[:5], b[:5])], alpha)[0]
                    first += verdict.verdict != "undecided"
                    hopeless += verdict.needed_more_seeds is None
                    if verdict.needed_more_seeds:
                        more.append(verdict.needed_more_seeds)
                        n = 5 + more[-1]
                        later += decide([beats(a[:n], b[:n])], alpha)[0].verdict != "undecided"
                shares = [first / ablations, hopeless / ablations, later / len(more), (first + later) / ablations]
                median = float(np.median(more))
                rows.append([name, alpha, effect, *shares[:2], f"{median:.0f}", *shares[2:]])
    heads = [
        "decided at 5",
        "more than 100 needed",
        "median of seeds added",
        "of those, decided then",
        "decided in all",
    ]
    return table(["runs from", "alpha", "true difference, sd", *heads], rows)


TEXT = """# Statistics

Written by `python -m benchmarks.statistics`; do not edit. All runs are simulated, so their truth is known.

## 95% intervals of a mean: coverage (median width over Student's)
`printed` is `mean_interval`: Student's t, with each side stretched if the sample is skewed towards it. From 4 runs on
it covers at least 93% for the first four distributions. With fewer runs estimates carry a warning, and no claim is
decided on them. No interval can cover a rare failure that the sample does not contain (last rows). Sources: Johnson
1978, Hall 1992, BCa Efron 1987. Anderson 1969 is guaranteed for values in [0, 1], but more than 8 times as wide as
Student's for accuracies near 1.

{means}

## 95% intervals of a difference: coverage
B spreads as much as A, half, a third or a tenth as much. If a knob does nothing, the spreads are equal, the differences
are symmetric, and t covers for any metric. **If a strongly skewed metric (lognormal, Beta) spreads 2 or more times
differently in the two cells, coverage falls below 93%**: 5 seeds can hardly distinguish this case from the first one.
If the observed spreads differ 3 times, the interval is stretched like that of a mean.

{differences}

## 95% intervals of slopes, main effects and interactions: coverage
Factor F has L levels, factor G has 2, and all cells are alike. The interval of one level against 3 or more others is
stretched.

{effects}

## False verdicts: share of null ablations with at least one
All cells share the effect of the seed. *5 mixed claims*: two "beats", one "falls", one "matches", one "no difference";
for the last two the truth lies just outside the tolerance. *4 matches*: independent skewed cells, on the side on which
they mislead more. *Uncorrected*: every claim at .05 by itself. *Best trial wins*: some cell's best run beats the
baseline's best.

{false_positives}

## Power: share decided correctly
`beats`: differences of 0.5, 1 and 2 sd *of the paired differences*, alone (.05) and as the first of 5 claims under Holm
(.01). `no difference`: the true difference is 0; the tolerance is in sd of the paired differences. `matches`: the truth
equals the reference; the tolerance is in sd of the runs.

{power}

## Why a slope per seed decides "falls with F"
Power at 5 seeds; the rows "none" are false positives. Ranks tie if there are few levels and seeds, and then reject too
often.

{trend_choices}

## More seeds: power of the recommended numbers
If the 5 seeds show exactly the truth, the recommended number of seeds gives the intended power:

{plans}

In practice 5 seeds do not show exactly the truth, only undecided claims need more seeds, and adding seeds is a second
look. At a true difference of 0, "decided in all" is the false-positive rate of both looks together. Half of alpha for
each of the two looks keeps it at alpha.

{second_looks}
"""


def report() -> str:
    """Simulate intervals and claims, and return the page."""
    sections = {
        "means": (means, 40_000),
        "differences": (differences, 40_000),
        "effects": (effects, 20_000),
        "false_positives": (false_positives, 1_000),
        "power": (power, 20_000),
        "trend_choices": (trend_choices, 20_000),
        "plans": (plans, 4_000),
        "second_looks": (second_looks, 1_500),
    }
    filled = {}
    for number, (name, (measure, size)) in enumerate(sections.items()):
        filled[name] = measure(np.random.default_rng(number), size)
    return TEXT.format(**filled)


def main() -> None:
    """Write the pages that are named as arguments, or all."""
    pages = {"statistics": report, "tuned": tuned.report, "real_nulls": real_nulls.report}
    for name in sys.argv[1:] or pages:
        start = time.perf_counter()
        out = Path(__file__).parent / "results" / f"{name}.md"
        out.parent.mkdir(exist_ok=True)
        out.write_text(pages[name]())
        print(f"{name}: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
