"""(f) Optimizer steps to a target: the shipped study's search (TPE, median pruning, lag 4) against random search.

The trials are those of `knobs study mnist1d_mlp --seed S`, and of the same with `--sampler random --pruner none`: asked
by `knobs.study`, trained by `knobs.runner`, here without a store. The random searches of the first seeds are a pool,
from which those of the others are drawn without replacement. `search.csv` keeps every trial of every finished search,
so an interrupted benchmark goes on with the next one. Only steps are counted: other load does no harm.
"""

from __future__ import annotations

import csv
import os
import random
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks import search_counts
from benchmarks.measuring import RESULTS, ROOT, SINGLE
from benchmarks.search_counts import ARMS, Ended, best, steps_to, tables

__all__ = ["measure", "tables"]

NAME = os.environ.get("BENCH_SEARCH_STUDY", "mnist1d_mlp")
SEEDS = int(os.environ.get("BENCH_SEARCH_SEEDS", "20"))
TRIALS = int(os.environ.get("BENCH_SEARCH_TRIALS", "60"))
"""Of a random search, each trained to its end."""
POOL = int(os.environ.get("BENCH_SEARCH_POOL", "5"))
"""Seeds whose random searches are trained; the others draw theirs from these trials."""
PROCESSES = int(os.environ.get("BENCH_SEARCH_PROCESSES", "2"))
CSV = Path(os.environ.get("BENCH_SEARCH_CSV", RESULTS / "search.csv"))


class Channel:
    """Lets the pruner answer, and remembers how far a trial came."""

    stopping = False

    def __init__(self, asked: Any) -> None:
        self.asked, self.step = asked, 0

    def record(self, record: Any) -> None:
        """Remember the step."""
        self.step = record.step

    def goes_on(self, step: int, value: float) -> bool:
        """What the driver would answer."""
        return bool(self.asked.report(step, value))


def train(arm: str, seed: int, cache: Path, **changes: Any) -> Iterator[Ended]:
    """The trials of one search, without end; `changes` to the study are for trying others."""
    import torch
    from optuna.trial import TrialState

    from knobs import data, discover, runner
    from knobs.job import Job
    from knobs.study import Search, Study

    discover.activate(ROOT)
    found = discover.the_one(discover.load("studies", NAME), Study)
    changes |= {"sampler": "random", "pruner": "none"} if arm == "random" else {}
    study = replace(found, seed=seed, **changes)
    search, number = Search(study, NAME), 0
    fingerprint = data.prepare(study.baseline.data, cache)
    while True:
        asked = search.ask(number)
        channel = Channel(asked)
        with tempfile.TemporaryDirectory() as folder:
            config = asked.config.to_json()
            job = Job(
                run="t", config=config, folder=Path(folder), cache=cache, fingerprint=fingerprint, asks=study.metric
            )
            outcome = runner.run(job, channel, torch.device("cpu"))
        if outcome.state not in ("finished", "pruned", "diverged"):
            raise SystemExit(f"trial {number} of {arm} {seed} {outcome.state}: {outcome.message}\n{outcome.log}")
        state = TrialState.COMPLETE if outcome.state == "finished" else TrialState.PRUNED
        value = outcome.summary.get(f"best/{study.metric}") if outcome.state == "finished" else None
        told = asked.trial.study.get_trials(deepcopy=False)[number].intermediate_values
        search.history[number] = asked.frozen(state, value, outcome.state != "diverged", told)
        yield Ended(channel.step, value)
        number += 1


def searched(arm: str, seed: int, target: float, cache: Path) -> list[Ended]:
    """A random search of `TRIALS`; or TPE until it has the target, at most for all of random's steps."""
    ended: list[Ended] = []
    for trial in train(arm, seed, cache):
        ended.append(trial)
        if arm == "random" and len(ended) == TRIALS:
            break
        spent = sum(t.steps for t in ended)
        if arm == "tpe" and (spent >= TRIALS * full_steps() or steps_to(ended, target) is not None):
            break
    return ended


def full_steps() -> int:
    """Of a trial that is trained to its end."""
    from knobs import discover
    from knobs.study import Study

    discover.activate(ROOT)
    return discover.the_one(discover.load("studies", NAME), Study).baseline.training.max_steps


def both(seed: int, folder: str, pool: list[Ended]) -> tuple[int, dict[str, list[Ended]]]:
    """Both searches of a seed, in a process of its own; the random one from the pool, where there is one."""
    cache = Path(folder)
    found = {"random": drawn(seed, pool) if pool else searched("random", seed, 0.0, cache)}
    found["tpe"] = searched("tpe", seed, best(found["random"]), cache)
    return seed, found


def drawn(seed: int, pool: list[Ended]) -> list[Ended]:
    """A random search: the baseline, which begins each of the pool's, and others of its trials."""
    others = [trial for place, trial in enumerate(pool) if place % TRIALS]
    return [pool[0], *random.Random(seed).sample(others, TRIALS - 1)]


def read() -> dict[int, dict[str, list[Ended]]]:
    """The searches that `search.csv` has, by seed and arm."""
    found: dict[int, dict[str, list[Ended]]] = {}
    if CSV.exists():
        with CSV.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                value = float(row["value"]) if row["value"] else None
                trials = found.setdefault(int(row["seed"]), {arm: [] for arm in ARMS})[row["arm"]]
                trials.append(Ended(int(row["steps"]), value))
    return found


def write(found: dict[int, dict[str, list[Ended]]]) -> None:
    """Whole, then renamed: an interruption leaves what was there."""
    rows = [
        [seed, arm, number, trial.steps, "" if trial.value is None else f"{trial.value:.6g}"]
        for seed in sorted(found)
        for arm in ARMS
        for number, trial in enumerate(found[seed][arm])
    ]
    CSV.parent.mkdir(parents=True, exist_ok=True)
    temporary = CSV.with_suffix(".new")
    with temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([["seed", "arm", "trial", "steps", "value"], *rows])
    temporary.replace(CSV)


def measure(_folder: Path) -> dict[str, Any]:
    """Train what is missing; then the counts."""
    found = read()
    os.environ.update(SINGLE)
    with (
        tempfile.TemporaryDirectory() as folder,
        ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as processes,
    ):
        for seeds in (range(POOL), range(POOL, SEEDS)):
            pool = [trial for seed in range(POOL) for trial in found[seed]["random"]] if seeds.start else []
            missing = [seed for seed in seeds if seed not in found]
            for future in as_completed([processes.submit(both, seed, folder, pool) for seed in missing]):
                seed, trials = future.result()
                found[seed] = trials
                write(found)
                hit, spent = (steps_to(trials[arm], best(trials["random"])) for arm in ("random", "tpe"))
                print(f"seed {seed}: {best(trials['random'])} by random in {hit} steps, TPE in {spent}", flush=True)
    return {
        "study": NAME,
        "trials": TRIALS,
        "pool": min(POOL, SEEDS),
        "full": full_steps(),
        "seeds": search_counts.counts(found, min(POOL, SEEDS)),
    }
