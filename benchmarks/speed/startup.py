"""Start-up of commands, of a study until its first training steps, and the time that a fork server would save."""

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

from benchmarks.speed.measuring import KNOBS, ROOT, SINGLE, START_REPEATS, time_command
from benchmarks.speed.step_cost import command
from benchmarks.speed.study_cost import project


def first_steps(home: Path, store: Path, name: str, workers: int) -> tuple[float, float]:
    """Return the seconds from a study's launch to the end of the first worker's first step, and of the last worker's.

    Each step ends with a validation here. Its values carry the time at which the worker computed them.
    """
    study = [*KNOBS, "study", "bench", "--as", name, "--trials", str(workers), "--devices", f"cpu:{workers}"]
    began = time.time()
    environment = {**os.environ, **SINGLE, "KNOBS_MLRUNS": str(store)}
    flags = ["--training.val_every", "1", "--training.max_steps", "200", "--fresh"]  # train every trial, reuse none
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
    """Run `benchmarks.speed.forked` and return its numbers."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.speed.forked"], cwd=ROOT, env={**os.environ, **SINGLE}, check=True, stdout=-1
    )
    numbers: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return numbers


def measure(folder: Path) -> dict[str, Any]:
    """Measure every number once in each repeat."""
    home = project(folder / "project")
    cases = {
        "`knobs --help`": [*KNOBS, "--help"],
        "`knobs list`": [*KNOBS, "list"],
        "`knobs run` of one step, existing store": command("knobs", 1, folder),
    }
    commands: dict[str, list[tuple[float, float]]] = {name: [] for name in cases}
    studies: dict[str, list[tuple[float, float]]] = {}
    forks: list[dict[str, float]] = []
    time_command(command("knobs", 1, folder), folder)
    for repeat in range(START_REPEATS):
        for name, arguments in cases.items():
            commands[name].append(time_command(arguments, folder))
        for case, store, workers in (
            ("empty store, 2 workers", f"new-{repeat}", 2),
            ("existing store, 1 worker", "new-0", 1),
            ("existing store, 2 workers", "new-0", 2),
        ):
            name = f"bench-{repeat}-{workers}" if case.startswith("existing") else "bench"
            studies.setdefault(case, []).append(first_steps(home, folder / store, name, workers))
        forks.append(forked())
        print(json.dumps({name: taken[-1] for name, taken in {**commands, **studies}.items()} | forks[-1]), flush=True)
    medians = {key: statistics.median(fork[key] for fork in forks) for key in forks[0]}
    return {"commands": commands, "studies": studies, "forks": medians, "repeats": START_REPEATS}


def tables(found: dict[str, Any]) -> list[str]:
    """Return the lines of this section."""

    def middle(pairs: list[list[float]], digits: int) -> str:
        return " | ".join(f"{statistics.median(column):.{digits}f}" for column in zip(*pairs, strict=True))

    fork = found["forks"]
    return [
        "## Start-up",
        "",
        f"Medians over {found['repeats']}. Goals: `--help` under 0.3 s of wall; first step with an existing store under"
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
        "Would a fork server help? Workers are fresh processes, or forks of one process that has imported torch,"
        f" Lightning and `knobs.training` and touched no device (it has {fork['threads']:.0f} thread). Losses of a"
        f" fresh and of a forked worker are {'the same' if fork['same'] else 'NOT the same'} to the last bit.",
        "",
        "| | fresh | forked |",
        "| --- | --- | --- |",
        f"| until ready, s of wall | {fork['fresh']:.2f} | {fork['fork']:.3f} |",
        f"| until ready, s of CPU | {fork['fresh cpu']:.2f} | |",
        f"| first training of 35 steps, s | {fork['first']:.2f} | {fork['fork first']:.2f} |",
        f"| two at once, imports and first training, s of wall | {fork['fresh two']:.1f} | {fork['server two']:.1f} |",
    ]
