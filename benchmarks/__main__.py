"""`make bench`: speed, side by side with what one writes by hand.

Each part leaves its numbers in `benchmarks/results/speed/`, from which the tables (`benchmarks/results/speed.md`) and
the figures are made, so that an interrupted benchmark keeps what it has: `--only c,d` measures these parts anew, and
`--only none` measures nothing and writes tables and figures again.
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

from benchmarks import figures, growth, populations, search, startup, steps, studies
from benchmarks.measuring import RESULTS
from knobs import provenance

PARTS: dict[str, ModuleType] = {"a": steps, "b": studies, "c": startup, "d": growth, "f": search, "g": populations}
"""(e), memory, is measured with (b) and (d)."""

DRAWN = {"b": ("ratios",), "d": ("sizes", "trials"), "f": ("search",)}
"""The figures after each part."""


def where() -> str:
    """Machine and versions."""
    machine, versions = provenance.machine(), provenance.packages()
    wanted = ("torch", "pytorch-lightning", "mlflow", "optuna")
    system = f"{platform.system()} {platform.machine()}, {machine['processor']}, {machine['cpus']} cores"
    return f"{system}, Python {machine['python']}; " + ", ".join(f"{name} {versions[name]}" for name in wanted)


def measure(part: str) -> None:
    """One part, and its numbers into the results."""
    print((PARTS[part].__doc__ or "").partition("\n")[0], flush=True)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="knobs-bench-") as folder:
        found = PARTS[part].measure(Path(folder))
    told = {"date": datetime.date.today().isoformat(), "where": where()}
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{part}.json"
    path.with_suffix(".new").write_text(json.dumps({**told, "found": found}, indent=1) + "\n", encoding="utf-8")
    path.with_suffix(".new").replace(path)
    print(f"({part}) took {(time.monotonic() - began) / 60:.1f} minutes", flush=True)


def assemble() -> str:
    """Tables and figures of all that has been measured."""
    kept = {part: json.loads(path.read_text()) for part in PARTS if (path := RESULTS / f"{part}.json").exists()}
    for name, drawn in figures.draw({part: told["found"] for part, told in kept.items()}).items():
        (RESULTS / name).write_bytes(drawn)
    lines = ["# Speed", "", "Written by `make bench`; its numbers are in [speed/](speed)."]
    for part, told in kept.items():
        tables: Callable[[dict[str, Any]], list[str]] = PARTS[part].tables
        lines += ["", *tables(told["found"]), ""]
        lines += [
            f"![{name}](speed/{name}.svg)\n" for name in DRAWN.get(part, ()) if (RESULTS / f"{name}.svg").exists()
        ]
        lines += [f"Measured {told['date']}: {told['where']}."]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").partition("\n\n")[2])
    parser.add_argument("--only", default=",".join(PARTS), help="parts, of a, b, c, d, f, g; none: only write")
    asked = parser.parse_args().only
    parts = [] if asked == "none" else asked.split(",")
    for part in parts:
        if part not in PARTS:
            parser.error(f"no part {part!r}: there are {', '.join(PARTS)} (memory, e, is measured with b and d)")
    for part in parts:
        measure(part)
        (RESULTS.parent / "speed.md").write_text(assemble(), encoding="utf-8")
    (RESULTS.parent / "speed.md").write_text(text := assemble(), encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
