"""CPU time of an optimizer step with everything recorded, against a hand-written loop and plain Lightning."""

from __future__ import annotations

import os
import statistics
import sys
from pathlib import Path
from typing import Any

from benchmarks.speed.measuring import KNOBS, REPEATS, spread, time_command

FEW, MANY = (int(text) for text in os.environ.get("BENCH_STEPS", "400,6400").split(","))
"""Steps of the short and the long run of each pair. Their difference excludes the start-up."""

SEEDS = 5
RUN = [*KNOBS, "run", "mnist1d_mlp", "--devices", "cpu:1", "--model.width", "100", "--optimizer.lr", "0.003", "--fresh"]

ABLATION = '''"""One trial and {seeds} seeds in each of two equal cells: the seeds are measured."""
import os

from datamodules.mnist1d import MNIST1D
from knobs import Ablation, Factor, RunConfig, Training
from models.mlp import MLP
from optimizers.adamw import AdamW
from schedules.cosine import Cosine


def nuisance(trial, baseline):
    """The rate."""
    return baseline.with_knobs({{"optimizer.lr": trial.suggest_float("optimizer.lr", 1e-3, 1e-2)}})


ablation = Ablation(
    question="What do seeds cost?",
    claim="Little.",
    baseline=RunConfig(model=MLP(depth=2, width=100), data=MNIST1D(), optimizer=AdamW(lr=3e-3, weight_decay=0.01),
                       schedule=Cosine(), training=Training(max_steps=int(os.environ["BENCH_STEPS"]), val_every=35)),
    factors=(Factor.of("model.activation", ["relu", "leaky_relu"]),),
    nuisance=nuisance, metric="val/accuracy", direction="maximize", trials=1, repetitions=1, seeds={seeds},
)
'''

NAMES = {
    "bare": "hand-written loop, nothing recorded",
    "knobs": "`knobs run`, everything recorded",
    "seeds": f"`knobs ablate`, each of {SEEDS} seeds in one batch, everything recorded",
    "lightning": "Lightning, DataLoader, MLFlowLogger",
}


def command(arm: str, steps: int, folder: Path) -> list[str]:
    """Return the command that runs an arm."""
    if arm == "knobs":
        return [*RUN, "--training.max_steps", str(steps)]
    return [sys.executable, "-m", "benchmarks.speed.arms.run", arm, str(steps), str(folder)]


def micros(arm: str, folder: Path) -> float:
    """Return the CPU microseconds of a step: a long run minus a short one."""
    short, _wall = time_command(command(arm, FEW, folder), folder)
    long, _wall = time_command(command(arm, MANY, folder), folder)
    return (long - short) / (MANY - FEW) * 1e6


def seeds_micros(folder: Path, home: Path, repeat: int, run: float) -> float:
    """Return the CPU microseconds of a step of one of five seeds: an ablation's time minus that of its trials.

    A trial is assumed to cost what a run costs (`run` microseconds a step).
    """
    taken = {}
    for steps in (FEW, MANY):
        store = folder / f"seeds-{repeat}-{steps}"
        arguments = [*KNOBS, "ablate", "seeds", "--devices", "cpu:1"]
        taken[steps], _wall = time_command(arguments, store, cwd=home, BENCH_STEPS=str(steps))
    a_cell = (taken[MANY] - taken[FEW]) / (MANY - FEW) * 1e6 / 2
    return (a_cell - run) / SEEDS


def measure(folder: Path) -> dict[str, Any]:
    """Measure all arms side by side. Every second repeat reverses the order and leaves out the two slow arms."""
    home = folder / "project"
    (home / "experiments").mkdir(parents=True)
    (home / "experiments" / "seeds.py").write_text(ABLATION.format(seeds=SEEDS))
    for arm in ("bare", "knobs", "lightning"):  # one warm-up: stores, caches, prepared data
        time_command(command(arm, 100, folder), folder)
    repeats: list[dict[str, float]] = []
    for repeat in range(REPEATS):
        arms = ("bare", "knobs", "lightning") if repeat % 2 == 0 else ("knobs", "bare")
        taken = {arm: micros(arm, folder) for arm in arms}
        if repeat % 2 == 0:
            taken["seeds"] = seeds_micros(folder, home, repeat, taken["knobs"])
        repeats.append(taken)
        print({arm: round(cost) for arm, cost in taken.items()}, flush=True)
    return {"steps": MANY - FEW, "repeats": repeats}


def ratios(found: dict[str, Any], arm: str) -> list[float]:
    """Return the ratios of the arm's cost to the loop's cost in the same repeat."""
    return [taken[arm] / taken["bare"] for taken in found["repeats"] if arm in taken]


def tables(found: dict[str, Any]) -> list[str]:
    """Return the lines of this section."""
    rows = []
    for arm, name in NAMES.items():
        each = [taken[arm] for taken in found["repeats"] if arm in taken]
        rows.append(f"| {name} | {statistics.median(each):.0f} | {spread(ratios(found, arm))} | {len(each)} |")
    return [
        "## CPU time of an optimizer step",
        "",
        "MLP 40-100-100-10, batch 100, AdamW, validation every 35 steps, one thread. User + system time of the process"
        f" tree over {found['steps']} steps (a long run minus a short one). Medians over pairs, whose arms take turns"
        " at being first. Goals: a run costs at most 1.25 times the loop, each of 5 seeds at most 0.75 times.",
        "",
        "| arm | microseconds a step | ratio to the loop, median (range) | pairs |",
        "| --- | --- | --- | --- |",
        *rows,
    ]
