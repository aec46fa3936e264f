"""`make bench`: measure speed, side by side with hand-written code.

Each part writes its numbers to `benchmarks/speed/results/PART.json`. The tables (`results/speed.md`) and the figures
are made from those files, so an interrupted benchmark keeps the parts that it finished. `--only growth,startup`
measures these parts again; `--only none` measures nothing and rewrites tables and figures.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from benchmarks.speed import figures, growth, run_batches, startup, step_cost, steps_to_target, study_cost
from benchmarks.speed.measuring import RESULTS
from knobs import provenance

PARTS: dict[str, ModuleType] = {
    "step_cost": step_cost,
    "study_cost": study_cost,
    "startup": startup,
    "growth": growth,
    "steps_to_target": steps_to_target,
    "run_batches": run_batches,
}
"""Memory is measured with `study_cost` and `growth`."""

FIGURES = {
    "study_cost": ("cost_ratios",),
    "growth": ("growth_with_size", "growth_with_trials"),
    "steps_to_target": ("steps_to_target",),
}
"""The figures below each part's tables."""

TABLES = RESULTS / "speed.md"


def machine_and_versions() -> str:
    """Describe this machine and the installed versions in one line."""
    machine, versions = provenance.machine(), provenance.packages()
    wanted = ("torch", "pytorch-lightning", "mlflow", "optuna")
    system = f"{platform.system()} {platform.machine()}, {machine['processor']}, {machine['cpus']} cores"
    return f"{system}, Python {machine['python']}; " + ", ".join(f"{name} {versions[name]}" for name in wanted)


def measure(part: str) -> None:
    """Measure one part and write its numbers."""
    print((PARTS[part].__doc__ or "").partition("\n")[0], flush=True)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="knobs-bench-") as folder:
        found = PARTS[part].measure(Path(folder))
    result = {"date": datetime.date.today().isoformat(), "where": machine_and_versions(), "found": found}
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{part}.json"
    path.with_suffix(".new").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    path.with_suffix(".new").replace(path)
    print(f"{part} took {(time.monotonic() - began) / 60:.1f} minutes", flush=True)


def assemble() -> str:
    """Draw all figures and return the tables of every part that has numbers."""
    results = {part: json.loads(path.read_text()) for part in PARTS if (path := RESULTS / f"{part}.json").exists()}
    for name, drawn in figures.draw({part: result["found"] for part, result in results.items()}).items():
        (RESULTS / name).write_bytes(drawn)
    lines = ["# Speed", "", "Written by `make bench`; its numbers are in the JSON and CSV files of this folder."]
    for part, result in results.items():
        tables: Callable[[dict[str, Any]], list[str]] = PARTS[part].tables
        lines += ["", *tables(result["found"]), ""]
        lines += [f"![{name}]({name}.svg)\n" for name in FIGURES.get(part, ()) if (RESULTS / f"{name}.svg").exists()]
        lines += [f"Measured {result['date']}: {result['where']}."]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure the parts that the command line names and write tables and figures."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.speed", description=(__doc__ or "").partition("\n\n")[2]
    )
    parser.add_argument("--only", default=",".join(PARTS), help=f"parts, of {', '.join(PARTS)}; none: only write")
    only = parser.parse_args().only
    parts = [] if only == "none" else only.split(",")
    for part in parts:
        if part not in PARTS:
            parser.error(
                f"no part {part!r}: choose from {', '.join(PARTS)} (study_cost and growth measure memory, too)"
            )
    for part in parts:
        measure(part)
        TABLES.write_text(assemble(), encoding="utf-8")
    TABLES.write_text(text := assemble(), encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
