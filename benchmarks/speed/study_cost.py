"""Time of a study of many trials against hand-written ones, and memory of driver and workers."""

from __future__ import annotations

import os
import sqlite3
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.speed.arms.study import STEPS
from benchmarks.speed.measuring import KNOBS, ROOT, SINGLE, STUDY_REPEATS, MemoryPeaks, run_together, spread

TRIALS = int(os.environ.get("BENCH_TRIALS", "40"))

STUDY = f'''"""The network of the comparison, searched over its rate."""
from datamodules.mnist1d import MNIST1D
from knobs import RunConfig, Study, Training
from models.mlp import MLP
from optimizers.adamw import AdamW
from schedules.cosine import Cosine


def space(trial, baseline):
    """The rate."""
    return baseline.with_knobs({{"optimizer.lr": trial.suggest_float("optimizer.lr", 1e-4, 1e-2, log=True)}})


study = Study(
    baseline=RunConfig(model=MLP(depth=2, width=100), data=MNIST1D(), optimizer=AdamW(lr=3e-3, weight_decay=0.01),
                       schedule=Cosine(), training=Training(max_steps={STEPS}, val_every=35)),
    space=space,
    metric="val/accuracy",
    direction="maximize",
    pruner="none",
)
'''


NAMES = {
    "knobs 1": "`knobs study`, 1 worker, everything recorded",
    "knobs 2": "`knobs study`, 2 workers, everything recorded",
    "bare": "2 processes: Optuna around the hand-written loop, no tracking",
    "lightning": "2 processes: Optuna around Lightning, DataLoader, MLFlowLogger",
}

OPTUNA, MLFLOW = "sqlite:///optuna.db", "sqlite:///mlflow.db"
"""Stores in an arm's own folder, as `arms/run.py` and `arms/study.py` open them."""


def project(folder: Path) -> Path:
    """Write a project of its own, so that shipped files cannot change the comparison. Return its folder."""
    (folder / "studies").mkdir(parents=True)
    (folder / "studies" / "bench.py").write_text(STUDY)
    return folder


def knobs(folder: Path, home: Path, workers: int) -> tuple[float, float, dict[str, float]]:
    """Run `knobs study`. Return its wall seconds, those from the first trial's start to the last one's end, and MiB."""
    command = [*KNOBS, "study", "bench", "--trials", str(TRIALS), "--devices", f"cpu:{workers}"]
    environment = {**os.environ, **SINGLE, "KNOBS_MLRUNS": str(folder)}
    began = time.perf_counter()
    with subprocess.Popen(command, cwd=home, env=environment, stdout=subprocess.DEVNULL) as process:
        memory = MemoryPeaks(process.pid)
        if process.wait():
            raise SystemExit(f"{' '.join(command)} failed")
    wall = time.perf_counter() - began
    rows = sqlite3.connect(folder / "mlflow.db").execute(
        "SELECT min(start_time), max(end_time) FROM runs JOIN tags t ON t.run_uuid = runs.run_uuid"
        " AND t.key = 'knobs.kind' AND t.value = 'trial'"
    )
    first, last = rows.fetchone()
    workers_peak = max(peak for pid, peak in memory.peaks.items() if pid != process.pid)
    return wall, (last - first) / 1000, {"driver": memory.peaks[process.pid], "worker": workers_peak}


def by_hand(arm: str, folder: Path) -> tuple[float, float]:
    """Run two processes of an arm on one Optuna store. Return the same two wall seconds."""
    folder.mkdir(parents=True)
    command = [sys.executable, "-m", "benchmarks.speed.arms.study", arm, str(TRIALS), str(folder)]
    made = f"import optuna; optuna.create_study(study_name='bench', direction='maximize', storage={OPTUNA!r})"
    if arm == "lightning":  # two processes that both make MLflow's first store fail
        made += f"; import mlflow; mlflow.set_tracking_uri({MLFLOW!r}); mlflow.set_experiment('bench')"
    subprocess.run([sys.executable, "-c", made], cwd=folder, check=True, capture_output=True)
    outputs, wall = run_together([command, command], PYTHONPATH=str(ROOT))
    spans = [tuple(map(float, line.split()[1:])) for text in outputs for line in text.splitlines() if "took" in line]
    return wall, max(end for _, end in spans) - min(start for start, _ in spans)


def measure(folder: Path) -> dict[str, Any]:
    """Measure all arms. Every second repeat reverses the order; only the first one has Lightning's arm (minutes)."""
    home = project(folder / "project")
    knobs(folder / "existing", home, 2)  # the store, the prepared data, the caches
    repeats: list[dict[str, list[float]]] = []
    memory: list[dict[str, float]] = []
    for repeat in range(STUDY_REPEATS):
        taken: dict[str, list[float]] = {}
        arms = list(NAMES) if repeat == 0 else ["bare", "knobs 2", "knobs 1"][:: 1 if repeat % 2 else -1]
        for name in arms:
            place = folder / f"{name.replace(' ', '')}-{repeat}"
            if name.startswith("knobs"):
                wall, span, peaks = knobs(place, home, int(name[-1]))
                memory += [peaks] if name == "knobs 2" else []
            else:
                wall, span = by_hand(name, place)
            taken[name] = [wall, span]
            print(f"{name}: {wall:.1f} s, {span:.1f} s without start-up", flush=True)
        repeats.append(taken)
    greatest = {who: max(peaks[who] for peaks in memory) for who in ("driver", "worker")}
    return {"trials": TRIALS, "steps": STEPS, "repeats": repeats, "memory": greatest}


def ratios(found: dict[str, Any], name: str, column: int) -> list[float]:
    """Return the time of `knobs study` with 2 workers over an arm's in the same repeat. Column 1: without start-up."""
    return [taken["knobs 2"][column] / taken[name][column] for taken in found["repeats"] if name in taken]


def tables(found: dict[str, Any]) -> list[str]:
    """Return the lines of both sections."""
    rows = []
    for name, label in NAMES.items():
        each = [taken[name] for taken in found["repeats"] if name in taken]
        walls, spans = (statistics.median(column) for column in zip(*each, strict=True))
        shown = [spread(ratios(found, name, column)) if len(each) > 1 else f"{ratios(found, name, column)[0]:.2f}"
                 for column in (0, 1)]  # fmt: skip
        rows.append(f"| {label} | {walls:.0f} | {spans:.0f} | {shown[0]} | {shown[1]} | {len(each)} |")
    memory = found["memory"]
    return [
        "## A study",
        "",
        f"{found['trials']} trials of {found['steps']} steps, TPE over the rate, no pruning, a fresh store each."
        " Both ratio columns: the time of `knobs study` with 2 workers over that of the row, median (range). Goals"
        " without start-up: at most 1.3 times the hand-written arm, at most a third of Lightning's.",
        "",
        "| arm | wall seconds | without start-up | ratio | ratio without start-up | repeats |",
        "| --- | --- | --- | --- | --- | --- |",
        *rows,
        "",
        "## Memory",
        "",
        f"Peak resident size in this study: driver {memory['driver']:.0f} MiB, a worker {memory['worker']:.0f} MiB.",
    ]
