"""Optimizer steps to a target: the shipped study's search (TPE, median pruning, lag 4) against random search.

The trials are those of `knobs study mnist1d_mlp --seed S`, and of the same with `--sampler random --pruner none`:
suggested by `knobs.search` and trained by `knobs.training`, without a store. The random searches of the first seeds
form a pool. Those of the other seeds are drawn from the pool without replacement. `steps_to_target.csv` keeps every
trial of every finished search, so an interrupted benchmark continues with the next search. Only steps count, so other
load does no harm.
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

from benchmarks.speed import target_counts
from benchmarks.speed.measuring import RESULTS, ROOT, SINGLE
from benchmarks.speed.target_counts import ARMS, Ended, best, steps_to, tables

__all__ = ["measure", "tables"]

NAME = os.environ.get("BENCH_SEARCH_STUDY", "mnist1d_mlp")
SEEDS = int(os.environ.get("BENCH_SEARCH_SEEDS", "20"))
TRIALS = int(os.environ.get("BENCH_SEARCH_TRIALS", "60"))
"""Trials of a random search, each trained to its end."""
POOL = int(os.environ.get("BENCH_SEARCH_POOL", "5"))
"""Seeds whose random searches are trained. The other seeds draw theirs from these trials."""
PROCESSES = int(os.environ.get("BENCH_SEARCH_PROCESSES", "2"))
CSV = Path(os.environ.get("BENCH_SEARCH_CSV", RESULTS / "steps_to_target.csv"))


class Channel:
    """A channel that passes values to the pruner and keeps a trial's last step."""

    stopping = False

    def __init__(self, trial: Any) -> None:
        self.trial, self.step = trial, 0

    def saving(self, size: int) -> None:
        """Never called: nothing stops these trainings."""

    def record(self, point: Any) -> None:
        """Keep the step."""
        self.step = point.step

    def should_continue(self, step: int, value: float) -> bool:
        """Return whether the pruner lets the trial continue."""
        return bool(self.trial.report(step, value))


def train(arm: str, seed: int, cache: Path, **changes: Any) -> Iterator[Ended]:
    """Yield the trials of one search without end. `changes` replace fields of the study."""
    import torch
    from optuna.trial import TrialState

    from knobs import Study, discover
    from knobs.data import prepare
    from knobs.search import Search
    from knobs.training import TrainJob
    from knobs.training.run import run_job

    discover.activate(ROOT)
    found = discover.the_one(discover.load("studies", NAME), Study)
    changes |= {"sampler": "random", "pruner": "none"} if arm == "random" else {}
    study = replace(found, seed=seed, **changes)
    search, number = Search(study, NAME), 0
    fingerprint = prepare(study.baseline.data, cache)
    while True:
        trial = search.ask(number)
        channel = Channel(trial)
        with tempfile.TemporaryDirectory() as folder:
            job = TrainJob(
                run="t",
                config=trial.config.to_json(),
                folder=Path(folder),
                cache=cache,
                fingerprint=fingerprint,
                pruning_metric=study.metric,
            )
            outcome = run_job(job, channel, torch.device("cpu"))
        if outcome.state not in ("finished", "pruned", "diverged"):
            raise SystemExit(f"trial {number} of {arm} {seed} {outcome.state}: {outcome.message}\n{outcome.log}")
        state = TrialState.COMPLETE if outcome.state == "finished" else TrialState.PRUNED
        value = outcome.summary.get(f"best/{study.metric}") if outcome.state == "finished" else None
        search.history[number] = trial.ended(state, value, trained=outcome.state != "diverged")
        yield Ended(channel.step, value)
        number += 1


def searched(arm: str, seed: int, target: float, cache: Path) -> list[Ended]:
    """Return a random search of `TRIALS` trials, or a TPE search until it reaches the target or random's steps."""
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
    """Return the steps of a trial that is trained to its end."""
    from knobs import Study, discover

    discover.activate(ROOT)
    return discover.the_one(discover.load("studies", NAME), Study).baseline.training.max_steps


def both(seed: int, folder: str, pool: list[Ended]) -> tuple[int, dict[str, list[Ended]]]:
    """Return both searches of a seed. Draw the random one from the pool if there is one."""
    cache = Path(folder)
    found = {"random": drawn(seed, pool) if pool else searched("random", seed, 0.0, cache)}
    found["tpe"] = searched("tpe", seed, best(found["random"]), cache)
    return seed, found


def drawn(seed: int, pool: list[Ended]) -> list[Ended]:
    """Draw a random search from the pool: the baseline, which begins each search, and other trials."""
    others = [trial for place, trial in enumerate(pool) if place % TRIALS]
    return [pool[0], *random.Random(seed).sample(others, TRIALS - 1)]


def read() -> dict[int, dict[str, list[Ended]]]:
    """Return the searches that `steps_to_target.csv` holds, by seed and arm."""
    found: dict[int, dict[str, list[Ended]]] = {}
    if CSV.exists():
        with CSV.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                value = float(row["value"]) if row["value"] else None
                trials = found.setdefault(int(row["seed"]), {arm: [] for arm in ARMS})[row["arm"]]
                trials.append(Ended(int(row["steps"]), value))
    return found


def write(found: dict[int, dict[str, list[Ended]]]) -> None:
    """Write all searches to a temporary file and rename it, so that an interruption keeps the old file."""
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
    """Train the missing searches and return the counts."""
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
        "seeds": target_counts.counts(found, min(POOL, SEEDS)),
    }
