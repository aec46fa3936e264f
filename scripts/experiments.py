"""Run every ablation to its verdicts and write its report: `make experiments`, or `make experiments QUICK=1`.

The order is that of the gallery in README.md. Recorded runs are not trained again, so the same command continues after
an interruption. At full size, reports go to experiments/reports and the gallery is rebuilt. Quick reports go to
mlruns/reports, so that nobody mistakes them for full ones.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
KNOBS = str(Path(sys.executable).with_name("knobs"))


def ablation_names() -> list[str]:
    """Return all ablations: first those that the gallery's marker names, in its order, then the others."""
    names = sorted(path.stem for path in (ROOT / "experiments").glob("[!_]*.py"))
    marker = re.search(r"<!-- gallery([^\n]*?) -->", (ROOT / "README.md").read_text(encoding="utf-8"))
    first = [name for name in (marker[1].split() if marker else []) if name in names]
    return [*first, *(name for name in names if name not in first)]


def run_ablation(name: str, *, quick: bool) -> int:
    """Run an ablation and its report. Return the exit code of the first that fails, or 0."""
    options, recorded = (["--quick"], f"{name}-quick") if quick else ([], name)
    code = subprocess.run([KNOBS, "ablate", name, *options], cwd=ROOT, check=False).returncode
    if code:
        return code
    out = [] if quick else ["--small", "--out", f"experiments/reports/{name}"]
    return subprocess.run([KNOBS, "report", recorded, *out], cwd=ROOT, check=False).returncode


def main() -> None:
    """Run all ablations, print their times, and exit with 1 if one failed."""
    quick, taken, failed = "--quick" in sys.argv, dict[str, float](), list[str]()
    for name in ablation_names():
        began = time.monotonic()
        code = run_ablation(name, quick=quick)
        taken[name] = time.monotonic() - began
        if code in (130, 143):  # interrupted; rerun the command to continue
            raise SystemExit(code)
        failed += [name] if code else []
    for name, seconds in taken.items():
        print(f"{name:24} {seconds / 60:5.1f} min{'  FAILED' if name in failed else ''}")
    print(f"{'all':24} {sum(taken.values()) / 60:5.1f} min")
    if not quick:
        subprocess.run([sys.executable, str(ROOT / "scripts" / "gallery.py")], check=True)
    raise SystemExit(bool(failed))


if __name__ == "__main__":
    main()
