"""Fault injection: `python -m benchmarks.torture` (about 20 minutes on two cores) counts kills and signals survived.

Seeds fix which process is hit and when, in seconds from a launch or from the first checkpoint. The state of the process
at that moment depends on the machine. The first broken promise ends the benchmark with an error.
"""

from __future__ import annotations

import argparse
import platform
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from faults import project as own_project  # noqa: E402
from faults.torture import Counts, Torture  # noqa: E402
from faults.whole import Divergence, Everywhere, Locked, diverging, everywhere, locked  # noqa: E402

from knobs import provenance  # noqa: E402
from knobs.devices import available_cpus  # noqa: E402

QUICK = ("study", "quick", "--trials", "8", "--devices", "cpu:2")
REAL = ("study", "mnist1d_mlp", "--trials", "24")
RESULT = ROOT / "benchmarks" / "torture" / "results" / "torture.md"


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m benchmarks.torture", description=__doc__)
    options.add_argument("--kills", type=int, default=50)
    options.add_argument("--signals", type=int, default=20)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--only", choices=("kills", "signals", "diverging", "locked", "everywhere"))
    arguments = options.parse_args()
    began, lines = time.monotonic(), []
    with tempfile.TemporaryDirectory(prefix="knobs-torture-") as made:
        folder = Path(made)
        own = own_project.write(folder / "project")
        torture = Torture(own, folder / "stores", arguments=QUICK)

        def part(name: str) -> bool:
            if wanted := arguments.only in (None, name):
                print(f"{name}, {time.monotonic() - began:.0f} s", flush=True)
            return wanted

        if part("kills"):
            lines += killed(torture.kill(arguments.kills, arguments.seed), arguments.seed)
        if part("signals"):
            lines += signalled(torture.signal(arguments.signals, arguments.seed + 1), arguments.seed + 1)
        if part("everywhere"):
            for more in ((), ("--pruner", "hyperband")):
                lines += same(everywhere((*REAL, *more), ROOT, folder / "stores" / f"real{len(more)}"))
        if part("diverging"):
            lines += diverged(diverging(own, folder / "stores"))
        if part("locked"):
            lines += waited(locked(QUICK, own, folder / "stores"))
    text = "\n".join([*head(time.monotonic() - began), *lines, ""])
    print(text)
    if arguments.only is None:
        RESULT.parent.mkdir(exist_ok=True)
        RESULT.write_text(text)


def head(seconds: float) -> list[str]:
    names = ("knobs-lab", "torch", "pytorch-lightning", "mlflow", "optuna", "sqlalchemy")
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    machine = provenance.machine()
    return [
        "# Torture",
        "",
        "Written by `python -m benchmarks.torture`; do not edit. Real processes, real signals, real SQLite.",
        "",
        f"{machine['processor']}, {available_cpus()} cores, {platform.system()}; Python {machine['python']},",
        f"{versions}; {seconds / 60:.0f} minutes.",
        "",
        "After every launch that did not end by `kill -9`, nothing is RUNNING in MLflow or in Optuna's store, each",
        "state is the documented one, and no worker is left. After every study, each trial has ended and has one",
        "MLflow run; every value that was acknowledged before a hit is stored unchanged; curves, Optuna's trials and",
        "`knobs status --csv` equal those of the undisturbed study to the last bit; there are no scratch files.",
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
        f"{counts.launches} launches of {counts.studies} studies. {counts.trials} of {counts.trials} trials ended, 0"
        f" are RUNNING, all {counts.values} acknowledged values are stored, curves have no gap and no duplicate.",
        "",
    ]


def signalled(counts: Counts, seed: int) -> list[str]:
    rows = [f"| {name} | {number} |" for name, number in sorted(counts.signals.items())]
    exits = ", ".join(f"{code}: {n}" for code, n in sorted(counts.exits.items()))
    total = counts.signals.total()
    return [
        f"## SIGINT and SIGTERM, sent twice, seed {seed}",
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
        "## A search space half of whose points diverge, 100 trials",
        "",
        f"Random points: {found.uniform} of 100 diverge. The default search: {found.first} of the first 50,"
        f" **{found.last} of the last 50**.",
        "",
    ]


def waited(found: Locked) -> list[str]:
    assert found.equal, found
    return [
        f"## Another process holds a write lock on mlflow.db for {found.held:.0f} s",
        "",
        f"The study took {found.seconds:.0f} s instead of {found.undisturbed:.0f} s, and its results are the same.",
        "",
    ]


if __name__ == "__main__":
    main()
