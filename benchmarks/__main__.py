"""`make bench`: speed, side by side in one process tree; writes a table under `benchmarks/results/`."""

from __future__ import annotations

import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from knobs import provenance

ROOT = Path(__file__).resolve().parent.parent
REPEATS = int(os.environ.get("BENCH_REPEATS", "5"))
FEW, MANY = 1600, 8000
"""Steps of the short and the long run of each pair: the difference holds no start-up."""

KNOBS = [str(Path(sys.executable).with_name("knobs"))]
RUN = [*KNOBS, "run", "mnist1d_mlp", "--devices", "cpu:1", "--model.width", "100", "--optimizer.lr", "0.003", "--fresh"]


def measured(command: list[str], folder: Path) -> tuple[float, float]:
    """User + system seconds of a whole process tree, and its wall seconds."""
    single = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "KNOBS_MLRUNS": str(folder / "mlruns")}
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, env={**os.environ, **single}, cwd=ROOT, capture_output=True, text=True, check=False)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall


def command(arm: str, steps: int, folder: Path) -> list[str]:
    """How an arm is run."""
    if arm == "knobs":
        return [*RUN, "--training.max_steps", str(steps)]
    return [sys.executable, "-m", "benchmarks.arms", arm, str(steps), str(folder)]


def steps_table(folder: Path) -> list[str]:
    """(a) CPU time of a step, everything recorded, against the hand-written loop and plain Lightning."""
    arms = ("bare", "knobs", "lightning")
    micros: dict[str, list[float]] = {arm: [] for arm in arms}
    for arm in arms:  # one warm-up: stores, caches, prepared data
        measured(command(arm, 100, folder), folder)
    for _ in range(REPEATS):
        for arm in arms:
            short, _wall = measured(command(arm, FEW, folder), folder)
            long, _wall = measured(command(arm, MANY, folder), folder)
            micros[arm].append((long - short) / (MANY - FEW) * 1e6)
    ratios = {arm: [a / b for a, b in zip(micros[arm], micros["bare"], strict=True)] for arm in arms}
    names = {
        "bare": "hand-written loop, nothing recorded",
        "knobs": "`knobs run`, everything recorded",
        "lightning": "Lightning, DataLoader, MLFlowLogger",
    }
    rows = [
        f"| {names[arm]} | {statistics.median(micros[arm]):.0f} | {statistics.median(ratios[arm]):.2f} "
        f"({min(ratios[arm]):.2f} to {max(ratios[arm]):.2f}) |"
        for arm in arms
    ]
    return [
        "## (a) CPU time of an optimizer step",
        "",
        "MLP 40-100-100-10, batch 100, AdamW, validation every 35 steps; user + system time of the process tree over "
        f"({MANY} - {FEW}) steps; medians over {REPEATS} pairs.",
        "",
        "| arm | microseconds a step | ratio to the loop, median (range) |",
        "| --- | --- | --- |",
        *rows,
    ]


def start_table(folder: Path) -> list[str]:
    """(c) Start-up."""
    cases = {
        "`knobs --help`": [*KNOBS, "--help"],
        "`knobs list`": [*KNOBS, "list"],
        "`knobs run` of one step, existing store": command("knobs", 1, folder),
    }
    rows = []
    for name, arguments in cases.items():
        taken = [measured(arguments, folder) for _ in range(REPEATS)]
        cpu, wall = (statistics.median(column) for column in zip(*taken, strict=True))
        rows.append(f"| {name} | {cpu:.2f} | {wall:.2f} |")
    return ["## (c) Start-up", "", "| command | CPU seconds | wall seconds |", "| --- | --- | --- |", *rows]


def main() -> None:
    """Measure and write."""
    with tempfile.TemporaryDirectory() as folder:
        tables = [*steps_table(Path(folder)), "", *start_table(Path(folder))]
    machine, versions = provenance.machine(), provenance.packages()
    wanted = ("torch", "pytorch-lightning", "mlflow", "optuna")
    system = f"{platform.system()} {platform.machine()}"
    where = f"{system}, {machine['processor']}, {machine['cpus']} cores, Python {machine['python']}; "
    text = "\n".join(
        ["# Speed", "", where + ", ".join(f"{name} {versions[name]}" for name in wanted) + ".", "", *tables, ""]
    )
    out = ROOT / "benchmarks" / "results"
    out.mkdir(exist_ok=True)
    (out / "speed.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
