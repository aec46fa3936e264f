"""The whole of the fault injection: `python benchmarks/torture.py` (about 20 minutes on two cores) writes its counts.

Seeds fix what is hit and when, in seconds from a launch or from the first checkpoint; what a hit finds there depends
on the machine. Any promise that does not hold ends it with what was found.
"""

from __future__ import annotations

import argparse
import platform
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from faults import project as own_project  # noqa: E402
from faults.torture import Counts, Torture  # noqa: E402
from faults.whole import Divergence, Everywhere, Locked, diverging, everywhere, locked  # noqa: E402

from knobs import provenance  # noqa: E402
from knobs.launch.devices import available_cpus  # noqa: E402

QUICK = ("study", "quick", "--trials", "8", "--devices", "cpu:2")
REAL = ("study", "mnist1d_mlp", "--trials", "24")
RESULT = ROOT / "benchmarks" / "results" / "torture.md"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--kills", type=int, default=50)
    options.add_argument("--signals", type=int, default=20)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--only", choices=("kills", "signals", "diverging", "locked", "everywhere"))
    asked = options.parse_args()
    began, lines = time.monotonic(), []
    with tempfile.TemporaryDirectory(prefix="knobs-torture-") as made:
        folder = Path(made)
        own = own_project.write(folder / "project")
        torture = Torture(own, folder / "stores", arguments=QUICK)

        def part(name: str) -> bool:
            if wanted := asked.only in (None, name):
                print(f"{name}, {time.monotonic() - began:.0f} s", flush=True)
            return wanted

        if part("kills"):
            lines += killed(torture.kill(asked.kills, asked.seed), asked.seed)
        if part("signals"):
            lines += signalled(torture.signal(asked.signals, asked.seed + 1), asked.seed + 1)
        if part("everywhere"):
            for more in ((), ("--pruner", "hyperband")):
                lines += same(everywhere((*REAL, *more), ROOT, folder / "stores" / f"real{len(more)}"))
        if part("diverging"):
            lines += diverged(diverging(own, folder / "stores"))
        if part("locked"):
            lines += waited(locked(QUICK, own, folder / "stores"))
    text = "\n".join([*head(time.monotonic() - began), *lines, ""])
    print(text)
    if asked.only is None:
        RESULT.parent.mkdir(exist_ok=True)
        RESULT.write_text(text)


def head(seconds: float) -> list[str]:
    names = ("knobs-lab", "torch", "pytorch-lightning", "mlflow", "optuna", "sqlalchemy")
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    machine = provenance.machine()
    return [
        "# Torture",
        "",
        "Written by `python benchmarks/torture.py`; do not edit. Real processes, real signals, real SQLite.",
        "",
        f"{machine['processor']}, {available_cpus()} cores, {platform.system()}; Python {machine['python']},",
        f"{versions}; {seconds / 60:.0f} minutes.",
        "",
        "After every launch that did not end by `kill -9`: nothing RUNNING in MLflow or Optuna's store, each state as",
        "the design's table says, no worker left. After every study: each trial ended, one MLflow run a trial, every",
        "value that was acknowledged before a hit there unchanged; curves, Optuna's trials and `knobs status --csv`",
        "equal to the undisturbed study's to the last bit; no scratch files.",
        "",
    ]


def killed(counts: Counts, seed: int) -> list[str]:
    rows = [f"| {name} | {number} |" for name, number in sorted(counts.kills.items())]
    return [
        f"## kill -9, seed {seed}",
        "",
        "| hit | times |",
        "| --- | ---: |",
        *rows,
        f"| **all** | **{counts.kills.total()}** |",
        "",
        f"{counts.launches} launches of {counts.studies} studies; {counts.trials} of {counts.trials} trials ended, 0"
        f" RUNNING, {counts.values} acknowledged values all there, curves without gap or duplicate.",
        "",
    ]


def signalled(counts: Counts, seed: int) -> list[str]:
    rows = [f"| {name} | {number} |" for name, number in sorted(counts.signals.items())]
    exits = ", ".join(f"{code}: {n}" for code, n in sorted(counts.exits.items()))
    total = counts.signals.total()
    return [
        f"## SIGINT and SIGTERM, doubled, seed {seed}",
        "",
        "| signal | times |",
        "| --- | ---: |",
        *rows,
        f"| **all** | **{total}** |",
        "",
        f"{total} clean ends (exit codes {exits}; the slowest after {counts.slowest:.1f} s), {counts.continuations}"
        f" continuations equal to the undisturbed study to the last bit ({counts.studies} studies).",
        "",
    ]


def same(found: Everywhere) -> list[str]:
    assert found.different == 1, found.tables
    return [
        f"## The same study everywhere: `knobs {found.study}`",
        "",
        f"{', '.join(f'`{name}`' for name in found.tables)}: {found.different} table ({found.trials} trials,"
        f" {found.pruned} pruned).",
        "",
    ]


def diverged(found: Divergence) -> list[str]:
    assert found.last < 15, found
    return [
        "## A space in which half of the points diverge, 100 trials",
        "",
        f"Random points: {found.uniform} of 100 diverge. The default search: {found.first} of the first 50,"
        f" **{found.last} of the last 50**.",
        "",
    ]


def waited(found: Locked) -> list[str]:
    assert found.equal, found
    return [
        f"## A write lock of somebody else on mlflow.db, {found.held:.0f} s",
        "",
        f"The study took {found.seconds:.0f} s instead of {found.undisturbed:.0f} s, and came out the same.",
        "",
    ]


if __name__ == "__main__":
    main()
