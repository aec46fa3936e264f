"""Runs every ablation to its verdicts and writes its report: `make experiments`, or `make experiments QUICK=1`.

In the lecture's order, which is the gallery's in README.md; what is recorded already is not trained again, so that the
same command goes on after an interruption. Full size writes to experiments/reports and rebuilds the gallery; quick
results go to mlruns/reports, for nobody to take them for the whole.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
KNOBS = str(Path(sys.executable).with_name("knobs"))


def names() -> list[str]:
    """The ablations, those that the gallery's marker names first and in its order."""
    there = sorted(path.stem for path in (ROOT / "experiments").glob("[!_]*.py"))
    marker = re.search(r"<!-- gallery([^\n]*?) -->", (ROOT / "README.md").read_text(encoding="utf-8"))
    first = [name for name in (marker[1].split() if marker else []) if name in there]
    return [*first, *(name for name in there if name not in first)]


def run(name: str, *, quick: bool) -> int:
    """The exit code of the ablation, or of its report."""
    more, recorded = (["--quick"], f"{name}-quick") if quick else ([], name)
    code = subprocess.run([KNOBS, "ablate", name, *more], cwd=ROOT, check=False).returncode
    if code:
        return code
    where = [] if quick else ["--small", "--out", f"experiments/reports/{name}"]
    return subprocess.run([KNOBS, "report", recorded, *where], cwd=ROOT, check=False).returncode


def main() -> None:
    """All of them; ends with 1 where one could not be run."""
    quick, taken, failed = "--quick" in sys.argv, dict[str, float](), list[str]()
    for name in names():
        began = time.monotonic()
        code = run(name, quick=quick)
        taken[name] = time.monotonic() - began
        if code in (130, 143):  # interrupted: the same command goes on
            raise SystemExit(code)
        failed += [name] if code else []
    for name, seconds in taken.items():
        print(f"{name:24} {seconds / 60:5.1f} min{'  FAILED' if name in failed else ''}")
    print(f"{'all':24} {sum(taken.values()) / 60:5.1f} min")
    if not quick:
        subprocess.run([sys.executable, str(ROOT / "docs" / "gallery.py")], check=True)
    raise SystemExit(bool(failed))


if __name__ == "__main__":
    main()
