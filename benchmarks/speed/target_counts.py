"""Counts and tables for `steps_to_target`, from the trials of its searches."""

from __future__ import annotations

import random
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

ARMS = ("random", "tpe")
DRAWS = 2000
"""Random searches that are drawn for each target."""


@dataclass(frozen=True)
class Ended:
    """A trial's optimizer steps, and the study's metric at its checkpoint; None if it was pruned or diverged."""

    steps: int
    value: float | None


def reaches(trial: Ended, target: float) -> bool:
    """Return whether a trial was trained to its end and is at least as good as the target."""
    return trial.value is not None and trial.value >= target


def steps_to(trials: list[Ended], target: float) -> int | None:
    """Return the steps until the end of the first trial that reaches the target, or None if no trial does."""
    for trial, spent in zip(trials, accumulate(t.steps for t in trials), strict=True):
        if reaches(trial, target):
            return spent
    return None


def best(trials: list[Ended]) -> float:
    """Return the greatest value of all trials."""
    return max(t.value for t in trials if t.value is not None)


def counts(found: Mapping[int, Mapping[str, list[Ended]]], pool: int) -> list[dict[str, Any]]:
    """Return each seed's target and the steps of TPE, of the seed's random search and of fresh random ones to it.

    The random searches of the first `pool` seeds hold every random trial that was trained.
    """
    trained = [trial for seed in range(pool) for trial in found[seed]["random"][1:]]
    rows: list[dict[str, Any]] = []
    for seed, arms in sorted(found.items()):
        target = best(arms["random"])
        until = arms["tpe"][: 1 + next((i for i, t in enumerate(arms["tpe"]) if reaches(t, target)), len(arms["tpe"]))]
        row = {
            "seed": seed,
            "target": target,
            "tpe": steps_to(arms["tpe"], target),
            "tpe trials": len(until),
            "tpe pruned": sum(t.value is None for t in until),
            "random hit": steps_to(arms["random"], target),
            "fresh": fresh(trained, target),
        }
        rows.append(row)
    return rows


def fresh(trained: list[Ended], target: float) -> float:
    """Return the median steps to the target of random searches that are drawn from these trials with replacement."""
    chance, taken = random.Random(0), []
    for _ in range(DRAWS):
        spent, reached = 0, False
        while not reached:
            trial = chance.choice(trained)
            spent += trial.steps
            reached = reaches(trial, target)
        taken.append(spent)
    return statistics.median(taken)


def tables(found: dict[str, Any]) -> list[str]:
    """Return the lines of this section."""
    seeds, full = found["seeds"], found["trials"] * found["full"]
    never = 2 * full
    tpe = [seed["tpe"] or never for seed in seeds]
    hits = [seed["random hit"] for seed in seeds]
    drawn = [seed["fresh"] for seed in seeds]
    pruned = sum(seed["tpe pruned"] for seed in seeds) / sum(seed["tpe trials"] for seed in seeds)

    def row(name: str, values: list[float], to: list[float]) -> str:
        low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
        ratio = statistics.median(a / b for a, b in zip(values, to, strict=True))
        return f"| {name} | {middle:,.0f} | {low:,.0f} to {high:,.0f} | {ratio:.2f} |"

    whole = [float(full)] * len(seeds)
    beaten = sum(t < h for t, h in zip(tpe, hits, strict=True))
    return [
        "## Optimizer steps to a target",
        "",
        f"`{found['study']}`, {len(seeds)} study seeds. A seed's target is the best validation accuracy of its"
        f" {found['trials']} random trials, each trained to its {found['full']} steps without pruning ({full:,} in all;"
        f" median target {statistics.median(s['target'] for s in seeds):.3f}). The random searches of {found['pool']}"
        " seeds were trained. Those of the other seeds are drawn from these trials without replacement, so they are not"
        " independent. Trial 0 is the baseline in both searches. The shipped search (TPE, median pruning, lag 4)"
        " reaches the target when a trial that was trained to its end is as good. The steps of all trials up to that"
        " one count, those of pruned and diverged trials included.",
        "",
        "| search | steps, median over seeds | quartiles | ratio to the whole random search, median |",
        "| --- | --- | --- | --- |",
        row("TPE, median pruning", tpe, whole),
        row("random, until it has its own best (known only afterwards)", hits, whole),
        row("a fresh random search (median of many, drawn with replacement)", drawn, whole),
        "",
        f"TPE reached the target within {full:,} steps for {sum(t < never for t in tpe)} of {len(seeds)} seeds, before"
        f" the random search itself for {beaten}. Median ratio of TPE's steps to those until the random"
        f" search's own best: {statistics.median(t / h for t, h in zip(tpe, hits, strict=True)):.2f}; to a fresh random"
        f" search's median: {statistics.median(t / f for t, f in zip(tpe, drawn, strict=True)):.2f}. {pruned:.0%} of"
        " TPE's trials were pruned or diverged. Goal: at most half of random search's steps.",
    ]
