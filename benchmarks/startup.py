"""(c) Start-up: commands, from the launch of a study to its first training steps, and what a fork would save."""

from __future__ import annotations

import json
import os
import sqlite3
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.measuring import KNOBS, ROOT, SINGLE, START_REPEATS, measured
from benchmarks.steps import command
from benchmarks.studies import project


def first_steps(home: Path, store: Path, name: str, workers: int) -> tuple[float, float]:
    """Seconds from the launch of a study to the end of the first worker's first step, and of the last one's.

    A step ends with a validation here, whose values carry the time at which the worker had them.
    """
    study = [*KNOBS, "study", "bench", "--as", name, "--trials", str(workers), "--devices", f"cpu:{workers}"]
    began = time.time()
    environment = {**os.environ, **SINGLE, "KNOBS_MLRUNS": str(store)}
    flags = ["--training.val_every", "1", "--training.max_steps", "200", "--fresh"]  # nothing reused: all is trained
    subprocess.run([*study, *flags], cwd=home, env=environment, check=True, capture_output=True)
    rows = sqlite3.connect(store / "mlflow.db").execute(
        "SELECT min(timestamp) FROM metrics m JOIN runs r ON r.run_uuid = m.run_uuid JOIN tags t ON"
        " t.run_uuid = r.run_uuid AND t.key = 'knobs.kind' AND t.value = 'trial' JOIN experiments e ON"
        " e.experiment_id = r.experiment_id WHERE m.step = 1 AND m.key = 'train/loss' AND e.name = ? GROUP BY"
        " r.run_uuid",
        [name],
    )
    times = [at / 1000 - began for (at,) in rows]
    return min(times), max(times)


def forked() -> dict[str, float]:
    """What `benchmarks.forked` says."""
    said = subprocess.run(
        [sys.executable, "-m", "benchmarks.forked"], cwd=ROOT, env={**os.environ, **SINGLE}, check=True, stdout=-1
    )
    told: dict[str, float] = json.loads(said.stdout.splitlines()[-1])
    return told


def measure(folder: Path) -> dict[str, Any]:
    """Every number, each repeat in turn."""
    home = project(folder / "project")
    cases = {
        "`knobs --help`": [*KNOBS, "--help"],
        "`knobs list`": [*KNOBS, "list"],
        "`knobs run` of one step, existing store": command("knobs", 1, folder),
    }
    commands: dict[str, list[tuple[float, float]]] = {name: [] for name in cases}
    studies: dict[str, list[tuple[float, float]]] = {}
    forks: list[dict[str, float]] = []
    measured(command("knobs", 1, folder), folder)
    for repeat in range(START_REPEATS):
        for name, arguments in cases.items():
            commands[name].append(measured(arguments, folder))
        for told, store, workers in (
            ("empty store, 2 workers", f"new-{repeat}", 2),
            ("existing store, 1 worker", "new-0", 1),
            ("existing store, 2 workers", "new-0", 2),
        ):
            name = f"bench-{repeat}-{workers}" if told.startswith("existing") else "bench"
            studies.setdefault(told, []).append(first_steps(home, folder / store, name, workers))
        forks.append(forked())
        print(json.dumps({name: taken[-1] for name, taken in {**commands, **studies}.items()} | forks[-1]), flush=True)
    medians = {key: statistics.median(fork[key] for fork in forks) for key in forks[0]}
    return {"commands": commands, "studies": studies, "forks": medians, "repeats": START_REPEATS}


def tables(found: dict[str, Any]) -> list[str]:
    """The section."""

    def middle(pairs: list[list[float]], digits: int) -> str:
        return " | ".join(f"{statistics.median(column):.{digits}f}" for column in zip(*pairs, strict=True))

    fork = found["forks"]
    return [
        "## (c) Start-up",
        "",
        f"Medians over {found['repeats']}. Aims: `--help` under 0.3 s of wall; first step with an existing store under"
        " 12 s.",
        "",
        "| command | CPU seconds | wall seconds |",
        "| --- | --- | --- |",
        *(f"| {name} | {middle(taken, 2)} |" for name, taken in found["commands"].items()),
        "",
        "| wall seconds from the launch of `knobs study` to the first step | of the first worker | of the last |",
        "| --- | --- | --- |",
        *(f"| {name} | {middle(taken, 1)} |" for name, taken in found["studies"].items()),
        "",
        "Would a fork server help? Workers as fresh processes, and as forks of one process that has imported torch,"
        f" Lightning and the runner and touched no device ({fork['threads']:.0f} thread in it then). Losses of a"
        f" fresh and of a forked worker are {'the same' if fork['same'] else 'NOT the same'} to the last bit.",
        "",
        "| | fresh | forked |",
        "| --- | --- | --- |",
        f"| until ready, s of wall | {fork['fresh']:.2f} | {fork['fork']:.3f} |",
        f"| until ready, s of CPU | {fork['fresh cpu']:.2f} | |",
        f"| first training of 35 steps, s | {fork['first']:.2f} | {fork['fork first']:.2f} |",
        f"| two at once, imports and such a training, s of wall | {fork['fresh two']:.1f} | {fork['server two']:.1f} |",
    ]
