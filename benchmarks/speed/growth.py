"""Growth of cost with the size of a run, the number of trials, reports and stored runs; and memory."""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.speed.growth_sizes import SIZES
from benchmarks.speed.measuring import KNOBS, ROOT, SINGLE, children, cpu_seconds, resident_mib

TRIALS = int(os.environ.get("BENCH_GROWTH_TRIALS", "1000"))
STORED = tuple(int(n) for n in os.environ.get("BENCH_GROWTH_STORED", "10,100,1000,10000").split(","))
FURTHER = int(os.environ.get("BENCH_GROWTH_FURTHER", "40"))
"""Trials of a study in a store that holds many runs already."""
STEPS = 70
STUDY = f'''"""Short trials whose cost does not depend on their knobs, so only the harness's cost can grow."""
from datamodules.mnist1d import MNIST1D
from knobs import RunConfig, Study, Training
from models.mlp import MLP
from optimizers.adamw import AdamW
from schedules.cosine import Cosine


def space(trial, baseline):
    """Five knobs."""
    return baseline.with_knobs({{
        "optimizer.lr": trial.suggest_float("optimizer.lr", 1e-4, 1e-2, log=True),
        "optimizer.weight_decay": trial.suggest_float("optimizer.weight_decay", 1e-4, 1e-1, log=True),
        "objective.label_smoothing": trial.suggest_float("objective.label_smoothing", 0.0, 0.2),
        "model.activation": trial.suggest_categorical("model.activation", ["relu", "tanh"]),
        "schedule.kind": trial.suggest_categorical("schedule.kind", ["constant", "cosine", "one_cycle"]),
    }})


study = Study(
    baseline=RunConfig(model=MLP(depth=2, width=64), data=MNIST1D(), optimizer=AdamW(lr=3e-3, weight_decay=0.01),
                       schedule=Cosine(), training=Training(max_steps={STEPS})),
    space=space, metric="val/accuracy", direction="maximize", pruner="none",
)
'''
ENDED = re.compile(r"^  t\d+ .* (finished|pruned|diverged|reused)\b")
"""The line that a driver prints for a trial that ended."""
KINDS = ("driver", "worker", "wall")


@dataclass(frozen=True)
class Seen:
    """CPU seconds, wall seconds and resident MiB of driver and worker when `trials` trials had ended."""

    trials: int
    driver: float
    worker: float
    wall: float
    driver_mib: float
    worker_mib: float


def study(store: Path, name: str, trials: int, every: int) -> list[Seen]:
    """Run a study of short trials on one worker. Return its costs after each trial."""
    home = store.parent / "project"
    (home / "studies").mkdir(parents=True, exist_ok=True)
    (home / "studies" / "short.py").write_text(STUDY)
    command = [*KNOBS, "study", "short", "--as", name, "--trials", str(trials), "--devices", "cpu:1"]
    command += ["--training.val_every", str(every)]
    environment = {**os.environ, **SINGLE, "KNOBS_MLRUNS": str(store), "COLUMNS": "200"}
    began, seen = time.perf_counter(), list[Seen]()
    with subprocess.Popen(command, cwd=home, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if not ENDED.match(line):
                continue
            driver, (worker, *_) = process.pid, children(process.pid)
            wall = time.perf_counter() - began
            costs = (cpu_seconds(driver), cpu_seconds(worker), wall, resident_mib(driver), resident_mib(worker))
            seen.append(Seen(len(seen) + 1, *costs))
    if process.returncode or len(seen) < trials:
        raise SystemExit(f"{' '.join(command)}: {len(seen)} of {trials} trials, exit code {process.returncode}")
    return seen


def per_trial(seen: list[Seen], first: int, last: int) -> dict[str, float]:
    """Return the mean cost of the trials after the `first` up to the `last`, in milliseconds."""
    a, b = seen[first - 1], seen[last - 1]
    return {kind: (getattr(b, kind) - getattr(a, kind)) / (b.trials - a.trials) * 1000 for kind in KINDS}


def sizes(folder: Path) -> list[dict[str, Any]]:
    """Run `benchmarks.speed.growth_sizes` and return its numbers."""
    out = folder / "sizes.json"
    command = [sys.executable, "-m", "benchmarks.speed.growth_sizes", str(folder / "sizes"), str(out)]
    subprocess.run(command, cwd=ROOT, env={**os.environ, **SINGLE}, check=True, stdout=subprocess.DEVNULL)
    found: list[dict[str, Any]] = json.loads(out.read_text())
    return found


def stored(folder: Path, runs: int) -> dict[str, float]:
    """Return the cost of a further study in a store that holds so many runs."""
    store = folder / f"store-{runs}"
    environment = {**os.environ, **SINGLE, "BENCH_RUNS": str(runs)}
    code = "from benchmarks.speed import big_store; import sys; big_store.make_only(sys.argv[1])"
    subprocess.run([sys.executable, "-c", code, str(store)], cwd=ROOT, env=environment, check=True)
    seen = study(store, "further", FURTHER, STEPS // 10)
    first = {f"first {kind}": getattr(seen[0], kind) for kind in KINDS}
    return {"runs": runs, **per_trial(seen, FURTHER // 4, FURTHER), **first}


def measure(folder: Path) -> dict[str, Any]:
    """Measure runs of growing size, a thousand trials, reports and stores."""
    found: dict[str, Any] = {"sizes": sizes(folder), "steps": STEPS, "further": FURTHER}
    print("sizes of runs: done", flush=True)
    study(folder / "trials", "before", 2, 5)  # warms store, prepared data and caches; its trials do not recur
    often, seldom = (per_trial(study(folder / "trials", f"every-{n}", FURTHER, n), 10, FURTHER) for n in (1, 35))
    reports = STEPS // 1 - STEPS // 35
    found["report"] = {kind: (often[kind] - seldom[kind]) / reports for kind in KINDS}
    print(f"milliseconds of a report: {found['report']}", flush=True)
    seen = study(folder / "trials", "trials", TRIALS, 7)
    marks = [*sorted({round(10 ** (k / 8)) for k in range(33)} & set(range(1, TRIALS))), TRIALS]
    found["trials"] = [vars(seen[n - 1]) for n in marks]
    print(f"{TRIALS} trials: {seen[-1]}", flush=True)
    found["stored"] = []
    for runs in STORED:
        found["stored"].append(stored(folder, runs))
        print(f"store: {found['stored'][-1]}", flush=True)
    return found


def slope(sizes: list[float], costs: list[float]) -> float:
    """Return the least-squares slope of log cost over log size; 1 means linear."""
    return float(np.polyfit(np.log(sizes), np.log(costs), 1)[0])


def shown(value: float) -> str:
    """Return a number as text with three digits; a number of 100 or more with all of its digits."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def size_rows(found: dict[str, Any]) -> list[str]:
    """Return one row per axis: cost at both ends, growth of knobs and of the loop, and their ratio."""
    rows = []
    for axis in SIZES:
        runs = [run for run in found["sizes"] if run["axis"] == axis]
        if axis == "steps":
            ours = [run["driver"] + run["worker"] for run in runs]
            loop, unit = [run["loop"] for run in runs], "ms a run"
        else:
            ours = [run["worker"] / run["steps"] for run in runs]
            loop, unit = [run["loop"] / run["steps"] for run in runs], "ms a step"
        x = [run["steps"] if axis == "steps" else run["size"] for run in runs]
        upper = len(x) // 2
        grows = [slope(x[upper:], costs[upper:]) for costs in (ours, loop)]
        ends = [f"{shown(costs[0] * 1000)} to {shown(costs[-1] * 1000)}" for costs in (ours, loop)]
        ratio = statistics.median(a / b for a, b in zip(ours[upper:], loop[upper:], strict=True))
        rows.append(
            f"| {axis} {x[0]} to {x[-1]}, {unit} | {ends[0]} | {ends[1]} | {grows[0]:.2f} | {grows[1]:.2f}"
            f" | {ratio:.2f} |"
        )
    return rows


def spans(seen: list[Seen]) -> list[tuple[int, int]]:
    """Return the first and last trial of each decade that the study reached."""
    last = seen[-1].trials
    marks = [s.trials for s in seen]
    edges = [1, *(n for n in (10, 100, 1000) if n in marks and n < last), last]
    return list(pairwise(edges))


def trial_rows(seen: list[Seen]) -> tuple[list[str], float, float]:
    """Return one row per decade, the cost of a trial in the last over that in the first, and the slope of all cost."""
    at = {s.trials: s for s in seen}
    rows, costs = [], []
    for a, b in spans(seen):
        each = {kind: (getattr(at[b], kind) - getattr(at[a], kind)) / (b - a) * 1000 for kind in KINDS}
        costs.append(each["driver"] + each["worker"])
        cells = [*(f"{each[kind]:.0f}" for kind in KINDS), f"{at[b].driver_mib:.0f}", f"{at[b].worker_mib:.0f}"]
        rows.append(f"| {a + 1} to {b} | {' | '.join(cells)} |")
    start = seen[0]
    fit = [s for s in seen if s.trials >= 10]
    total = [s.driver + s.worker - start.driver - start.worker for s in fit]
    return rows, costs[-1] / costs[0], slope([s.trials - 1 for s in fit], total)


def tables(found: dict[str, Any]) -> list[str]:
    """Return the lines of this section."""
    seen = [Seen(**row) for row in found["trials"]]
    rows, ratio, grows = trial_rows(seen)
    hundred = next((s for s in seen if s.trials == 100), seen[0])
    further = found["stored"]
    dearer = (further[-1]["driver"] + further[-1]["worker"]) / (further[0]["driver"] + further[0]["worker"])
    return [
        "## Growth of cost",
        "",
        "CPU time of runs of growing size with everything recorded, beside the hand-written loop on the same network."
        " Growth is the slope of log cost over log size in the upper half of the sizes. A slope of 1 is linear growth;"
        " the number of weights grows with the square of the width, and a slope above 1 of the loop comes from torch's"
        " kernels. The ratio is the median of the cost of `knobs` over that of the loop in that half.",
        "",
        "| | `knobs` | loop | growth of `knobs` | growth of the loop | ratio |",
        "| --- | --- | --- | --- | --- | --- |",
        *size_rows(found),
        "",
        f"A study of {seen[-1].trials} trials of {found['steps']} steps and 10 reports each (TPE over five knobs that"
        " do not change the cost of a trial, no pruning, 1 worker, existing store). Milliseconds per trial; MiB after"
        " the last trial of the row.",
        "",
        "| trials | driver's CPU | worker's CPU | wall | driver MiB | worker MiB |",
        "| --- | --- | --- | --- | --- | --- |",
        *rows,
        "",
        f"Growth of all CPU time over trials: {grows:.2f}; a trial of the last row costs {ratio:.2f} times one of the"
        f" first. From trial {hundred.trials} to {seen[-1].trials} the worker grows by"
        f" {seen[-1].worker_mib - hundred.worker_mib:+.1f} MiB, and the driver, which knows all trials, by"
        f" {seen[-1].driver_mib - hundred.driver_mib:+.1f}. One more report in a trial costs the driver"
        f" {found['report']['driver']:.2f} ms of CPU, the worker {found['report']['worker']:.2f} (its validation"
        f" included), and {found['report']['wall']:.2f} ms of wall.",
        "",
        f"A further study of {found['further']} such trials in a store that holds runs already. Milliseconds per"
        " trial, and seconds until the first trial has ended (start-up included).",
        "",
        "| runs in the store | driver's CPU | worker's CPU | wall | first trial: driver's CPU, s | wall, s |",
        "| --- | --- | --- | --- | --- | --- |",
        *(
            f"| {row['runs']} | {row['driver']:.0f} | {row['worker']:.0f} | {row['wall']:.0f}"
            f" | {row['first driver']:.1f} | {row['first wall']:.1f} |"
            for row in further
        ),
        "",
        f"With {further[-1]['runs']} runs in the store a trial costs {dearer:.2f} times what it costs with"
        f" {further[0]['runs']}.",
    ]
