"""`make bench`: speed, side by side in one process tree; writes a table under `benchmarks/results/`."""

from __future__ import annotations

import platform
import statistics
import sys
import tempfile
from pathlib import Path

from benchmarks import studies
from benchmarks.measuring import KNOBS, REPEATS, ROOT, STUDY_REPEATS, measured
from knobs import provenance

FEW, MANY = 1600, 8000
"""Steps of the short and the long run of each pair: the difference holds no start-up."""

SEEDS = 5
RUN = [*KNOBS, "run", "mnist1d_mlp", "--devices", "cpu:1", "--model.width", "100", "--optimizer.lr", "0.003", "--fresh"]

ABLATION = '''"""One trial and {seeds} seeds in each of two equal cells: what is measured is the seeds."""
import os

from datamodules.mnist1d import MNIST1D
from knobs.ablation import Ablation, Factor
from knobs.config import RunConfig, Training
from knobs.optimizers import AdamW
from knobs.schedules import Cosine
from models.mlp import MLP


def nuisance(trial, baseline):
    """The rate."""
    return baseline.with_knobs({{"optimizer.lr": trial.suggest_float("optimizer.lr", 1e-3, 1e-2)}})


ablation = Ablation(
    question="What do seeds cost?",
    claim="Little.",
    baseline=RunConfig(model=MLP(depth=2, width=100), data=MNIST1D(), optimizer=AdamW(lr=3e-3, weight_decay=0.01),
                       schedule=Cosine(), training=Training(max_steps=int(os.environ["BENCH_STEPS"]), val_every=35)),
    factors=(Factor.of("model.activation", ["relu", "leaky_relu"]),),
    nuisance=nuisance, metric="val/accuracy", direction="maximize", trials=1, seeds={seeds},
)
'''


def command(arm: str, steps: int, folder: Path) -> list[str]:
    """How an arm is run."""
    if arm == "knobs":
        return [*RUN, "--training.max_steps", str(steps)]
    return [sys.executable, "-m", "benchmarks.arms", arm, str(steps), str(folder)]


def seeds_micros(folder: Path, home: Path, repeat: int, run: float) -> float:
    """CPU microseconds of a step of one of five seeds: an ablation's, less its trials' at what a run costs."""
    taken = {}
    for steps in (FEW, MANY):
        store = folder / f"seeds-{repeat}-{steps}"
        arguments = [*KNOBS, "ablate", "seeds", "--devices", "cpu:1"]
        taken[steps], _wall = measured(arguments, store, cwd=home, BENCH_STEPS=str(steps))
    a_cell = (taken[MANY] - taken[FEW]) / (MANY - FEW) * 1e6 / 2
    return (a_cell - run) / SEEDS


def steps_table(folder: Path) -> list[str]:
    """(a) CPU time of a step, everything recorded, against the hand-written loop and plain Lightning."""
    arms = ("bare", "knobs", "lightning")
    home = folder / "project"
    (home / "experiments").mkdir(parents=True)
    (home / "experiments" / "seeds.py").write_text(ABLATION.format(seeds=SEEDS))
    micros: dict[str, list[float]] = {arm: [] for arm in (*arms, "seeds")}
    for arm in arms:  # one warm-up: stores, caches, prepared data
        measured(command(arm, 100, folder), folder)
    for repeat in range(REPEATS):
        for arm in arms:
            short, _wall = measured(command(arm, FEW, folder), folder)
            long, _wall = measured(command(arm, MANY, folder), folder)
            micros[arm].append((long - short) / (MANY - FEW) * 1e6)
        micros["seeds"].append(seeds_micros(folder, home, repeat, micros["knobs"][-1]))
        print({arm: round(taken[-1]) for arm, taken in micros.items()}, flush=True)
    ratios = {arm: [a / b for a, b in zip(micros[arm], micros["bare"], strict=True)] for arm in micros}
    names = {
        "bare": "hand-written loop, nothing recorded",
        "knobs": "`knobs run`, everything recorded",
        "seeds": f"`knobs ablate`, each of {SEEDS} seeds in one batch, everything recorded",
        "lightning": "Lightning, DataLoader, MLFlowLogger",
    }
    rows = [
        f"| {names[arm]} | {statistics.median(micros[arm]):.0f} | {statistics.median(ratios[arm]):.2f} "
        f"({min(ratios[arm]):.2f} to {max(ratios[arm]):.2f}) |"
        for arm in names
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
        place = Path(folder)
        tables = [*steps_table(place), "", *studies.tables(place / "b", STUDY_REPEATS), "", *start_table(place)]
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
