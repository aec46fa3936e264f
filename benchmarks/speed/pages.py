"""Time that MLflow's pages take to show a study of 500 trials: seconds from the click to the rows, and to the curves.

`python -m benchmarks.speed.pages` (needs Chromium on the PATH and a quiet machine).
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from mlflow_pages import BEST, LINES, MADE, MANY, NAMES, browser, free_port, make_trials, start_ui, stop  # noqa: E402

from knobs.pages.links import links  # noqa: E402
from knobs.record.stores.locations import StoreLocations  # noqa: E402
from knobs.record.stores.mlflow_store import Tracker  # noqa: E402

REPEATS = 5
SHOWN = {
    "trials": (NAMES, lambda names: names[:1] == [f"t{BEST}"]),
    "curves": (LINES, lambda counts: counts == [20, 20, 20]),
}
"""A page is complete once its expression has this value."""


def main(folder: Path) -> None:
    """Make the study, serve it and open both pages several times."""
    tracker, port = Tracker(StoreLocations(folder, folder / "mlruns")), free_port()
    make_trials(tracker)
    began = time.monotonic()
    process, _ = start_ui(folder / "mlruns", port)
    print(f"knobs ui: {time.monotonic() - began:.1f} s to its last line", flush=True)
    try:
        with browser(folder / "browser") as page:
            for title, (expression, holds) in SHOWN.items():
                address, took = links(tracker, MADE, port)[title], []
                for _ in range(REPEATS):
                    began = time.monotonic()
                    page.open(address)
                    page.until(expression, holds)
                    took.append(time.monotonic() - began)
                middle, rest = statistics.median(took), f"{min(took):.1f} to {max(took):.1f}"
                print(f"{MANY} trials, {title}: {middle:.1f} s ({rest}, {REPEATS} times)", flush=True)
    finally:
        stop(process)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        main(Path(temporary))
